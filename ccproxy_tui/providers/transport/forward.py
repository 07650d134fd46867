"""The httpx transport for calls through a forward proxy: one of httpx's own for each connection."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable

import httpx


class ForwardTransport(httpx.AsyncBaseTransport):
    """Keeps what `make` returns, each with a single connection, and closes a whole one when its answer is left early.

    A pool of httpcore loses a connection with a request that is cancelled while it waits for one, while TLS begins, or
    while its answer ends; once all are lost, nothing can be called until the process ends.
    """

    def __init__(
        self, make: Callable[[], httpx.AsyncBaseTransport], *, max_connections: int, keepalive_expiry: float
    ) -> None:
        """Make the first one. Raises what `make` does, of a forward proxy that can't be used."""
        self._make = make
        self._max = max_connections
        self._expiry = keepalive_expiry
        self._room = asyncio.Semaphore(max_connections)
        first = make()
        self._open = {first}
        self._idle = deque([(math.inf, first)])  # since when, by the loop's clock
        self._closing: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._room.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"all {self._max} connections are busy") from None
        self._drop_expired()
        single = self._idle.pop()[1] if self._idle else self._make()
        self._open.add(single)
        try:
            response = await single.handle_async_request(request)
        except BaseException:  # cancelled, too: what is half open or half sent is of no use
            self._drop(single)
            self._room.release()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Body(self, single, response.stream)
        return response

    def release(self, single: httpx.AsyncBaseTransport, *, whole: bool) -> None:
        """Take back the transport of an answer; it is used again when that came `whole`."""
        if whole and single in self._open:
            self._idle.append((asyncio.get_running_loop().time(), single))
        else:
            self._drop(single)
        self._room.release()

    def _drop_expired(self) -> None:
        limit = asyncio.get_running_loop().time() - self._expiry
        while self._idle and self._idle[0][0] <= limit:
            self._drop(self._idle.popleft()[1])

    def _drop(self, single: httpx.AsyncBaseTransport) -> None:
        """Close it in a task that nothing cancels."""
        self._open.discard(single)
        task = asyncio.get_running_loop().create_task(single.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        self._idle.clear()
        for single in list(self._open):
            self._drop(single)
        await asyncio.gather(*self._closing, return_exceptions=True)


class _Body(httpx.AsyncByteStream):
    """The body of one answer; closing it gives its transport back."""

    def __init__(
        self, owner: ForwardTransport, single: httpx.AsyncBaseTransport, stream: httpx.AsyncByteStream
    ) -> None:
        self._owner = owner
        self._single: httpx.AsyncBaseTransport | None = single
        self._stream = stream
        self._is_read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk
        self._is_read = True

    async def aclose(self) -> None:
        single, self._single = self._single, None
        if single is None:
            return
        whole = False
        try:
            if self._is_read:
                await self._stream.aclose()
                whole = True
        finally:
            self._owner.release(single, whole=whole)
