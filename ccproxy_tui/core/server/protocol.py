"""uvicorn's HTTP protocol with a limit on the request head, and the connection's peer in the scope."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ccproxy_tui.core.errors import HeadersTooLarge
from ccproxy_tui.core.formats.errors import error_body
from ccproxy_tui.core.peers import PEER, Connection
from ccproxy_tui.core.routing import guess_dialect


class PeerProtocol(HttpToolsProtocol):
    """Gives every request of a connection, and the WebSocket that it may become, the same `Connection` as PEER."""

    _connection: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        self._connection = Connection(transport)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PEER] = self._connection  # type: ignore[literal-required]

    def _should_upgrade_to_ws(self) -> bool:
        return True

    def handle_websocket_upgrade(self) -> None:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

        self.ws_protocol_class = WebSocketsSansIOProtocol  # loaded for the first client that wants it
        super().handle_websocket_upgrade()
        scope = getattr(self.transport.get_protocol(), "scope", None)
        if scope is not None:  # the handshake was not refused; the application starts after this
            scope[PEER] = self._connection


def protocol_with_limit(limit: int) -> type[HttpToolsProtocol]:
    """A protocol class that answers 431 to a request head of more than `limit` bytes."""

    class LimitedProtocol(PeerProtocol):
        _head_bytes = 0
        _in_head = True

        def data_received(self, data: bytes) -> None:
            # The parser keeps an unfinished line in memory without end: count what came, not what it made of it.
            if self._in_head:
                self._head_bytes += len(data)
            super().data_received(data)
            if self._in_head and self._head_bytes > limit and not self.transport.is_closing():
                self._refuse_head()

        def on_message_begin(self) -> None:
            self._in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            if sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url) > limit:
                self._refuse_head()
                return
            self._in_head, self._head_bytes = False, 0
            super().on_headers_complete()

        def _refuse_head(self) -> None:
            error = HeadersTooLarge(
                f"The request head is larger than {limit // 1024} KB.",
                hint="Raise server.max_header_kb to allow it.",
            )
            path = self.url.decode("latin-1").split("?")[0]
            names = frozenset(name.decode("latin-1") for name, _ in self.headers)
            body = error_body(guess_dialect(path, names), error.kind, error.text)
            self.transport.write(
                STATUS_LINE[431].rstrip(b"\r\n")
                + b"\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )
            self.transport.close()

    return LimitedProtocol
