"""Calls through a forward proxy: clients that hang up at any moment must cost no connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ccproxy_tui.core.errors import UpstreamUnreachable
from ccproxy_tui.core.provider import close_answer
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.providers.upstream import Upstream, read_all
from tests.conftest import StartProxy, until
from tests.providers.test_transport import certificate

__all__ = ["certificate"]
_ANSWER = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class ForwardProxy:
    """Forwards plain requests, and tunnels TLS ones, to an upstream of its own that answers a little later."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._rng = random.Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.open = 0
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await self._pause()
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await writer.start_tls(self._tls)
                continue
            if b"/endless" in head.split(b"\r\n")[0]:
                await reader.read()  # until the client leaves
                return
            for part in (_ANSWER, b"1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n"):
                writer.write(part)
                await writer.drain()
                await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.004)


@pytest.fixture
async def forward(certificate: tuple[Path, Path]) -> AsyncIterator[ForwardProxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    proxy = ForwardProxy(context)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture(params=["http", "https"])
async def url(request: pytest.FixtureRequest) -> str:
    return f"{request.param}://localhost:9/"


@pytest.fixture
async def caller(forward: ForwardProxy, url: str, certificate: tuple[Path, Path]) -> AsyncIterator[Upstream]:
    http = Http(
        proxy=f"http://127.0.0.1:{forward.port}", ca_bundle=certificate[0], max_connections=4, connect_timeout=3
    )
    one = Upstream("claude", url, http)
    yield one
    await one.close()


async def call(caller: Upstream, url: str) -> bytes:
    return await read_all(await caller.send("GET", url, [("host", "localhost:9")], b""))


async def test_clients_that_hang_up_cost_no_connection(forward: ForwardProxy, caller: Upstream, url: str) -> None:
    before = open_files()
    rng = random.Random(2)

    async def hang_up(times: int) -> None:
        for _ in range(times):
            task = asyncio.ensure_future(call(caller, url))
            await asyncio.sleep(rng.random() * 0.03)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    await asyncio.gather(*(hang_up(40) for _ in range(8)))
    assert await asyncio.gather(*(call(caller, url) for _ in range(8))) == [b"ab"] * 8
    await until(lambda: forward.open <= 4, seconds=5)
    await until(lambda: open_files() <= before + 8, seconds=5)  # both ends of those that are kept


async def test_a_connection_is_used_again(forward: ForwardProxy, caller: Upstream, url: str) -> None:
    for _ in range(3):
        assert await call(caller, url) == b"ab"
    assert forward.connections == 1


async def test_an_answer_that_is_left_ends_its_connection(forward: ForwardProxy, caller: Upstream, url: str) -> None:
    answer = await caller.send("GET", url, [("host", "localhost:9")], b"")
    assert await anext(answer.body) == b"a"
    await close_answer(answer)
    await until(lambda: forward.open == 0, seconds=5)


async def test_a_call_that_is_cancelled_ends_at_the_upstream(forward: ForwardProxy, caller: Upstream, url: str) -> None:
    task = asyncio.ensure_future(call(caller, f"{url}endless"))
    await until(lambda: forward.open == 1, seconds=5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: forward.open == 0, seconds=5)


async def test_more_calls_than_connections_wait_and_then_are_refused(
    forward: ForwardProxy, caller: Upstream, url: str
) -> None:
    busy = [asyncio.ensure_future(call(caller, f"{url}endless")) for _ in range(4)]
    await until(lambda: forward.open == 4, seconds=5)
    with pytest.raises(UpstreamUnreachable, match="No free connection"):
        await call(caller, url)
    busy[0].cancel()
    assert await call(caller, url) == b"ab"
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone


@pytest.mark.parametrize("proxy", ["ftp://user:secret-of-the-user@h", "socks5://h:1", "http://h:port"])
async def test_a_forward_proxy_that_can_not_be_used_costs_one_line_a_provider(
    start_proxy: StartProxy, caplog: pytest.LogCaptureFixture, proxy: str
) -> None:
    await start_proxy(HTTP__PROXY=proxy)
    lines = [record for record in caplog.records if "claude_api could not be loaded" in record.getMessage()]
    assert len(lines) == 1
    assert "The forward proxy" in lines[0].getMessage()
    assert "secret-of-the-user" not in caplog.text
    assert "Traceback" not in caplog.text
