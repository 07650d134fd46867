"""uvicorn's WebSocket protocol with limits on what a client may send. The size of a message is uvicorn's setting."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from ccproxy_tui.core.limits import FRAGMENTS, KB

_UNREAD = 256 * KB  # pongs that a client does not read


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """Ends a connection whose messages come in too many pieces, or that pings without reading."""

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= FRAGMENTS:
            self.frames = []
            self.transport.abort()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _UNREAD:
            self.transport.abort()
