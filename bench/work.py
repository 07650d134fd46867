"""The two ends of a measurement: a fake upstream and a load client, each in a process of its own, on bare asyncio."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

EVENT = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"%s"}}\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
JSON = b'{"type":"message","usage":{"input_tokens":1,"output_tokens":1},"stop_reason":"end_turn"}'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """Reads a request, and answers what its body asks for: `{"bench": {"events": n, "pace": seconds}}`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(next(line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        asked = json.loads(rest[:length]).get("bench", {})
        self.last = b"connection: close" in head.lower()
        if asked.get("events"):
            self.task = asyncio.ensure_future(self.stream(int(asked["events"]), float(asked.get("pace", 0))))
        else:
            size = int(asked.get("size", 0))
            body = JSON if not size else JSON[:-1] + b',"pad":"' + b"x" * size + b'"}'
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            self.end()

    async def stream(self, events: int, pace: float) -> None:
        self.transport.write(HEAD + chunk(START))
        if pace:
            for _ in range(events):
                await asyncio.sleep(pace)
                self.transport.write(chunk(EVENT % (b"%d" % time.monotonic_ns())))
        else:
            block = b"".join([chunk(EVENT % b"some words of text")] * 200)
            for _ in range(events // 200):
                await self.writable.wait()
                self.transport.write(block)
        self.transport.write(chunk(END) + b"0\r\n\r\n")
        self.end()

    def end(self) -> None:
        """Only a direct client asks for the connection to be closed."""
        if self.last:
            self.transport.close()


async def serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=2048)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


@dataclass
class Result:
    """What one client measured. Times in seconds."""

    first: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    events: int = 0
    whole: int = 0
    seconds: float = 0.0


async def request(url: str, body: bytes, result: Result, *, timed: bool) -> None:
    """One request on a connection of its own; every event's age when it arrives."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    begun = time.monotonic()
    writer.write(head.encode() + body)
    await reader.readuntil(b"\r\n\r\n")
    data = await reader.read(65536)
    result.first.append(time.monotonic() - begun)
    tail = b""
    while data:
        now = time.monotonic_ns()
        result.events += data.count(b"content_block_delta\n")
        if timed:
            for piece in data.split(b'"text":"')[1:]:
                stamp = piece.split(b'"', 1)[0]
                if stamp.isdigit():
                    result.late.append((now - int(stamp)) / 1e9)
        tail = (tail + data)[-100:]
        data = await reader.read(1 << 18)
    result.whole += b"message_stop" in tail or b"end_turn" in tail
    writer.close()


async def load(url: str, body: bytes, *, clients: int, times: int, timed: bool) -> Result:
    """`clients` at once, each `times` in a row."""
    result = Result()

    async def one() -> None:
        for _ in range(times):
            await request(url, body, result, timed=timed)

    begun = time.monotonic()
    await asyncio.gather(*(one() for _ in range(clients)))
    result.seconds = time.monotonic() - begun
    return result


def quantile(values: list[float], share: float) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=1000)[min(int(share * 1000), 998)]


def main() -> None:
    """`python -m bench.work upstream PORT` or `python -m bench.work load URL` with its options as JSON on stdin."""
    import uvloop

    if sys.argv[1] == "upstream":
        uvloop.run(serve_upstream(int(sys.argv[2])))
        return
    options = json.load(sys.stdin)
    body = json.dumps(options.pop("body")).encode()
    result: Result = uvloop.run(load(sys.argv[2], body, **options))
    sys.stdout.write(
        json.dumps(
            {
                "first50": quantile(result.first, 0.5),
                "first99": quantile(result.first, 0.99),
                "late50": quantile(result.late, 0.5),
                "late99": quantile(result.late, 0.99),
                "events": result.events,
                "whole": result.whole,
                "seconds": result.seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
