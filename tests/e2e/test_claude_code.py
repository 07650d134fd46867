"""The real Claude Code CLI through the proxy: a turn with a tool, errors, a broken stream."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccproxy_tui.core.text import sse
from tests.conftest import Proxy
from tests.e2e.clients import find
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, anthropic_stream, json_reply, sse_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


async def claude(proxy: Proxy, prompt: str, *arguments: str, prefix: str = "api") -> dict[str, Any]:
    """One `claude -p` turn; its JSON result."""
    environ = {
        "HOME": str(Path.home()),
        "PATH": os.environ["PATH"],
        "TERM": "dumb",
        "ANTHROPIC_BASE_URL": f"{proxy.url}/{prefix}",
        "ANTHROPIC_API_KEY": "any-word",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
        # Whatever the CLI wants from elsewhere ends here at once.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    process = await asyncio.create_subprocess_exec(
        find("claude"),
        "-p",
        prompt,
        "--output-format",
        "json",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
        cwd=Path.home(),
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert out, err.decode()
    result = json.loads(out)
    return dict(result[-1] if isinstance(result, list) else result)


def tool_call(name: str, arguments: dict[str, Any]) -> list[bytes]:
    message = {
        "id": "msg_t",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    block = {"type": "tool_use", "id": "toolu_01A", "name": name, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return [sse.encode(msgspec.json.encode(event), str(event["type"])) for event in events]


def scripted(*main_turns: list[bytes]) -> Any:
    """Answers the main turns in order; side requests (titles and such) get a short text."""
    turns = list(main_turns)

    def answer(seen: Seen) -> Reply:
        if not seen.target.startswith("/v1/messages") or seen.target.startswith("/v1/messages/"):
            return json_reply({"input_tokens": 10})
        body = seen.json
        events = turns.pop(0) if body.get("tools") and turns else anthropic_stream("aside")
        if body.get("stream") is True:
            return sse_reply(*events)
        return json_reply({"type": "error", "error": {"type": "api_error", "message": "no"}}, 500)

    return answer


async def test_a_turn_with_a_tool_completes(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    (Path.home() / "note.txt").write_text("the secret word is marmalade\n")
    upstream.default = scripted(
        tool_call("Read", {"file_path": str(Path.home() / "note.txt")}), anthropic_stream("All done here.")
    )
    result = await claude(proxy, "Read note.txt and say something", "--allowedTools", "Read")
    assert result["is_error"] is False
    assert result["result"].replace(" ", "") == "Alldonehere."
    mains = [seen for seen in upstream.seen if seen.method == "POST" and seen.json.get("tools")]
    assert len(mains) == 2
    assert "marmalade" in json.dumps(mains[1].json["messages"])
    assert all("oauth-2025-04-20" in seen.header("anthropic-beta") for seen in mains)
    records = [record for record in proxy.hub.store if record.stream]
    assert {record.client for record in records} == {"claude-code"}
    assert all(record.ended == "done" and record.calls == 1 for record in records)
    assert all(record.session for record in records)


async def test_an_upstream_refusal_is_shown_word_for_word(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too purple"}}
    upstream.default = lambda seen: json_reply(refusal, 400)
    result = await claude(proxy, "hi")
    assert result["is_error"] is True
    assert "prompt is too purple" in result["result"]


async def test_a_cut_stream_is_repaired_by_the_client_because_it_is_told(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    whole = {
        "id": "msg_w",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "repaired"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }

    def answer(seen: Seen) -> Reply:
        if seen.method != "POST" or not seen.json.get("stream"):
            return json_reply(whole)
        return sse_reply(*anthropic_stream("half of it")[:5])

    upstream.default = answer
    result = await claude(proxy, "hi")
    assert (result["is_error"], result["result"]) == (False, "repaired")


async def test_the_demo_provider_serves_claude_code(proxy: Proxy) -> None:
    proxy.hub.settings.providers.demo.speed = 200
    result = await claude(proxy, "demo: echo=Hello from the demo", prefix="demo")
    assert result["is_error"] is False
    assert "Hello from the demo" in result["result"]
