"""Responses over WebSocket, as today's Codex opens it: each `response.create` on the socket is an exchange of its own.

Frames are JSON texts. The client sends `{"type": "response.create", ...the fields of a request}`, one after the other;
`"generate": false` only announces what is to come. The server sends the events of the stream, one a frame; what would
be an HTTP error is `{"type": "error", "status": 429, "error": {...}, "headers": {...}}`. Observed, October 2026.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from ccproxy_tui.core.exchange.history import ANNOUNCED, input_items
from ccproxy_tui.core.formats.body import decode, read_object
from ccproxy_tui.core.formats.errors import error_object
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.limits import MB
from ccproxy_tui.core.routing import Target
from ccproxy_tui.core.server.exchange import Exchange
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.shares import CLAIM
from ccproxy_tui.core.system.ids import new_id
from ccproxy_tui.core.text import sse

_HANDSHAKE = (b"sec-websocket-", b"upgrade", b"connection", b"content-length", b"content-type")
_WAITING = 16  # requests that may wait for their turn
_LONGEST_KIND = 200  # bytes
_TOLD = ("retry-after", "x-request-id", "x-codex-", "x-ratelimit-")
SOCKET = b"x-ccproxy-socket"  # says to the provider that the client came by a socket

_BROKEN = 1011


async def refuse_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer after which clients go on over HTTP."""
    await receive()  # websocket.connect
    body = b'{"error":{"message":"Use HTTP here.","type":"invalid_request_error","param":null,"code":null}}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": 426, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


class ResponsesSocket:
    """One client's socket, until either side leaves."""

    def __init__(self, hub: Hub, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        self._hub = hub
        self._target = target
        self._scope = scope
        self._receive = receive
        self._send = send
        self._gone = asyncio.Event()
        self._requests: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)
        self._waiting = 0  # bytes in there
        self._serving = 0  # bytes of the request that is served

    async def run(self) -> None:
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept", "headers": []})
        listening = self._hub.tasks.start(self._listen(), name="socket")
        try:
            while (request := await self._next()) is not None:
                is_well = await self._serve(request)
                del request
                self._serving = 0
                self._settle()
                if not is_well:
                    break
        finally:
            listening.cancel()
        if not self._gone.is_set():
            await self._send({"type": "websocket.close", "code": _BROKEN, "reason": "the answer broke off"})

    async def _next(self) -> bytes | None:
        """The next request, or None when the client is gone."""
        waiting = asyncio.ensure_future(self._requests.get())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return None
            self._serving = len(waiting.result())
            self._waiting -= self._serving
            self._settle()
            return waiting.result()
        finally:
            waiting.cancel()
            gone.cancel()

    async def _listen(self) -> None:
        """Frames of the client, also while an answer is on its way: it may leave at any time."""
        limit = self._hub.settings.server.max_body_mb * MB
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            data = text.encode("utf-8", "surrogatepass") if text is not None else message.get("bytes") or b""
            kind = _kind_of(data)
            if kind != "response.create":
                await self._say_error(400, f"{kind[:60]!r} is no event that is taken here.")
            elif self._requests.full() or (self._waiting and self._waiting + len(data) > limit):
                await self._say_error(429, "Too many requests wait on this socket.")
            else:
                self._waiting += len(data)
                self._requests.put_nowait(data)
            self._settle()
        self._gone.set()

    def _settle(self) -> None:
        """Hold what is here: the protocol held as much for a message that came as it might have taken."""
        self._scope[CLAIM].settle(self._waiting + self._serving)

    async def _serve(self, request: bytes) -> bool:
        """Whether the socket can go on after it."""
        fields = msgspec.json.decode(request, type=dict[str, msgspec.Raw])  # their values stay as they came
        generate = bytes(fields.pop("generate", b""))
        del fields["type"]
        if generate == b"false":
            await self._announce(msgspec.json.encode(fields))
            return True
        leg = _Leg(self, msgspec.json.encode({**fields, "stream": True}))
        del request, fields
        scope = {**self._scope, "type": "http", "method": "POST", "headers": self._headers(), CLAIM: None}
        await Exchange(self._hub, self._target, scope, leg.receive, leg.send).run()
        return leg.whole and not self._gone.is_set()

    def _headers(self) -> list[tuple[bytes, bytes]]:
        kept = [(name, value) for name, value in self._scope["headers"] if not name.startswith(_HANDSHAKE)]
        return [*kept, (b"content-type", b"application/json"), (SOCKET, b"1")]

    async def _announce(self, request: bytes) -> None:
        """Nothing is generated: what came is kept, for the request that will name it."""
        name = f"{ANNOUNCED}{new_id(self._hub.clock)}"
        response: Object = {"id": name, "object": "response", "status": "in_progress", "output": []}
        try:
            fields = decode(request)
            response["model"] = fields.get("model")
            input_items(fields)
            self._hub.history.remember(request, response)
        except Misfit as misfit:
            await self._say_error(400, misfit.message)
            return
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        await self.say({"type": "response.created", "sequence_number": 0, "response": response})
        done = {**response, "status": "completed", "usage": usage}
        await self.say({"type": "response.completed", "sequence_number": 1, "response": done})

    async def _say_error(self, status: int, message: str) -> None:
        kind = "invalid_request" if status == 400 else "rate_limit"
        await self.say({"type": "error", "status": status, **error_object("openai_responses", kind, message)})  # type: ignore[arg-type]

    async def say(self, event: Object) -> None:
        await self.send_text(msgspec.json.encode(event).decode())

    async def send_text(self, text: str) -> None:
        if not self._gone.is_set():
            await self._send({"type": "websocket.send", "text": text})

    @property
    def gone(self) -> asyncio.Event:
        return self._gone


class _Kind(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b"null")


def _kind_of(frame: bytes) -> str:
    """The type that a client's event names, if it does."""
    try:
        return str(msgspec.json.decode(bytes(msgspec.json.decode(frame, type=_Kind).type)[:_LONGEST_KIND]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "None"


class _Leg:
    """The client's end of one exchange: an HTTP request of one piece in, events out."""

    def __init__(self, socket: ResponsesSocket, body: bytes) -> None:
        self._socket = socket
        self._body: bytes | None = body
        self._decoder = sse.Decoder()
        self._refusal = b""
        self._status = 0
        self._headers: dict[str, str] = {}
        self.whole = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._socket.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            return
        self.whole = not message.get("more_body", False)
        data = message.get("body", b"")
        if self._status >= 400:
            self._refusal += data
            if self.whole:
                await self._refuse()
            return
        events = self._decoder.feed(data)
        if self.whole:
            events += self._decoder.flush()
        for event in events:
            await self._socket.send_text(event.data.decode("utf-8", "replace"))

    async def _refuse(self) -> None:
        error = read_object(self._refusal).get("error")
        told = {name: value for name, value in self._headers.items() if name.startswith(_TOLD)}
        await self._socket.say({"type": "error", "status": self._status, "error": error, "headers": told})
