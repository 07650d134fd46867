"""What clients and upstreams do wrong costs one clear line with the exchange's id, or none; never one at ERROR."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct

import httpx
import pytest

from tests.conftest import Proxy, until
from tests.fakes.upstream import Cut, ScriptedUpstream, Wait, anthropic_stream, sse_reply

BODY = {"model": "m", "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
EVENTS = anthropic_stream("one two three")


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.levelno >= logging.INFO and one.name != "httpx"]


@pytest.mark.parametrize("last", [EVENTS[4], EVENTS[4][:20]], ids=["between events", "inside an event"])
@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/v1/chat/completions"])
async def test_a_cut_stream_is_one_line_with_its_id(
    proxy: Proxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture, path: str, last: bytes
) -> None:
    caplog.set_level(logging.INFO)
    upstream.default = lambda _: sse_reply(*EVENTS[:4], last, Cut)
    with contextlib.suppress(httpx.RemoteProtocolError):
        async with proxy.client.stream("POST", path, json=BODY) as response:
            async for _ in response.aiter_raw():
                pass
    record = await proxy.ended()
    about = [one for one in lines(caplog) if getattr(one, "exchange", "") == record.id]
    assert [(one.levelno, one.name) for one in about] == [(logging.WARNING, "ccproxy_tui.core.server.exchange")]
    assert "the answer ended early (cut) after " in about[0].getMessage()
    assert [one for one in lines(caplog) if one.name.startswith(("uvicorn", "asyncio"))] == []
    assert [one for one in lines(caplog) if one.levelno >= logging.ERROR] == []


async def raw(proxy: Proxy, data: bytes, *, reset: bool) -> None:
    """A client that sends `data`, and leaves at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.hub.port)
    writer.write(data)
    await writer.drain()
    if reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    writer.write_eof()
    await asyncio.wait_for(reader.read(), 5)
    writer.close()


HEAD = b"POST /api/v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CLIENTS = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "half a head": HEAD[:40],
    "half a body": HEAD + b"content-length: 999\r\n\r\n{",
    "an upgrade to something": b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "no chunk size": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "two requests at once": b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2,
}


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
async def test_no_client_costs_more_than_a_line(proxy: Proxy, caplog: pytest.LogCaptureFixture, reset: bool) -> None:
    caplog.set_level(logging.INFO)
    for data in CLIENTS.values():
        await raw(proxy, data, reset=reset)
    assert (await proxy.client.get("/health/live")).status_code == 200
    await until(lambda: not proxy.hub.running)
    others = ("ccproxy_tui.core.server.serve", "ccproxy_tui.core.server.refusals")  # a client that is gone has no user
    found = [one for one in lines(caplog) if not one.name.startswith(others)]
    assert len(found) <= len(CLIENTS)
    assert all(one.levelno < logging.WARNING and not one.exc_info for one in found), [one.getMessage() for one in found]


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
async def test_a_client_that_leaves_a_stream_costs_no_line(
    proxy: Proxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture, reset: bool
) -> None:
    caplog.set_level(logging.INFO)
    upstream.default = lambda _: sse_reply(*EVENTS[:4], *(step for _ in range(50) for step in (Wait(0.01), EVENTS[3])))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.hub.port)
    body = httpx.Request("POST", "http://x", json=BODY).content
    writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"message_start")
    if reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    assert (await proxy.ended()).ended == "client_gone"
    assert [one.getMessage() for one in lines(caplog) if one.levelno >= logging.WARNING] == []
