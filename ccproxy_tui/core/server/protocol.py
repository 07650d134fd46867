"""uvicorn's HTTP protocol with limits on what a client may send, and for how long; the peer in the scope."""

from __future__ import annotations

from asyncio import Transport
from itertools import chain
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ccproxy_tui.core.errors import HeadersTooLarge, ProxyError, RequestTimeout
from ccproxy_tui.core.formats.errors import error_body
from ccproxy_tui.core.limits import KB, UNREAD_BYTES, UNREAD_SECONDS
from ccproxy_tui.core.routing import guess_dialect
from ccproxy_tui.core.server.body import ARRIVED
from ccproxy_tui.core.system.patience import SECOND_LOOK, Timer
from ccproxy_tui.core.system.peers import PEER, Connection


def protocol_with_limits(head_bytes: int, head_seconds: float, waiting_limit: int) -> type[LimitedProtocol]:
    """Return a protocol class for one server."""
    limits = {"head_bytes": head_bytes, "head_seconds": head_seconds, "waiting_limit": waiting_limit, "waiting": {}}
    return type("ProtocolWithLimits", (LimitedProtocol,), limits)


class PeerProtocol(HttpToolsProtocol):
    """Gives every request of a connection, and the WebSocket that it may become, the same `Connection` as PEER."""

    _connection: Connection

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._connection = Connection(transport)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PEER] = self._connection  # type: ignore[literal-required]

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def handle_websocket_upgrade(self) -> None:
        from ccproxy_tui.core.server.ws_protocol import LimitedWebSocket

        self.ws_protocol_class = LimitedWebSocket  # loaded for the first client that wants it
        super().handle_websocket_upgrade()
        scope = getattr(self.transport.get_protocol(), "scope", None)
        if scope is not None:  # the handshake was not refused; the application starts after this
            scope[PEER] = self._connection


class LimitedProtocol(PeerProtocol):
    """Refuses a request head that is too large (431) or too slow (408).

    Of the connections that wait for a request, or for the rest of its head, `waiting_limit` are kept: the one that
    waits longest makes room for a new one. What a client sends after its answer is read for a moment, then its
    connection ends.
    """

    head_bytes: ClassVar[int]
    head_seconds: ClassVar[float]
    waiting_limit: ClassVar[int]
    waiting: ClassVar[dict[LimitedProtocol, None]]  # the one that waits longest first

    _in_head = True
    _begun = False
    _unread = 0
    # Bytes since the last piece of a body, or the start of the head. The parser keeps an unfinished line in memory
    # without end, so what came is counted, not what it made of it.
    _framing = 0
    _timer: Timer | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.url, self.headers = b"", []  # blank lines may come without end, and are no beginning of a request
        self._wait()
        self._start_timer(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._framing += len(data)
        super().data_received(data)
        if self._framing > self.head_bytes and not self.transport.is_closing():
            self._refuse(_too_large(self.head_bytes))
        elif self._in_head and self._framing and self._timer is None:
            self._start_timer(self.head_seconds)

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = sum(map(len, chain.from_iterable(self.headers))) + 4 * len(self.headers) + len(self.url)
        if size > self.head_bytes:
            self._refuse(_too_large(self.head_bytes))
            return
        self._in_head, self._framing = False, 0
        self.waiting.pop(self, None)
        self._stop_timer()
        super().on_headers_complete()
        self.headers = self.headers[:]  # what comes after a body (a trailer) is not part of what is checked

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > UNREAD_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self._begun, self._framing, self._unread = True, False, 0, 0
        self._stop_timer()
        self.scope[ARRIVED] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            return
        if self._in_head:
            self._wait()
        else:
            self._start_timer(UNREAD_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has waited for long, after one more look at what it has sent."""
        self.timeout_keep_alive_task = self.loop.call_later(SECOND_LOOK, super().timeout_keep_alive_handler)

    @property
    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()
        super().handle_websocket_upgrade()

    def _wait(self) -> None:
        self.waiting.pop(self, None)
        self.waiting[self] = None
        if len(self.waiting) > self.waiting_limit:
            oldest = next(iter(self.waiting))
            del self.waiting[oldest]
            oldest.transport.close()

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = Timer(seconds, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._answering:
            self._start_timer(self.head_seconds)  # it sent on while its answer is under way: that goes first
        elif self._in_head and self._begun:
            self._refuse(RequestTimeout("The request head did not come in time."))
        else:
            self.transport.close()

    def _refuse(self, error: ProxyError) -> None:
        """Answer and close. An answer that is under way just ends: there is nothing else that it could say."""
        if not self._answering:
            path = self.url.decode("latin-1").split("?")[0]
            names = frozenset(name.decode("latin-1") for name, _ in self.headers)
            body = error_body(guess_dialect(path, names), error.kind, error.text)
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()


def _too_large(limit: int) -> HeadersTooLarge:
    return HeadersTooLarge(
        f"The request head is larger than {limit // KB} KB.", hint="Raise server.max_header_kb to allow it."
    )
