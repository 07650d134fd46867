"""`permission-handler` in a real terminal, on the proxy of this machine and on one that is named."""

from __future__ import annotations

import asyncio

import pytest

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import Proxy, StartProxy, until
from tests.pty.terminal import Terminal, program
from tests.pty.test_guards import Asker

pytestmark = pytest.mark.pty

CHECK = {"tool_name": "Bash", "input": {"command": "echo \x1b[2J sk-ant-api03-0123456789abcdefghij"}}


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    return await start_proxy(PERMISSIONS__DECIDERS="any")  # it runs in this process, which starts the handler


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("typed", "behavior"), [("yes", "allow"), ("y", "deny"), ("", "deny")])
async def test_a_line_answers(proxy: Proxy, named: bool, typed: str, behavior: str) -> None:
    arguments = ["--plain", "--host", "127.0.0.1", "--port", str(proxy.hub.port)] if named else []
    terminal = Terminal(program("permission-handler", *arguments), columns=100, lines=24)
    try:
        await asyncio.to_thread(terminal.wait_for, "waiting for permission requests")
        await until(lambda: proxy.hub.desk.watched)
        asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
        await asyncio.to_thread(terminal.wait_for, "type yes to allow")
        assert "\\x1b[2J" in terminal.text or "\\u001b[2J" in terminal.text, "control characters are spelled out"
        assert "sk-ant-api03-0123456789abcdefghij" in terminal.text, "nothing is masked inside what would run"
        terminal.send(f"{typed}\r")
        assert (await asking).json()["behavior"] == behavior
        terminal.send("\x03")
    finally:
        terminal.close()


async def test_a_proxy_that_is_not_there_is_said(proxy: Proxy) -> None:
    terminal = Terminal(program("permission-handler", "--port", "1"), columns=100, lines=24)
    try:
        assert await asyncio.to_thread(terminal.wait_end) == 4, "nothing runs there"
        assert "No proxy runs on port 1" in terminal.text
    finally:
        terminal.close()


@pytest.mark.parametrize("by_port", [False, True])
def test_the_proxy_of_another_terminal_is_answered(by_port: bool) -> None:
    """With the checks that users have: a terminal of its own, over the socket and over TCP."""
    paths = Paths.of_user()
    served = Terminal(program("serve", "--port", "0"))
    handler: Terminal | None = None
    try:
        served.wait_for(lambda: bool(instances.running(paths)))
        [running] = instances.running(paths)
        handler = Terminal(program("permission-handler", *(["--port", str(running.port)] if by_port else [])))
        handler.wait_for("waiting for permission requests")
        asker = Asker(running.port)
        asker.start()
        handler.wait_for("type yes to allow")
        handler.send("yes\r")
        asker.join(20)
        assert asker.answer is not None
        assert asker.answer["behavior"] == "allow"
        handler.wait_for("allowed")
    finally:
        served.close()
        if handler is not None:
            handler.close()
