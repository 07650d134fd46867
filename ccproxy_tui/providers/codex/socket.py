"""The backend's own WebSocket, for clients that came by one. Each account and conversation has a connection of its own.

An answer looks like a stream of events over HTTP, so that nothing behind it knows the difference. Where no socket can
be opened, the caller asks over HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ccproxy_tui.core.errors import UpstreamCut, UpstreamGarbled, UpstreamStalled
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.limits import EVENT
from ccproxy_tui.core.provider import Answer, Headers
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.core.system.patience import patience
from ccproxy_tui.core.text import sse
from ccproxy_tui.providers.upstream import environment_proxy, tls_context

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

log = logging.getLogger(__name__)

BETA = "responses_websockets=2026-02-06"
_REST = 600.0  # seconds for which a backend that refused the upgrade is not asked for it
_KEPT = 32
_OF_THE_ACCOUNT = frozenset({401, 403, 429})  # over HTTP, the same is said better
_QUEUED = 4  # frames that are read ahead
_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})
_NOT_HERE = frozenset({"accept", "content-type", "content-length", "accept-encoding", "host", "openai-beta"})
_HANDSHAKE = ("sec-websocket-", "upgrade", "connection", "content-length")

Key = tuple[str, ...]  # what tells accounts and conversations apart


class Unavailable(Exception):
    """No socket can be had; HTTP can."""


class Sockets:
    def __init__(self, http: Callable[[], Http]) -> None:
        self._http = http
        self._idle: OrderedDict[Key, ClientConnection] = OrderedDict()
        self._refused_until = 0.0
        self._context: tuple[Http, ssl.SSLContext] | None = None

    async def ask(self, url: str, headers: Headers, body: bytes, key: Key) -> Answer:
        """One `response.create`. Raises Unavailable before anything was sent, a ProxyError after that."""
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])  # their values go on as they are
        fields.pop("stream", None)
        text = msgspec.json.encode({"type": "response.create", **fields})
        connection, first = await self._begin(url, headers, text, key)
        event = read_object(first)
        if event.get("type") == "error" and (status := _status(event)):
            await self.give_back(key, connection)
            return _refusal(status, event)
        told = connection.response.headers.raw_items() if connection.response is not None else ()
        given = [(name.lower(), value) for name, value in told if not name.lower().startswith(_HANDSHAKE)]
        given = [(name, value) for name, value in given if name != "content-type"]
        stream = _Stream(self, connection, key, first)
        return Answer(200, [("content-type", "text/event-stream"), *given], stream.events(), stream.close)

    async def _begin(self, url: str, headers: Headers, text: bytes, key: Key) -> tuple[ClientConnection, bytes]:
        """The connection, and the first frame of the answer. One that had been closed while it was idle is replaced."""
        idle = self._idle.pop(key, None)
        if idle is not None:
            with contextlib.suppress(UpstreamCut):
                return idle, await self._send(idle, text)
        fresh = await self._connect(url, headers)
        return fresh, await self._send(fresh, text)

    async def _send(self, connection: ClientConnection, text: bytes) -> bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            await connection.send(text, text=True)
            return await self.receive(connection)
        except ConnectionClosed as error:
            raise UpstreamCut(f"The Codex backend closed its socket: {error}.") from error
        except BaseException:  # cancelled, too: nobody else would close it
            await _drop(connection)
            raise

    async def _connect(self, url: str, headers: Headers) -> ClientConnection:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

        loop = asyncio.get_running_loop()
        http = self._http()
        if loop.time() < self._refused_until or http.proxy or environment_proxy(url):
            raise Unavailable("HTTP is used for now")
        named = {name: value for name, value in headers if name not in _NOT_HERE}
        given = dict(headers).get("openai-beta", "")
        beta = given if "responses_websockets" in given else ",".join(filter(None, (given, BETA)))

        class Connect(connect):
            def process_redirect(self, exc: Exception) -> Exception | str:
                """The login goes to the address of the settings, and nowhere else."""
                return exc

        try:
            return await Connect(
                f"ws{url.removeprefix('http')}",
                additional_headers={**named, "openai-beta": beta},
                user_agent_header=None,
                compression=None,
                proxy=None,
                ssl=await self._tls(http) if url.startswith("https:") else None,
                max_size=EVENT,
                max_queue=_QUEUED,
                ping_timeout=None,  # `receive` has a time-out of its own, which looks at the socket before it judges
                open_timeout=http.connect_timeout,
                process_exception=lambda error: error,
            )
        except (InvalidHandshake, InvalidURI, OSError, TimeoutError) as error:
            if not isinstance(error, InvalidStatus) or error.response.status_code not in _OF_THE_ACCOUNT:
                self._refused_until = loop.time() + _REST
            log.info("no socket to the Codex backend (%s): HTTP is used", error)
            raise Unavailable(str(error)) from error

    async def _tls(self, http: Http) -> ssl.SSLContext:
        """Made once for the same settings, in a thread: reading the system's certificates takes its time."""
        if self._context is None or self._context[0] != http:
            self._context = http, await asyncio.to_thread(tls_context, http)
        return self._context[1]

    async def receive(self, connection: ClientConnection) -> bytes:
        """The next frame. Raises UpstreamCut, UpstreamStalled, UpstreamGarbled."""
        from websockets.exceptions import ConnectionClosed

        try:
            async with patience(self._http().read_timeout):
                return await connection.recv(decode=False)
        except ConnectionClosed as error:
            raise UpstreamCut(f"The Codex backend closed its socket in the middle of its answer: {error}.") from error
        except TimeoutError:
            raise UpstreamStalled("The Codex backend stopped sending on its socket.") from None

    async def give_back(self, key: Key, connection: ClientConnection) -> None:
        before = self._idle.pop(key, None)
        self._idle[key] = connection
        if before is not None:
            await _drop(before)
        if len(self._idle) > _KEPT:
            _, oldest = self._idle.popitem(last=False)
            await _drop(oldest)

    async def close(self) -> None:
        while self._idle:
            _, connection = self._idle.popitem()
            await _drop(connection)


