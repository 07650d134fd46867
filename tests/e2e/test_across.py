"""Real clients on providers that speak another dialect than theirs: whole turns, with tools, streamed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.asyncio.server import ServerConnection

from tests.conftest import Proxy, StartProxy
from tests.e2e.clients import find
from tests.e2e.test_claude_code import claude
from tests.fakes.sockets import SocketBackend, frames
from tests.fakes.streams import called, chat_events, message_events, response_events, said, thought
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, json_reply, sse_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("other_logins")]

Script = Callable[[Seen], Reply]


def in_turn(path: str, *turns: list[bytes], aside: list[bytes]) -> Script:
    """Answers requests with tools in order; whatever else a client asks gets a short text."""
    left = list(turns)

    def answer(seen: Seen) -> Reply:
        if not seen.target.split("?")[0].endswith(path):
            return json_reply({"error": {"message": "not here"}}, 404)
        return sse_reply(*(left.pop(0) if seen.json.get("tools") and left else aside))

    return answer


def mains(upstream: ScriptedUpstream) -> list[Any]:
    return [seen.json for seen in upstream.seen if seen.method == "POST" and seen.json.get("tools")]


async def test_claude_code_on_codex_reads_a_file(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    note = Path.home() / "note.txt"
    note.write_text("the secret word is marmalade\n")
    upstream.default = in_turn(
        "/codex/responses",
        response_events(thought("I should read it."), called("Read", {"file_path": str(note)})),
        response_events(said("It says marmalade.")),
        aside=response_events(said("aside")),
    )
    result = await claude(proxy, "Read note.txt", "--allowedTools", "Read", prefix="codex")
    assert (result["is_error"], result["result"]) == (False, "It says marmalade.")
    first, second = mains(upstream)
    assert first["model"] == "gpt-5.4"
    assert (first["store"], first["stream"]) == (False, True)
    assert "x-anthropic-billing-header" not in first["instructions"]
    kinds = [item["type"] for item in second["input"]]
    assert kinds[-3:] == ["reasoning", "function_call", "function_call_output"]
    assert second["input"][-3]["encrypted_content"] == "gAAAAopaque"
    assert "marmalade" in json.dumps(second["input"][-1])
    assert second["input"][: len(first["input"])] == first["input"], "the prompt's start must stay the same"
    assert second["prompt_cache_key"] == first["prompt_cache_key"]


async def test_claude_code_on_copilot_reads_a_file(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    note = Path.home() / "note.txt"
    note.write_text("the secret word is marmalade\n")
    upstream.default = in_turn(
        "/copilot/chat/completions",
        chat_events("Let me look.", [("call_1", "Read", {"file_path": str(note)})], model="claude-sonnet-4.5"),
        chat_events("It says marmalade."),
        aside=chat_events("aside"),
    )
    arguments = ("--allowedTools", "Read", "--model", "claude-sonnet-4-5-20250929")
    result = await claude(proxy, "Read note.txt", *arguments, prefix="copilot")
    assert (result["is_error"], result["result"]) == (False, "It says marmalade.")
    first, second = mains(upstream)
    assert first["model"] == "claude-sonnet-4.5"
    assert [message["role"] for message in second["messages"][-2:]] == ["assistant", "tool"]
    assert "marmalade" in second["messages"][-1]["content"]
    asked = [seen for seen in upstream.seen if seen.method == "POST" and seen.json.get("tools")]
    assert [seen.header("x-initiator") for seen in asked] == ["user", "agent"]


async def codex(proxy: Proxy, prefix: str, prompt: str, *, sockets: bool = False) -> list[dict[str, Any]]:
    """One `codex exec` turn; its events. `sockets` lets it open a WebSocket first, as it does at its own backend."""
    config = Path.home() / ".codex" / "config.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(
        'model_provider = "proxy"\n'
        "[model_providers.proxy]\n"
        'name = "proxy"\n'
        f'base_url = "{proxy.url}/{prefix}"\n'
        'env_key = "PROXY_KEY"\n'
        'wire_api = "responses"\n'
        "request_max_retries = 0\nstream_max_retries = 0\n" + ("supports_websockets = true\n" if sockets else "")
    )
    environ = {
        "HOME": str(Path.home()),
        "PATH": os.environ["PATH"],
        "PROXY_KEY": "any-word",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    process = await asyncio.create_subprocess_exec(
        find("codex"),
        "exec",
        "--skip-git-repo-check",
        "--json",
        "--dangerously-bypass-approvals-and-sandbox",
        *("-m", "claude-sonnet-4-5-20250929" if prefix == "api" else "gpt-5.4"),
        prompt,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
        cwd=Path.home(),
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    events = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    assert any(event["type"] == "turn.completed" for event in events), (events, err.decode()[-2000:])
    return events


def shell_tool(seen: Seen) -> tuple[str, dict[str, Any]]:
    return tool_of(seen.json)


def tool_of(request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The tool that runs commands, under whatever name this Codex gives it, and arguments for it."""
    tools = {tool.get("name"): tool for tool in request["tools"]}
    for name in ("exec_command", "shell_command", "shell", "local_shell"):
        if name in tools:
            schema = tools[name].get("input_schema") or tools[name]["parameters"]
            field = next(field for field in ("cmd", "command") if field in schema["properties"])
            listed = schema["properties"][field].get("type") == "array"
            return name, {field: ["echo", "mar" + "malade"] if listed else "echo mar''malade"}
    raise AssertionError(sorted(map(str, tools)))


