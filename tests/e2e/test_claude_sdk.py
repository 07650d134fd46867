"""SDK mode with the real SDK and the Claude Code that comes with it, against a scripted Anthropic."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccproxy_tui.core.connect import Proxy as Connection
from ccproxy_tui.core.connect import add_to_claude
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.server.viewer import state_word
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.providers.claude_sdk.agents import Agents
from ccproxy_tui.providers.claude_sdk.turn import assembled
from tests.conftest import Proxy, StartProxy, running_proxy, until
from tests.fakes.claude import lives
from tests.fakes.streams import message_events
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, Wait, json_reply, sse_reply

PROGRAM = Path(sys.executable).with_name("ccproxy-tui")

pytestmark = [pytest.mark.timeout(120)]

MODEL = "claude-sonnet-5"


@pytest.fixture
def environ(upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """What the agents get: a key, the scripted upstream, and no way to anywhere else."""
    folder = tmp_path / "work"
    folder.mkdir()
    given = {
        "ANTHROPIC_BASE_URL": upstream.url,
        "ANTHROPIC_API_KEY": "any-word-that-is-long-enough",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return {"CLAUDE__CODE_OPTIONS__CWD": str(folder), "PERMISSIONS__WITHOUT_FRONT_END": "wait"}


def words(seen: Seen) -> str:
    """The conversation that the model was sent, without what Claude Code adds."""
    lines = []
    for message in seen.json["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [block.get("text") or block.get("content") or block["type"] for block in blocks]
        kept = [str(text) for text in texts if "<system-reminder>" not in str(text)]
        if kept and message["role"] != "system":
            lines.append(f"{message['role']}: {' '.join(kept)}")
    return "\n".join(lines)


def turns(upstream: ScriptedUpstream) -> list[Seen]:
    return [seen for seen in upstream.seen if seen.target.startswith("/v1/messages") and seen.json.get("tools")]


def saying(text: str) -> Any:
    return lambda seen: sse_reply(*message_events({"type": "text", "text": text}, model=MODEL))


def using(tool: dict[str, Any], text: str = "Working on it.") -> Any:
    """A model that says something, uses a tool, and says how that went."""

    def answer(seen: Seen) -> Reply:
        if "tool_result" in seen.body.decode():
            return sse_reply(*message_events({"type": "text", "text": "All done."}, model=MODEL))
        call = {"type": "tool_use", "id": "toolu_01", **tool}
        return sse_reply(*message_events({"type": "text", "text": text}, call, stop="tool_use", model=MODEL))

    return answer


def request(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}


def events_of(body: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]


async def test_the_whole_request_reaches_the_model(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = saying("Hello there")
    proxy = await start_proxy(**environ)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    messages = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello Ada."}]},
        {"role": "user", "content": [{"type": "text", "text": "/clear and look"}, image]},
    ]
    body = request(system="Talk like a pirate.", messages=messages, thinking={"type": "disabled"}, temperature=0.5)
    answer = await proxy.client.post("/sdk/v1/messages", json=body, headers={"x-ccproxy-report": "1"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-claude-sdk-response"] == "true"
    [seen] = turns(upstream)
    assert words(seen) == "user: My name is Ada.\nassistant: Hello Ada.\nuser: /clear and look image"
    assert "Talk like a pirate." in json.dumps(seen.json["system"])
    assert (seen.json["model"], seen.json["thinking"]) == (MODEL, {"type": "disabled"})
    message = answer.json()
    assert [block["type"] for block in message["content"]] == ["system_message", "text", "result_message"]
    assert message["content"][1]["text"] == "Hello there"
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("end_turn", 42)
    assert message["content"][2]["total_cost_usd"] > 0
    marks = {mark.name: mark.detail for mark in (await proxy.ended()).marks}
    assert marks["turn ended"].startswith("1 turn of the model, $0.0")
    notes = {note.field for note in (await proxy.ended()).notes}
    assert {"temperature", "max_tokens"} <= notes


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


BASH = {"name": "Bash", "input": {"command": "echo from the tool"}}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("mode", "kinds", "told"),
    [
        (
            "forward",
            ["system_message", "text", "tool_use_sdk", "tool_result_sdk", "text", "result_message"],
            "from the tool",
        ),
        ("formatted", ["text"] * 6, '<tool_use_sdk>\n{\n  "type": "tool_use"'),
        ("ignore", ["text", "text"], ""),
    ],
)
async def test_an_agent_s_turn_is_one_message_in_every_mode(
    start_proxy: StartProxy,
    upstream: ScriptedUpstream,
    environ: dict[str, str],
    mode: str,
    kinds: list[str],
    told: str,
    stream: bool,
) -> None:
    upstream.default = using(BASH)
    more = {"CLAUDE__SDK_MESSAGE_MODE": mode, "CLAUDE__CODE_OPTIONS__ALLOWED_TOOLS": "Bash"}
    proxy = await start_proxy(**environ, **more)
    answer = await proxy.client.post("/sdk/v1/messages", json=request(stream=stream))
    if stream:
        events = events_of(answer.text)
        opened = [event for event in events if event["type"] == "content_block_start"]
        assert [event["index"] for event in opened] == list(range(len(kinds))), "each block has an index of its own"
        deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        assert "Work" in deltas, "word by word"
        message = assembled(events)
        assert events[-1]["type"] == "message_stop"
    else:
        message = answer.json()
    assert [block["type"] for block in message["content"]] == kinds
    text = json.dumps(message["content"]).encode().decode("unicode_escape")
    assert "Working on it." in text
    assert "All done." in text, "what is said after a tool is there"
    assert told in text
    assert message["usage"]["output_tokens"] == 84, "of both messages of the model"
    assert message["stop_reason"] == "end_turn"


@pytest.mark.parametrize("mode", ["forward", "formatted", "ignore"])
async def test_no_client_is_offered_a_tool_that_has_run(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str], mode: str
) -> None:
    upstream.default = using(BASH)
    more = {"CLAUDE__SDK_MESSAGE_MODE": mode, "CLAUDE__CODE_OPTIONS__ALLOWED_TOOLS": "Bash"}
    proxy = await start_proxy(**environ, **more)
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    said = (await proxy.client.post("/sdk/v1/chat/completions", json=chat)).json()["choices"][0]
    assert said["message"].get("tool_calls") is None
    assert said["finish_reason"] == "stop"
    assert "Working on it." in said["message"]["content"]
    assert "All done." in said["message"]["content"]
    assert ("[claude_code_sdk tool_result toolu_01]: from the tool" in said["message"]["content"]) == (
        mode == "forward"
    )
    responses = {"model": MODEL, "input": "hi", "stream": True}
    text = (await proxy.client.post("/claude/sdk/v1/responses", json=responses)).text
    assert "response.completed" in text
    assert "function_call" not in text
    deltas = [one["delta"] for one in events_of(text) if one["type"] == "response.output_text.delta"]
    assert "All done." in "".join(deltas)


async def test_sessions_remember_and_know_nothing_of_each_other(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = saying("Noted.")
    proxy = await start_proxy(**environ)

    async def ask(path: str, text: str, **headers: str) -> str:
        answer = await proxy.client.post(path, json=request(text), headers=headers)
        assert answer.status_code == 200, answer.text
        return words(turns(upstream)[-1])

    await ask("/sdk/a/v1/messages", "A's secret is swordfish.")
    assert "swordfish" not in await ask("/sdk/b/v1/messages", "What is the secret?")
    assert await ask("/sdk/a/v1/messages", "Again?") == "\n".join(
        ["user: A's secret is swordfish.", "assistant: Noted.", "user: Again?"]
    )
    assert "swordfish" in await ask("/sdk/v1/messages", "By header.", **{"x-session-id": "a"})
    assert "swordfish" not in await ask("/sdk/v1/messages", "And without one.")
    agents = proxy.hub.providers["claude_sdk"].agents  # type: ignore[attr-defined]
    await until(lambda: {one.session for one in agents.view().agents} == {"a", "b"})


async def test_a_session_goes_on_after_a_restart_of_the_proxy(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = saying("Noted.")
    for number in range(2):
        async with running_proxy(**environ) as proxy:
            messages = [{"role": "user", "content": "First."}, {"role": "assistant", "content": "Noted."}]
            body = request() | {"messages": [*messages[: 2 * number], {"role": "user", "content": f"Turn {number}."}]}
            answer = await proxy.client.post("/sdk/long/v1/messages", json=body)
            assert answer.status_code == 200, answer.text
    assert words(turns(upstream)[-1]) == "user: Turn 0.\nassistant: Noted.\nuser: Turn 1.", "told once, by the session"


async def test_one_turn_at_a_time_in_a_session(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    gate = asyncio.Event()
    events = message_events({"type": "text", "text": "Slow."}, model=MODEL)
    upstream.default = lambda seen: sse_reply(*events[:3], Wait(event=gate), *events[3:])
    proxy = await start_proxy(**environ)
    asking = [
        asyncio.create_task(proxy.client.post("/sdk/q/v1/messages", json=request(f"number {number}")))
        for number in range(3)
    ]
    agents = proxy.hub.providers["claude_sdk"].agents  # type: ignore[attr-defined]
    await until(lambda: [one.waiting for one in agents.view().agents] == [2] and len(turns(upstream)) == 1, seconds=20)
    gate.set()
    assert [(await one).status_code for one in asking] == [200, 200, 200]
    assert "number" in words(turns(upstream)[-1])
    assert words(turns(upstream)[-1]).count("Slow.") == 2
    marks = {mark.name for record in proxy.hub.store for mark in record.marks}
    assert "queued" in marks


@pytest.mark.parametrize(
    ("answer", "ran", "said"),
    [
        ({"allowed": True}, "asked.txt", ""),
        ({"allowed": False, "message": "Use the other tool."}, "", "Use the other tool."),
        ({"allowed": True, "edited": {"command": "touch edited.txt"}}, "edited.txt", ""),
    ],
)
async def test_the_person_is_asked_for_the_agent_s_tools(
    start_proxy: StartProxy,
    upstream: ScriptedUpstream,
    environ: dict[str, str],
    answer: dict[str, Any],
    ran: str,
    said: str,
) -> None:
    upstream.default = using({"name": "Bash", "input": {"command": "touch asked.txt"}})
    proxy = await start_proxy(**environ)
    asking = asyncio.create_task(proxy.client.post("/sdk/p/v1/messages", json=request()))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    [entry] = proxy.hub.broker.pending
    asked = entry.request
    assert (asked.tool, asked.input["command"], asked.source) == ("Bash", "touch asked.txt", "sdk")
    assert (asked.session, asked.model, asked.exchange) == ("p", MODEL, proxy.last.id)
    assert asked.cwd == environ["CLAUDE__CODE_OPTIONS__CWD"]
    assert state_word(proxy.last, proxy.hub.clock.monotonic() + 100, 20) == "tool", "not a stall"
    control = proxy.control()
    await control.answer_permission(entry.id, **answer)
    await control.close()
    message = (await asking).json()
    assert {path.name for path in Path(asked.cwd).iterdir()} == ({ran} if ran else set())
    assert said in json.dumps(message)
    marks = [(mark.name, mark.detail) for mark in (await proxy.ended()).marks]
    assert ("asks", "Bash") in marks
    decided = "allowed" if answer["allowed"] else "denied"
    assert [detail.partition(" by ")[0] for name, detail in marks if name == decided] == ["Bash"]


async def test_what_claude_code_offers_is_kept_in_its_own_settings(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = using({"name": "Bash", "input": {"command": "npm install left-pad --dry-run --offline"}})
    proxy = await start_proxy(**environ)
    asking = asyncio.create_task(proxy.client.post("/sdk/p/v1/messages", json=request()))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    [entry] = proxy.hub.broker.pending
    control = proxy.control()
    assert "allow Bash(npm install *) in this project" in (await control.propose_rules(entry.id)).offer
    await control.add_rules(entry.id, [], action="allow", scope="asker", hours=None)
    await control.close()
    assert (await asking).status_code == 200
    kept = Path(entry.request.cwd) / ".claude" / "settings.local.json"
    assert "Bash(npm install *)" in kept.read_text()


async def test_a_denial_can_end_the_turn(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = using(BASH)
    proxy = await start_proxy(**environ, CLAUDE__CODE_OPTIONS__DISALLOWED_TOOLS="", CLAUDE__SDK_MESSAGE_MODE="ignore")
    upstream.default = using({"name": "Bash", "input": {"command": "touch asked.txt"}})
    asking = asyncio.create_task(proxy.client.post("/sdk/p/v1/messages", json=request()))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    control = proxy.control()
    await control.answer_permission(proxy.hub.broker.pending[0].id, allowed=False, interrupt=True)
    await control.close()
    stopped = await asking
    assert (stopped.status_code, "has denied Bash and ended the turn" in stopped.text) == (499, True), stopped.text
    upstream.default = saying("Still here.")
    again = await proxy.client.post("/sdk/p/v1/messages", json=request("And now?"))
    assert "Still here." in again.text, "the session goes on"


async def test_a_client_that_leaves_stops_the_agent_and_its_question(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = using({"name": "Bash", "input": {"command": "touch asked.txt"}})
    proxy = await start_proxy(**environ)
    asking = asyncio.create_task(proxy.client.post("/sdk/p/v1/messages", json=request(stream=True)))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    asking.cancel()
    await until(lambda: [one.status for one in proxy.hub.broker.ended] == ["cancelled"], seconds=10)
    upstream.default = saying("Still here.")
    again = await proxy.client.post("/sdk/p/v1/messages", json=request("And now?"))
    assert "Still here." in again.text
    assert not (Path(environ["CLAUDE__CODE_OPTIONS__CWD"]) / "asked.txt").exists()


async def test_the_upstream_s_refusal_is_the_client_s_to_know(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    upstream.default = lambda seen: json_reply(error, 429)
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post("/sdk/v1/messages", json=request())
    assert answer.status_code == 429
    assert (answer.json()["error"]["type"], "slow down" in answer.text) == ("rate_limit_error", True)
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    answer = await proxy.client.post("/sdk/v1/chat/completions", json=chat)
    assert answer.status_code == 429
    assert "slow down" in answer.json()["error"]["message"]


async def test_without_a_login_the_client_hears_what_to_do(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await start_proxy(**environ)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    (Path.home() / ".claude" / ".credentials.json").unlink()
    answer = await proxy.client.post("/sdk/v1/messages", json=request())
    assert (answer.status_code, "ccproxy-tui auth login" in answer.text) == (401, True), answer.text
    assert upstream.seen == []


async def test_a_header_may_narrow_as_well_and_no_text_is_on_the_command_line(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = saying("Hello")
    servers = {"CLAUDE__CODE_OPTIONS__MCP_SERVERS": '{"x": {"type": "http", "url": "http://127.0.0.1:9/hush-hush"}}'}
    proxy = await start_proxy(**environ, **servers)
    for header, value in (("permission-mode", "bypassPermissions"), ("max-turns", "0"), ("cwd", "/")):
        answer = await proxy.client.post("/sdk/v1/messages", json=request(), headers={f"x-ccproxy-{header}": value})
        assert (answer.status_code, header.replace("-", "_") in answer.text) == (400, True)
    headers = {"x-ccproxy-max-turns": "9" * 5000, "x-ccproxy-permission-mode": "plan"}
    long = "Talk like a pirate. \0" * 20_000  # more than one word of a command line may have
    answer = await proxy.client.post("/sdk/s/v1/messages", json=request(system=long), headers=headers)
    assert answer.status_code == 200, answer.text
    assert turns(upstream)[-1].body.count(b"like a pirate") == 20_000
    [agent] = agents_of(proxy).view().agents
    command = Path(f"/proc/{agent.pid}/cmdline").read_text()
    assert "--permission-mode=plan" in command
    assert "hush-hush" not in command
    assert "pirate" not in command
    assert list(Paths.of_user().runtime.glob("agent-*")) == []


async def test_fifty_requests_over_a_pool_of_three(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = lambda seen: sse_reply(
        *message_events({"type": "text", "text": "echo " + words(seen).rpartition("user: ")[2]}, model=MODEL)
    )
    pool = {"CLAUDE__SDK_POOL__ENABLED": "true", "CLAUDE__SDK_POOL__SIZE": "3"}
    limits = {"CLAUDE__SDK_SESSION_POOL__MAX_SESSIONS": "6", "CLAUDE__SDK_SESSION_POOL__ACQUIRE_TIMEOUT": "60"}
    proxy = await start_proxy(**environ, **pool, **limits)

    async def ask(number: int) -> None:
        session = f"s{number % 5}/" if number % 2 else ""
        answer = await proxy.client.post(f"/sdk/{session}v1/messages", json=request(f"word{number}"), timeout=60)
        assert answer.status_code == 200, answer.text
        texts = [block["text"] for block in answer.json()["content"] if block["type"] == "text"]
        assert texts == [f"echo word{number}"], "each gets its own answer"

    async with asyncio.timeout(100):
        for start in range(0, 50, 6):
            await asyncio.gather(*(ask(number) for number in range(start, min(start + 6, 50))))
    for seen in turns(upstream):
        said = words(seen)
        numbers = {int(word.removeprefix("word")) for word in said.replace("echo ", "").split() if word[:4] == "word"}
        assert len({number % 5 for number in numbers if number % 2}) <= 1, "no session hears of another"
        assert len(numbers) == 1 or all(number % 2 for number in numbers), "and what has none, of nobody"
    assert len(proxy.hub.providers["claude_sdk"].agents.view().agents) <= 6 + 3  # type: ignore[attr-defined]
    marks = [mark for record in proxy.hub.store for mark in record.marks if mark.name == "pool"]
    assert any("was ready" in mark.detail for mark in marks)


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        ({"permission_mode": "bypassPermissions"}, "permission_mode"),
        ({"allowed_tools": ["Bash"]}, "allowed_tools"),
        ({"cwd": "/"}, "cwd"),
        ({"cwd": "../.."}, "cwd"),
        ({"cwd": "gone"}, "cwd"),
        ({"max_turns": 0}, "max_turns"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        ({"thinking": {"type": "much"}}, "thinking.type"),
    ],
)
async def test_a_request_may_not_widen_what_the_settings_allow(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str], wish: dict[str, Any], where: str
) -> None:
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post("/sdk/v1/messages", json=request() | wish)
    assert (answer.status_code, where in answer.text) == (400, True), answer.text
    assert upstream.seen == []


async def test_agents_may_ask_over_our_own_mcp_server(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    """The older programs' way, at the port that the proxy really has."""
    upstream.default = using({"name": "Bash", "input": {"command": "touch asked.txt"}})
    tool = {"CLAUDE__CODE_OPTIONS__PERMISSION_PROMPT_TOOL_NAME": "mcp__ccproxy__check_permission"}
    proxy = await start_proxy(**environ, **tool)
    asking = asyncio.create_task(proxy.client.post("/sdk/v1/messages", json=request()))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    [entry] = proxy.hub.broker.pending
    assert (entry.request.source, entry.request.input["command"]) == ("mcp", "touch asked.txt")
    control = proxy.control()
    await control.answer_permission(entry.id, allowed=True)
    await control.close()
    assert (await asking).status_code == 200
    assert (Path(environ["CLAUDE__CODE_OPTIONS__CWD"]) / "asked.txt").exists()


