"""A scripted upstream on a real socket: it sends exactly the bytes a test asks for, when it asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ccproxy_tui.core.text import sse


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Wait:
    """A pause in a script, in seconds; or until an event is set."""

    seconds: float = 0.0
    event: asyncio.Event | None = None


class Cut:
    """The connection ends here, in the middle of things."""


Step = bytes | Wait | type[Cut]


@dataclass
class Reply:
    """What to answer. `raw` replaces everything else: those bytes go out and the connection closes."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: Sequence[Step] = ()
    chunked: bool = False
    raw: bytes | None = None
    before_head: Sequence[Step] = ()
    close: bool = False


def sse_reply(*steps: Step, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    return Reply(headers=[("content-type", "text/event-stream; charset=utf-8"), *headers], body=steps, chunked=True)


def json_reply(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    return Reply(status, [("content-type", "application/json"), *headers], [msgspec.json.encode(value)])


def anthropic_stream(text: str = "Hello", *, model: str = "claude-sonnet-4-5-20250929") -> list[bytes]:
    """A small, whole Messages stream, one element an event."""
    usage = {"input_tokens": 12, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 1}
    message = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in text.split(" ")
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 42},
        },
        {"type": "message_stop"},
    ]
    return [sse.encode(msgspec.json.encode(event), event["type"]) for event in events]


@dataclass
class ScriptedUpstream:
    """Replies are taken from `replies` in order; `default` answers when they are used up."""

    replies: list[Reply] = field(default_factory=list)
    default: Callable[[Seen], Reply] | None = None
    seen: list[Seen] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, limit=1 << 26)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (seen := await self._read(reader, number)) is not None:
                self.seen.append(seen)
                reply = self.replies.pop(0) if self.replies else (self.default or _nothing)(seen)
                if not await self._answer(reader, writer, reply, seen):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.closed.append(number)
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Seen | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:] if line)]
        named = dict(headers)
        body = await reader.readexactly(int(named.get("content-length", 0)))
        return Seen(method, target, headers, body, connection)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply, seen: Seen
    ) -> bool:
        """Send the reply. Whether the connection stays open."""
        gone = asyncio.ensure_future(reader.read(1))
        try:
            if not await self._steps(writer, reply.before_head, gone, chunked=False):
                return False
            if reply.raw is not None:
                writer.write(reply.raw)
                await writer.drain()
                return False
            writer.write(self._head(reply, seen))
            if seen.method == "HEAD":
                return True
            if not await self._steps(writer, reply.body, gone, chunked=reply.chunked):
                return False
            if reply.chunked:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
        finally:
            if not gone.done():
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
        return not reply.close

    def _head(self, reply: Reply, seen: Seen) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} Status"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if reply.chunked:
            lines.append("transfer-encoding: chunked")
        elif reply.status not in (204, 304):
            lines.append(f"content-length: {sum(len(step) for step in reply.body if isinstance(step, bytes))}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def _steps(
        self, writer: asyncio.StreamWriter, steps: Sequence[Step], gone: asyncio.Future[bytes], *, chunked: bool
    ) -> bool:
        for step in steps:
            if isinstance(step, Wait):
                if not await _pause(step, gone):
                    return False
            elif step is Cut:
                writer.transport.abort()
                return False
            else:
                assert isinstance(step, bytes)
                writer.write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
                await writer.drain()
        return True


async def _pause(wait: Wait, gone: asyncio.Future[bytes]) -> bool:
    """Wait; False when the other side left meanwhile."""
    until = asyncio.ensure_future(wait.event.wait() if wait.event else asyncio.sleep(wait.seconds))
    done, _ = await asyncio.wait({until, gone}, return_when=asyncio.FIRST_COMPLETED)
    if gone in done and not gone.result():
        until.cancel()
        return False
    await until
    return True


def _nothing(seen: Seen) -> Reply:
    return json_reply({"error": "the test has no reply for this"}, 500)
