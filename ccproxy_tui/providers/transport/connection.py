"""One connection to an upstream: an asyncio protocol that sends a request and hands out its response."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable

import httpx

from ccproxy_tui.core.system.patience import Timer
from ccproxy_tui.providers.transport.parser import Head, ProtocolError, ResponseParser

HIGH_WATER = 512 * 1024
LOW_WATER = 128 * 1024


class Connection(asyncio.Protocol):
    """Reading is pushed by the socket and pulled by one reader; a slow reader pauses the socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._reading_paused = False
        self._writing_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._timer: Timer | None = None
        self._last_data = 0.0
        self._read_timeout: float | None = None
        self._busy = False
        self._sent_all = False
        self.idle_since = 0.0
        self.served = 0

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by construction

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.close()  # bytes while no request is open: the peer is confused, never reuse
            return
        try:
            body = self._parser.feed(data)
        except ProtocolError as error:
            self._fail(httpx.RemoteProtocolError(str(error)))
            self.close()
            return
        if self._parser.head is not None:  # the head has its time in all, however slowly it comes
            self._last_data = self._loop.time()
        if body:
            self._chunks.append(body)
            self._buffered += len(body)
            if self._buffered > HIGH_WATER:
                self._pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self._stop_timer()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    def _ended(self, exc: Exception | None) -> None:
        if self._busy and self._error is None and not self._parser.complete and not self._parser.eof():
            text = str(exc) if exc else "the server closed the connection before its answer was complete"
            self._fail(httpx.ReadError(text) if exc else httpx.RemoteProtocolError(text))
        self._wake()

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        """Until something happened. The read time-out runs only while somebody waits here."""
        self._waiter = self._loop.create_future()
        self._arm_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- time-outs: one lazy timer per connection, re-armed when it fires early ---

    def _arm_timer(self) -> None:
        if self._timer is None and self._read_timeout is not None:
            self._timer = Timer(self._read_timeout, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._read_timeout is None or self._waiter is None:
            return
        silent = self._loop.time() - self._last_data
        if silent >= self._read_timeout:
            self._fail(httpx.ReadTimeout(f"no byte from the server for {silent:.0f} s"))
            return
        self._timer = Timer(self._read_timeout - silent, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- flow control ---

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._reading_paused = False
            self._last_data = self._loop.time()
            self._transport.resume_reading()

    # --- what the pool calls ---

    async def request(
        self, method: bytes, head: bytes, body: bytes | AsyncIterable[bytes], read_timeout: float | None
    ) -> Head:
        """Send a request and wait for the head of its response.

        Raises httpx.WriteError, ReadError, ReadTimeout or RemoteProtocolError.
        """
        self._busy = True
        self._read_timeout = read_timeout
        self._last_data = self._loop.time()
        self._parser.begin(method=method)
        self.served += 1
        self._sent_all = await self._send(head, body)
        self._last_data = self._loop.time()
        while self._parser.head is None:
            self._check()
            await self._wait()
        return self._parser.head

    async def _send(self, head: bytes, body: bytes | AsyncIterable[bytes]) -> bool:
        """Send head and body, at the pace the server takes them. False when it answered before it had all of it."""
        if isinstance(body, bytes):
            if len(body) < HIGH_WATER:
                return await self._write(head + body)
            return await self._write(head) and await self._write(body)
        if not await self._write(head):
            return False
        async for part in body:
            if not await self._write(part):
                return False
        return True

    async def _write(self, data: bytes) -> bool:
        if self._transport is None or self._transport.is_closing():
            self._check()
            raise httpx.WriteError("the connection is closed")
        self._transport.write(data)
        while self._writing_paused and self._error is None and self._parser.head is None:
            await self._wait()
        self._check()
        return self._parser.head is None

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._transport is None or (self._transport.is_closing() and not self._parser.started):
            raise httpx.RemoteProtocolError("the server closed the connection without an answer")

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end. Raises as `request` does."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._parser.complete:
                return b""
            await self._wait()
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        self._resume_reading()
        return data

    def finish(self) -> bool:
        """The caller is done with the response. Whether the connection may be used again; closes it if not."""
        self._busy = False
        self._stop_timer()
        if self._error is None and self._sent_all and not self._chunks and self._parser.reusable and not self.is_closed:
            self._resume_reading()
            return True
        self.close()
        return False

    @property
    def is_closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def unanswered(self) -> bool:
        """Whether not one byte of the current response has come."""
        return not self._parser.started

    def close(self) -> None:
        """At once, without waiting for the peer or for a TLS goodbye."""
        if self._transport is not None:
            self._transport.abort()
