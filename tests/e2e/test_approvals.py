"""Real agents ask, the real proxy's queue is answered: what the person said is what the agent did."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Proxy, StartProxy, until
from tests.e2e.clients import find
from tests.e2e.test_claude_code import claude
from tests.fakes.streams import message_events
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, sse_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    find("claude")  # it is run in the background, where nobody would hear that it is missing
    return await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait")


def wanting(command: str, upstream: ScriptedUpstream) -> Any:
    """A model that wants to run a command once, and then says that it is done."""

    def answer(seen: Seen) -> Reply:
        if not seen.target.startswith("/v1/messages") or not seen.json.get("tools"):
            return sse_reply(*message_events({"type": "text", "text": "aside"}))
        if any(
            isinstance(one["content"], list) and one["content"][0].get("type") == "tool_result"
            for one in seen.json["messages"]
        ):
            return sse_reply(*message_events({"type": "text", "text": "Done."}))
        call = {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": command, "timeout": 5000}}
        return sse_reply(*message_events(call, stop="tool_use"))

    return answer


def results(seen: Seen) -> list[dict[str, Any]]:
    contents = [message["content"] for message in seen.json["messages"] if isinstance(message["content"], list)]
    return [content[0] for content in contents if content[0].get("type") == "tool_result"]


def result_of(upstream: ScriptedUpstream) -> dict[str, Any]:
    """What the model was told of its call."""
    told = [seen for seen in upstream.seen if seen.target.startswith("/v1/messages") and results(seen)]
    return results(told[-1])[-1]


@pytest.mark.parametrize(
    ("answer", "ran", "said"),
    [
        ({"allowed": True}, "asked.txt", ""),
        ({"allowed": False, "message": "Use the other tool."}, "", "Use the other tool."),
        ({"allowed": True, "edited": {"command": "touch edited.txt"}}, "edited.txt", ""),
    ],
)
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_claude_code_asks_by_its_permission_prompt_tool(
    proxy: Proxy, upstream: ScriptedUpstream, transport: str, answer: dict[str, Any], ran: str, said: str
) -> None:
    upstream.default = wanting("touch asked.txt", upstream)
    config = json.dumps({"mcpServers": {"ccproxy": {"type": transport, "url": f"{proxy.url}/mcp"}}})
    arguments = ("--mcp-config", config, "--permission-prompt-tool", "mcp__ccproxy__check_permission")
    running = asyncio.create_task(claude(proxy, "Touch it.", *arguments))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=60)
    [entry] = proxy.hub.broker.pending
    assert (entry.request.tool, entry.request.input["command"]) == ("Bash", "touch asked.txt")
    assert entry.request.input["timeout"] == 5000, "numbers arrive as numbers"
    control = proxy.control()
    await control.answer_permission(entry.id, **answer)
    await control.close()
    await running
    touched = {path.name for path in Path.home().glob("*.txt")}
    assert touched == ({ran} if ran else set())
    result = result_of(upstream)
    assert said in str(result["content"])
    assert bool(result.get("is_error")) == (not answer["allowed"])
