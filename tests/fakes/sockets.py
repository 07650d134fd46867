"""A scripted backend that speaks Responses over WebSocket, on a real socket."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from ccproxy_tui.core.text import sse
from tests.fakes.streams import response_events, said


def frames(events: list[bytes]) -> list[dict[str, Any]]:
    decoder = sse.Decoder()
    return [json.loads(event.data) for event in decoder.feed(b"".join(events))]


class SocketBackend:
    """`script` answers each request on each connection; `refuse` is the status of a refused upgrade."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, dict[str, Any]]] = []
        self.handshakes: list[Request] = []
        self.refuse: int = 0
        self.script: Callable[[ServerConnection, dict[str, Any]], Awaitable[None]] = self.answer
        self._server: Server | None = None

    async def start(self) -> str:
        self._server = await serve(self._serve, "127.0.0.1", 0, process_request=self._handshake, compression=None)
        return f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        return connection.respond(self.refuse, "no\n") if self.refuse else None

    async def _serve(self, connection: ServerConnection) -> None:
        number = len(self.handshakes)
        async for message in connection:
            request = json.loads(message)
            self.requests.append((number, request))
            await self.script(connection, request)

    async def answer(self, connection: ServerConnection, request: dict[str, Any]) -> None:
        for frame in frames(response_events(said("over the socket"), id=f"resp_{len(self.requests)}")):
            await connection.send(json.dumps(frame))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