def last_message(events: list[dict[str, Any]]) -> str:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return next(item["text"] for item in reversed(items) if item.get("type") == "agent_message")


async def test_codex_on_claude_runs_a_command(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    def answer(seen: Seen) -> Reply:
        if len(upstream.seen) > 1:
            return sse_reply(*message_events({"type": "text", "text": "It printed marmalade."}))
        name, arguments = shell_tool(seen)
        thinking = {"type": "thinking", "thinking": "Run it.", "signature": "c2lnbmVk"}
        call = {"type": "tool_use", "id": "toolu_01", "name": name, "input": arguments}
        return sse_reply(*message_events(thinking, call, stop="tool_use"))

    upstream.default = answer
    events = await codex(proxy, "api/v1", "run the command")
    assert last_message(events) == "It printed marmalade."
    first, second = [seen.json for seen in upstream.seen]
    assert "marmalade" in json.dumps(second["messages"][-1]["content"])
    assistant = next(message for message in second["messages"] if message["role"] == "assistant")
    assert assistant["content"][0] == {"type": "thinking", "thinking": "Run it.", "signature": "c2lnbmVk"}
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["tools"] == first["tools"]


async def test_codex_on_its_own_backend(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    def answer(seen: Seen) -> Reply:
        if len(upstream.seen) > 1:
            return sse_reply(*response_events(said("It printed marmalade.")))
        name, arguments = shell_tool(seen)
        return sse_reply(*response_events(called(name, arguments)))

    upstream.default = answer
    events = await codex(proxy, "codex", "run the command")
    assert last_message(events) == "It printed marmalade."
    first, second = [seen.json for seen in upstream.seen]
    assert second["input"][: len(first["input"])] == first["input"]
    assert second["input"][-1]["type"] == "function_call_output"
    assert upstream.seen[0].header("chatgpt-account-id") == "acct-1"


async def test_codex_over_sockets_all_the_way(start_proxy: StartProxy) -> None:
    backend = SocketBackend()

    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        if any(item["type"] == "function_call_output" for item in request["input"]):
            events = response_events(said("It printed marmalade."), id="resp_2")
        else:
            name, arguments = tool_of(request)
            events = response_events(called(name, arguments), id="resp_1")
        for frame in frames(events):
            await connection.send(json.dumps(frame))

    backend.script = script
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())
    try:
        events = await codex(proxy, "codex", "run the command", sockets=True)
    finally:
        await backend.stop()
    assert last_message(events) == "It printed marmalade."
    first, second = [request for _, request in backend.requests]
    assert second["input"][: len(first["input"])] == first["input"]
    assert "marmalade" in json.dumps(second["input"][-1])
    assert [number for number, _ in backend.requests] == [1, 1]
    methods = {(record.method, record.path) for record in proxy.hub.store}
    assert ("POST", "/codex/responses") in methods


async def test_codex_over_a_socket_where_the_backend_has_none(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    asked: list[Seen] = []

    def answer(seen: Seen) -> Reply:
        if seen.method == "GET":
            return json_reply({}, 426)
        asked.append(seen)
        if len(asked) > 1:
            return sse_reply(*response_events(said("It printed marmalade."), id="resp_2"))
        return sse_reply(*response_events(called(*shell_tool(seen)), id="resp_1"))

    upstream.default = answer
    proxy = await start_proxy()
    events = await codex(proxy, "codex", "run the command", sockets=True)
    assert last_message(events) == "It printed marmalade."
    first, second = [seen.json for seen in asked]
    assert second["input"][: len(first["input"])] == first["input"]
    assert second["input"][-1]["type"] == "function_call_output"


async def test_codex_goes_on_over_http_when_sockets_are_off(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("Over HTTP.")))
    proxy = await start_proxy(CODEX__WEBSOCKET="false")
    events = await codex(proxy, "codex", "say it", sockets=True)
    assert last_message(events) == "Over HTTP."


async def test_the_openai_sdk_on_claude_with_tools(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    call = {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Zürich"}}
    upstream.replies += [
        sse_reply(*message_events({"type": "text", "text": "Looking."}, call, stop="tool_use")),
        sse_reply(*message_events({"type": "text", "text": "It rains."})),
    ]
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    messages: list[Any] = [{"role": "user", "content": "Weather in Zürich?"}]
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{proxy.url}/api/v1", max_retries=0) as client:
        async with client.chat.completions.stream(model="claude-sonnet-4-5", messages=messages, tools=[tool]) as stream:
            message = (await stream.get_final_completion()).choices[0].message
        assert message.content == "Looking."
        assert message.tool_calls
        assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Zürich"}
        messages += [
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"},
        ]
        async with client.chat.completions.stream(model="claude-sonnet-4-5", messages=messages, tools=[tool]) as stream:
            final = await stream.get_final_completion()
    assert (final.choices[0].message.content, final.choices[0].finish_reason) == ("It rains.", "stop")
    result = upstream.seen[1].json["messages"][-1]["content"][0]
    assert (result["type"], result["tool_use_id"]) == ("tool_result", "toolu_01")
