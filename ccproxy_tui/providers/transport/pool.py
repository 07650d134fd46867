"""The httpx transport: a pool of kept-alive connections per origin."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping

import httpx

from ccproxy_tui.core.system.patience import patience
from ccproxy_tui.providers.transport.connection import Connection
from ccproxy_tui.providers.transport.parser import Head, ProtocolError, request_head

Origin = tuple[bytes, str, int]
_NO_TIMEOUT = 24 * 3600.0


class Body(httpx.AsyncByteStream):
    """The body of one response; closing it gives the connection back or ends it."""

    def __init__(self, pool: LeanTransport, origin: Origin, connection: Connection) -> None:
        self._pool = pool
        self._origin = origin
        self._connection: Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None and (data := await self._connection.read()):
            yield data

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(self._origin, connection)


class LeanTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over TCP or TLS. Time-outs are those of the httpx request (connect, read, pool).

    A request that was written to a reused connection which then closed without one byte of an answer is sent once more
    on a fresh connection: the server had closed it while it was idle and never read the request.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 1000,
        keepalive_expiry: float = 60.0,
    ) -> None:
        self._tls = tls
        self._max = max_connections
        self._expiry = keepalive_expiry
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        scheme = url.raw_scheme
        origin = (scheme, url.host, url.port or (443 if scheme == b"https" else 80))
        head, body = await self.ask(
            request.method.encode("ascii"),
            origin,
            url.raw_path,
            request.headers.raw,
            await _body_of(request),
            request.extensions.get("timeout", {}),
        )
        return httpx.Response(head.status, headers=head.headers, stream=body, extensions={"http_version": b"HTTP/1.1"})

    async def ask(
        self,
        method: bytes,
        origin: Origin,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        timeouts: Mapping[str, float | None],
    ) -> tuple[Head, Body]:
        """The same without httpx's request and response objects, for the relay's hot path.

        `headers` must hold Host and, for a body of bytes, Content-Length. Raises httpx.TransportError.
        """
        try:
            head = request_head(method, target, headers)
        except ProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        while True:
            connection = await self._acquire(origin, timeouts)
            reused = connection.served > 0
            try:
                response = await connection.request(method, head, body, timeouts.get("read"))
            except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
                retry = reused and connection.unanswered and isinstance(body, bytes)
                self._discard(connection)
                if not retry:
                    raise
            except BaseException:  # cancelled, too: a half-used connection must not stay counted as open
                self._discard(connection)
                raise
            else:
                return response, Body(self, origin, connection)

    async def _acquire(self, origin: Origin, timeouts: Mapping[str, float | None]) -> Connection:
        while True:
            if (connection := self._take_idle(origin)) is not None:
                return connection
            if len(self._open) < self._max or self._drop_oldest_idle():
                return await self._connect(origin, timeouts.get("connect"))
            await self._wait_for_room(timeouts.get("pool"))

    def _take_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.is_closed:
                return connection
            self._open.discard(connection)
        return None

    def _drop_oldest_idle(self) -> bool:
        oldest = min(
            ((idle[0].idle_since, origin) for origin, idle in self._idle.items() if idle),
            key=lambda item: item[0],
            default=None,
        )
        if oldest is None:
            return False
        self._discard(self._idle[oldest[1]].popleft())
        return True

    async def _wait_for_room(self, timeout: float | None) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        is_woken = False
        try:
            async with asyncio.timeout(timeout):
                await future
            is_woken = True
        except TimeoutError:
            raise httpx.PoolTimeout(f"all {self._max} connections are busy") from None
        finally:
            if future in self._waiting:
                self._waiting.remove(future)
            elif not is_woken:
                self._make_room()  # what was made for this one is the next one's

    async def _connect(self, origin: Origin, timeout: float | None) -> Connection:
        """A new connection. A host with several addresses gets its share of the time-out for each, in order."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (timeout or _NO_TIMEOUT)
        failure: httpx.TransportError = httpx.ConnectTimeout(f"no connection to {host}:{port} within {timeout} s")
        addresses = await _resolve(loop, host, port, deadline)
        for index, address in enumerate(addresses):
            share = (deadline - loop.time()) / (len(addresses) - index)
            connection = Connection(loop)
            self._open.add(connection)
            try:
                async with patience(share):
                    await self._open_socket(connection, scheme, host, address, port)
                return connection
            except TimeoutError:
                self._discard(connection)
            except (OSError, ssl.SSLError) as error:
                self._discard(connection)
                failure = httpx.ConnectError(_connect_reason(error, host, port))
            except BaseException:  # cancelled, too: nobody else would close it
                self._discard(connection)
                raise
        raise failure

    async def _open_socket(self, connection: Connection, scheme: bytes, host: str, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        if scheme == b"https":
            await loop.create_connection(lambda: connection, address, port, ssl=self._context(), server_hostname=host)
        else:
            await loop.create_connection(lambda: connection, address, port)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    def release(self, origin: Origin, connection: Connection) -> None:
        """Take back a connection whose response is done with."""
        if self._closed or not connection.finish():
            self._discard(connection)
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(origin, deque()).append(connection)
        self._make_room()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._expiry, self._close_expired)

    def _discard(self, connection: Connection) -> None:
        connection.close()
        self._open.discard(connection)
        self._make_room()

    def _make_room(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def _close_expired(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        limit = loop.time() - self._expiry
        for origin in list(self._idle):
            idle = self._idle[origin]
            while idle and (idle[0].idle_since <= limit or idle[0].is_closed):
                self._discard(idle.popleft())
            if not idle:
                del self._idle[origin]
        if self._idle:
            soonest = min(idle[0].idle_since for idle in self._idle.values())
            self._sweep = loop.call_later(max(soonest + self._expiry - loop.time(), 0.1), self._close_expired)

    async def aclose(self) -> None:
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            self._discard(connection)
        self._idle.clear()
        await asyncio.sleep(0)  # aborted sockets close on the loop's next turn


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int, deadline: float) -> list[str]:
    """The addresses of `host`, in the order to try. Raises httpx.ConnectError when it has none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    try:
        async with patience(deadline - loop.time()):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpx.ConnectTimeout(f"the name {host} was not resolved in time") from None
    except OSError as error:
        raise httpx.ConnectError(f"the name {host} can't be resolved: {error.strerror or error}") from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def _body_of(request: httpx.Request) -> bytes | AsyncIterator[bytes]:
    """The body as bytes when it is at hand; a stream of chunked parts when it is not."""
    try:
        return request.content
    except httpx.RequestNotRead:
        pass
    stream = request.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    if "content-length" in request.headers:
        return aiter(stream)
    return _chunked(stream)


async def _chunked(stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
    async for part in stream:
        if part:
            yield b"%x\r\n%b\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


def _connect_reason(error: OSError, host: str, port: int) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {host} is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {host}:{port} failed: {error.reason or error}"
    return os.strerror(error.errno).lower() if error.errno else str(error)