async def test_an_agent_with_our_own_hook_asks_once(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    """Who has connected Claude Code has the hook in the settings that an agent reads, too."""
    upstream.default = using({"name": "Bash", "input": {"command": "touch asked.txt"}})
    proxy = await start_proxy(**environ)
    settings = Path.home() / ".claude" / "settings.json"
    settings.write_text(add_to_claude("", Connection(proxy.url, hook=f"{PROGRAM} hook")))
    asking = asyncio.create_task(proxy.client.post("/sdk/v1/messages", json=request()))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    assert proxy.hub.broker.pending[0].request.source == "sdk"
    control = proxy.control()
    await control.answer_permission(proxy.hub.broker.pending[0].id, allowed=True)
    await control.close()
    assert (await asking).status_code == 200
    assert [one.request.source for one in proxy.hub.broker.ended] == ["sdk"]


async def test_without_permissions_of_ours_what_would_ask_is_denied(
    start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]
) -> None:
    upstream.default = using({"name": "Bash", "input": {"command": "touch asked.txt"}})
    proxy = await start_proxy(**environ, CLAUDE__BUILTIN_PERMISSIONS="false")
    assert (await proxy.client.post("/sdk/v1/messages", json=request())).status_code == 200
    assert not (Path(environ["CLAUDE__CODE_OPTIONS__CWD"]) / "asked.txt").exists()
    assert proxy.hub.broker.ended == []


