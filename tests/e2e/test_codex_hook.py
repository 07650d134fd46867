"""The real Codex in its own terminal, connected: its hook asks here before its own dialog."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.control.protocol import ControlError
from tests.conftest import Proxy, StartProxy, until
from tests.e2e.clients import find
from tests.e2e.test_across import shell_tool
from tests.e2e.test_connect import run
from tests.fakes.streams import called, response_events, said
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, json_reply, sse_reply
from tests.pty.terminal import Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.usefixtures("other_logins")]


def wanting(seen: Seen) -> Reply:
    """A model that wants to run a command outside of the sandbox, once."""
    if seen.method == "GET":
        return json_reply({}, 404)
    tools = {tool.get("name") for tool in seen.json.get("tools") or ()}
    if b"function_call_output" in seen.body or tools <= {"apply_patch"}:  # of a turn of its own, beside ours
        return sse_reply(*response_events(said("All done.")))
    name, arguments = shell_tool(seen)
    command = dict.fromkeys(arguments, "touch asked.txt")
    more = {"sandbox_permissions": "require_escalated", "justification": "It must be."}
    return sse_reply(*response_events(called(name, {**command, **more})))


@pytest.fixture
async def proxy(start_proxy: StartProxy, upstream: ScriptedUpstream) -> Proxy:
    upstream.default = wanting
    return await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait", CODEX__UPSTREAM_WEBSOCKET="off")


async def codex(proxy: Proxy, folder: Path) -> Terminal:
    assert (await run("connect", "codex", SERVER__PORT=str(proxy.hub.port)))[0] == 0
    config = Path.home() / ".codex" / "config.toml"
    own = f'model = "gpt-5.5"\napproval_policy = "on-request"\nsandbox_mode = "read-only"\n{config.read_text()}'
    seen = '[notice.model_migrations]\n"gpt-5.5" = "gpt-6-sol"\n'  # its offer of another model was declined before
    config.write_text(f'{own}\n{seen}[projects."{folder}"]\ntrust_level = "trusted"\n')
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "TERM": "xterm-256color",
    }
    arguments = ["--dangerously-bypass-hook-trust", "-C", str(folder), "Touch it."]  # trust is given by hand, once
    return Terminal([find("codex"), *arguments], columns=100, lines=36, environ=environ)


@pytest.mark.parametrize(
    ("answer", "ran", "told"),
    [
        ({"allowed": True}, True, ""),
        ({"allowed": False, "message": "Use the other tool."}, False, "Use the other tool."),
    ],
)
async def test_codex_in_another_terminal_is_answered_from_here(
    proxy: Proxy, upstream: ScriptedUpstream, tmp_path: Path, answer: dict[str, Any], ran: bool, told: str
) -> None:
    terminal = await codex(proxy, tmp_path)
    try:
        async with asyncio.timeout(60):
            while not proxy.hub.broker.pending:
                await asyncio.to_thread(terminal.read, 0.1)
        [entry] = proxy.hub.broker.pending
        asked = entry.request
        assert (asked.source, asked.tool, asked.cwd) == ("codex", "Bash", str(tmp_path))
        assert asked.input["command"] == "touch asked.txt"
        control = proxy.control()
        with pytest.raises(ControlError, match="does not accept edited input"):
            await control.answer_permission(entry.id, allowed=True, edited={"command": "x"})
        await control.answer_permission(entry.id, **answer)
        await control.close()
        async with asyncio.timeout(60):
            while not (results := [seen.body for seen in upstream.seen if b"function_call_output" in seen.body]):
                await asyncio.to_thread(terminal.read, 0.1)
        assert (tmp_path / "asked.txt").exists() == ran
        assert told.encode() in results[0]
        await until(lambda: proxy.hub.broker.pending == [])
    finally:
        terminal.close()
