"""`permission-handler` in a real terminal, on the proxy of this machine and on one that is named."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import Proxy, StartProxy, until
from tests.pty.terminal import Terminal, program

pytestmark = pytest.mark.pty

CHECK = {"tool_name": "Bash", "input": {"command": "echo \x1b[2J sk-ant-api03-0123456789abcdefghij"}}


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    return await start_proxy()


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
        assert "sk-ant-api03" not in terminal.text
        terminal.send(f"{typed}\r")
        assert (await asking).json()["behavior"] == behavior
        terminal.send("\x03")
    finally:
        terminal.close()


async def test_a_proxy_that_is_not_there_is_said(proxy: Proxy) -> None:
    terminal = Terminal(program("permission-handler", "--port", "1"), columns=100, lines=24)
    try:
        assert await asyncio.to_thread(terminal.wait_end) == 1
        assert "The proxy" in terminal.text
    finally:
        terminal.close()