async def test_the_plan_s_windows_are_the_account_s(
    start_proxy: StartProxy,
    upstream: ScriptedUpstream,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-an-agent-of-ours-0123456789")
    resets = str(int(time.time()) + 3600)
    quota = {
        "anthropic-ratelimit-unified-status": "allowed",
        "anthropic-ratelimit-unified-5h-utilization": "0.42",
        "anthropic-ratelimit-unified-5h-status": "allowed",
        "anthropic-ratelimit-unified-5h-reset": resets,
        "anthropic-ratelimit-unified-7d-utilization": "0.07",
        "anthropic-ratelimit-unified-7d-reset": resets,
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-reset": resets,
    }
    events = message_events({"type": "text", "text": "Hello"}, model=MODEL)
    upstream.default = lambda seen: sse_reply(*events, headers=list(quota.items()))
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post("/sdk/v1/messages", json=request())
    assert answer.status_code == 200, answer.text
    [account] = [one for one in proxy.hub.accounts() if one.provider == "claude"]
    await until(lambda: [(one.name, one.used) for one in account.view().windows] == [("5h", 42), ("7d", 7)])
    assert (await proxy.ended()).billing == "Agent SDK"


async def test_status_and_models(start_proxy: StartProxy, upstream: ScriptedUpstream, environ: dict[str, str]) -> None:
    upstream.default = saying("Hello")
    proxy = await start_proxy(**environ)
    assert (await proxy.client.post("/sdk/s/v1/messages", json=request())).status_code == 200
    status = (await proxy.client.get("/sdk/status")).json()
    assert (status["agents"]["idle"], status["sessions"]["known"], status["pool"]["enabled"]) == (1, 1, False)
    assert status["memory_per_agent"][0] > 20_000_000
    assert status["permission_handler_connected"] is False
    assert status["cli_version"].startswith("2.")
    assert environ["CLAUDE__CODE_OPTIONS__CWD"] not in json.dumps(status)
    assert {model["id"] for model in (await proxy.client.get("/sdk/v1/models")).json()["data"]} >= {"opus", "sonnet"}
    chat = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
    answer = await proxy.client.post("/sdk/v1/chat/completions", json=chat)
    assert answer.headers["x-claude-sdk-response"] == "true"
    assert answer.json()["model"] == "gpt-5"
    assert (await proxy.ended()).billing == "API key"
    control = proxy.control()
    view = await control.sdk()
    idle = next(one for one in view.agents if one.session == "s")
    assert (idle.state, idle.model, idle.requests) == ("idle", MODEL, 1)
    await control.end_agent(idle.id, again=True)
    await until(lambda: idle.id not in [one.id for one in agents_of(proxy).view().agents])
    assert [one.session for one in agents_of(proxy).view().agents] == ["s"]
    assert "Hello" in (await proxy.client.post("/sdk/s/v1/messages", json=request("Again?"))).text
    assert words(turns(upstream)[-1]).startswith("user: hi\nassistant: Hello"), "the same conversation"
    await control.close()


def agents_of(proxy: Proxy) -> Agents:
    return proxy.hub.providers["claude_sdk"].agents  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_no_agent_outlives_the_proxy(
    upstream: ScriptedUpstream, environ: dict[str, str], number: signal.Signals, tmp_path: Path
) -> None:
    """The real program with a live session, one in its turn, and one whose tool waits for an answer."""
    gate = asyncio.Event()
    events = message_events({"type": "text", "text": "Slow."}, model=MODEL)
    asks = using({"name": "Bash", "input": {"command": "touch asked.txt"}})

    def answer(seen: Seen) -> Reply:
        said = words(seen)
        if "slow" in said:
            return sse_reply(*events[:3], Wait(event=gate), *events[3:])
        return asks(seen) if "ask" in said else saying("Hello")(seen)

    upstream.default = answer
    program = Path(sys.executable).with_name("ccproxy-tui")
    settings = {**os.environ, **environ, "SERVER__PORT": "0", "SERVER__DRAIN_SECONDS": "0"}
    process = await asyncio.create_subprocess_exec(
        program, "serve", env=settings, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        paths = Paths.of_user()
        await until(lambda: bool(instances.running(paths)), seconds=20)
        [instance] = instances.running(paths)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{instance.port}", trust_env=False, timeout=60
        ) as client:
            assert (await client.post("/sdk/idle/v1/messages", json=request())).status_code == 200
            asking = [
                asyncio.create_task(client.post(f"/sdk/{name}/v1/messages", json=request(name, stream=True)))
                for name in ("slow", "ask")
            ]
            control = ControlClient(socket=instance.socket)
            async with asyncio.timeout(30):
                while (await control.status()).waiting != 1 or len(turns(upstream)) < 3:
                    await asyncio.sleep(0.05)
            pids = [one.pid for one in (await control.sdk()).agents]
            await control.close()
            assert len(pids) == 3
            process.send_signal(number)
            async with asyncio.timeout(10):
                await process.wait()
            await asyncio.gather(*asking, return_exceptions=True)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    await until(lambda: not any(map(lives, pids)), seconds=5)
