"""The client's end of an exchange: a response that is started once, written in order, and kept alive by pings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from ccproxy_tui.core.text import sse

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
RawHeaders = list[tuple[bytes, bytes]]

EVENT_STREAM: RawHeaders = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
_TAIL = 4


class Listener(Protocol):
    def feed(self, data: bytes) -> None: ...


class Sink:
    """Writes to the client. A ping never lands inside an event, and never between the pieces of one write.

    A `listener` gets the answer's bytes, too.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._tail = b""
        self._pinging: asyncio.Event | None = None
        self.listener: Listener | None = None
        self.started = False
        self.finished = False
        self.status = 0
        self.written = 0

    async def settle(self) -> None:
        """Wait until a ping that is being sent is out. Afterwards `started` is the truth."""
        while self._pinging is not None:
            await self._pinging.wait()

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.started = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        if self._pinging is not None:
            await self.settle()
        self.written += len(data)
        if self.listener is not None:
            self.listener.feed(data)
        self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    @property
    def at_boundary(self) -> bool:
        """Whether what was written so far ends with a whole event."""
        return sse.at_boundary(self._tail)

    async def ping(self, data: bytes) -> bool:
        """Put `data` between two events, after starting an event stream if nothing was started yet.

        False when the stream stands inside an event, or is over.
        """
        if self.finished or self._pinging is not None or not self.at_boundary:
            return False
        done = self._pinging = asyncio.Event()
        try:
            if not self.started:
                await self.start(200, EVENT_STREAM)
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._pinging = None
            done.set()
        return True

    async def finish(self, data: bytes = b"") -> None:
        await self.settle()
        self.finished = True
        self.written += len(data)
        if self.listener is not None:
            self.listener.feed(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, body: bytes, headers: RawHeaders) -> None:
        """A whole response at once."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.finish(body)
