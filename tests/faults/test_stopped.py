"""A proxy that was stopped (SIGSTOP) reads what came in that time before it calls anything late."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
import uvloop

from ccproxy_tui.core.system.patience import SECOND_LOOK, patience
from tests.attack import box
from tests.conftest import write_claude_login
from tests.fakes.upstream import Reply, ScriptedUpstream, Wait, anthropic_stream, sse_reply

CHAT = {"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
STREAMS = 6
STOPPED = 4.0  # seconds: longer than each time-out below
SHORT = {
    "HTTP__READ_TIMEOUT": "2",
    "SERVER__HEAD_SECONDS": "2",
    "SERVER__BODY_SECONDS": "2",
    "PERMISSIONS__TIMEOUT_SECONDS": "3",
}


def _head(path: str, length: int) -> bytes:
    headers = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    return f"POST {path} HTTP/1.1\r\n{headers}".encode()


async def _read_head(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        return await loop.sock_recv(sock, 65536)


async def test_streams_requests_and_decisions_survive_a_stop(upstream: ScriptedUpstream) -> None:
    write_claude_login()
    events = anthropic_stream("Hello")
    go_on = asyncio.Event()

    def slow(_: object) -> Reply:
        return sse_reply(*events[:3], Wait(event=go_on), *events[3:6], Wait(0.1), *events[6:])

    upstream.default = slow
    served = await asyncio.to_thread(
        box.start, Path.home(), environ={**SHORT, "PROVIDERS__CLAUDE_API__BASE_URL": upstream.url}
    )
    loop = asyncio.get_running_loop()
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", timeout=30, trust_env=False) as client,
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(served.socket)), base_url="http://localhost", timeout=30
            ) as user,
            user.stream("GET", "/permissions/stream") as news,
        ):
            lines = news.aiter_lines()
            await anext(lines)
            streams = [asyncio.create_task(client.post("/api/v1/messages", json=CHAT)) for _ in range(STREAMS)]
            wanted = {"tool_name": "Bash", "input": {"command": "x"}}
            asked = asyncio.create_task(client.post("/permissions", json=wanted))
            request = ""
            async with asyncio.timeout(10):
                async for line in lines:
                    if line.startswith("data:") and "request_id" in line:
                        request = json.loads(line[5:])["request_id"]
                        break
                while len(upstream.seen) < STREAMS:
                    await asyncio.sleep(0.01)
            body = b'{"tool_name": "", "input": {}}'
            halves = []
            for first in (_head("/permissions", len(body)), _head("/permissions", len(body)) + b"\r\n" + body[:5]):
                sock = socket.create_connection(("127.0.0.1", served.port))
                sock.setblocking(False)
                await loop.sock_sendall(sock, first)
                halves.append(sock)
            await asyncio.sleep(0.3)

            os.kill(served.process.pid, signal.SIGSTOP)
            go_on.set()
            await loop.sock_sendall(halves[0], b"\r\n" + body)
            await loop.sock_sendall(halves[1], body[5:])
            answering = asyncio.create_task(user.post(f"/permissions/{request}/respond", json={"allowed": True}))
            await asyncio.sleep(STOPPED)
            os.kill(served.process.pid, signal.SIGCONT)

            whole = [response.text for response in await asyncio.gather(*streams)]
            assert [("message_stop" in text, "error" in text) for text in whole] == [(True, False)] * STREAMS
            assert (await answering).status_code == 200
            assert (await asked).json()["status"] == "allowed"
            for sock in halves:
                assert b" 400 " in (await _read_head(sock)).split(b"\r\n")[0], "it was read whole, and names no tool"
                sock.close()
    finally:
        served.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(served.stop)


# --- the time-out itself; a loop that stands still is what a stopped process looks like from inside ---


def test_what_came_while_nothing_ran_is_read_before_the_end() -> None:
    uvloop.run(_read_late())


async def _read_late() -> None:
    left, right = socket.socketpair()
    with left, right:
        reader, writer = await asyncio.open_connection(sock=left)
        reading = asyncio.create_task(_read(reader, 0.2))
        await asyncio.sleep(0)
        right.sendall(b"x")
        time.sleep(0.9)
        assert await reading == b"x"
        writer.close()


async def _read(reader: asyncio.StreamReader, seconds: float) -> bytes:
    async with patience(seconds):
        return await reader.read(1)


async def test_an_end_that_is_not_late_is_kept() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        async with patience(0.05):
            await asyncio.sleep(10)
    assert loop.time() - began < SECOND_LOOK


async def test_an_end_can_be_moved_and_forgotten() -> None:
    async with patience(0.05) as end:
        end.reschedule(asyncio.get_running_loop().time() + 0.3)
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)
    async with patience(None):
        await asyncio.sleep(0)