class _Stream:
    """The frames of one answer as events of a stream."""

    def __init__(self, sockets: Sockets, connection: ClientConnection, key: Key, first: bytes) -> None:
        self._sockets = sockets
        self._connection: ClientConnection | None = connection
        self._key = key
        self._first = first

    async def events(self) -> AsyncIterator[bytes]:
        frame = self._first
        while self._connection is not None:
            kind = _kind(frame)
            yield sse.encode(frame, kind)
            if kind in _ENDS:
                connection, self._connection = self._connection, None
                await self._sockets.give_back(self._key, connection)
                return
            frame = await self._sockets.receive(self._connection)

    async def close(self) -> None:
        """Before its end: the connection is of no more use, and its end stops the answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _drop(connection)


class _Kind(msgspec.Struct):
    type: str


def _kind(frame: bytes) -> str:
    try:
        kind = msgspec.json.decode(frame, type=_Kind).type
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamGarbled(f"The Codex backend sent a frame that is no event: {error}.") from error
    if not _is_plain(kind):
        raise UpstreamGarbled("The Codex backend sent an event with a type that is none.")
    return kind


def _is_plain(text: str) -> bool:
    """Whether it fits into one line of a head or of a stream."""
    return text.isascii() and text.isprintable()


def _status(event: dict[str, Any]) -> int:
    """The status that an error has over HTTP; 0 where it tells none."""
    status = event.get("status", event.get("status_code"))
    return status if type(status) is int and 400 <= status <= 599 else 0


def _refusal(status: int, event: dict[str, Any]) -> Answer:
    """An error in place of an answer, as HTTP would have it."""
    given = event.get("headers")
    told = given.items() if isinstance(given, dict) else ()
    headers = [(name.lower(), value) for name, value in told if isinstance(value, str) and _is_plain(name + value)]
    body = msgspec.json.encode({"error": event.get("error")})

    async def once() -> AsyncIterator[bytes]:
        yield body

    return Answer(status, [("content-type", "application/json"), *headers], once())


async def _drop(connection: ClientConnection) -> None:
    """At once: a closing handshake may take as long as the other side likes."""
    connection.transport.abort()
    await asyncio.sleep(0)
