"""uvicorn's WebSocket protocol with limits on what a client may send. The size of a message is uvicorn's setting."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from ccproxy_tui.core.errors import TooMuchMemory
from ccproxy_tui.core.limits import FRAGMENTS, KB, SHARED_FROM
from ccproxy_tui.core.server.shares import CLAIM, Claim
from ccproxy_tui.core.system.patience import SECOND_LOOK

_UNREAD = 256 * KB  # pongs that a client does not read


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """Ends a connection whose messages come in too many pieces, or that pings without reading.

    The memory for a large message is claimed while it comes; nothing more is read until it is granted. The application
    settles the claim once it has the message.
    """

    _came = 0  # bytes of the message that is not whole yet
    _claiming: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        super().data_received(data)
        if self._came > SHARED_FROM and self._claiming is None and not self.read_paused and self._claim is not None:
            self.transport.pause_reading()
            self._claiming = self.loop.create_task(self._make_room(self._claim))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._claiming is not None:
            self._claiming.cancel()
        super().connection_lost(exc)

    def handle_text(self, event: Frame) -> None:
        super().handle_text(event)
        self._end_of(event)

    def handle_bytes(self, event: Frame) -> None:
        super().handle_bytes(event)
        self._end_of(event)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= FRAGMENTS:
            self.frames = []
            self.transport.abort()
            return
        super().handle_cont(event)
        self._end_of(event)

    def keepalive_timeout(self) -> None:
        """Look once more for the pong of a client: this process may have been stopped when it came."""
        self.pong_timer = self.loop.call_later(SECOND_LOOK, super().keepalive_timeout)

    def handle_ping(self) -> None:
        super().handle_ping()
        self._end_of_control()
        if self.transport.get_write_buffer_size() > _UNREAD:
            self.transport.abort()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._end_of_control()

    @property
    def _claim(self) -> Claim | None:
        scope = getattr(self, "scope", None)
        return scope.get(CLAIM) if scope is not None else None

    def _end_of(self, event: Frame) -> None:
        if event.fin:
            self._came = 0
            self._claiming = None
            if self._claim is not None:
                self._claim.coming = 0

    def _end_of_control(self) -> None:
        if not self.frames:
            self._came = 0

    async def _make_room(self, claim: Claim) -> None:
        """Claim the most that the message may take, beside those that wait. It can come whole only after this."""
        try:
            await claim.reach(claim.size + self.config.ws_max_size)
        except TooMuchMemory as error:
            self.conn.send_close(CloseCode.TRY_AGAIN_LATER, error.message[:120])
            self.handle_parser_exception()
            return
        claim.coming = self.config.ws_max_size
        if not self.transport.is_closing():
            self.transport.resume_reading()
