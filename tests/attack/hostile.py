"""Hostile ends of the proxy: upstreams that send what a script says, clients that send raw bytes, and what it costs."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MB = 1024 * 1024
Script = Callable[[socket.socket], None]


@dataclass
class Upstream:
    """Takes each request whole, then runs the script on its connection, which is closed afterwards."""

    script: Script
    heads: list[bytes] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(64 * 1024)
            head, _, rest = data.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            left = length - len(rest)
            while left > 0:
                left -= len(connection.recv(min(left, MB)))
            self.heads.append(head)
            self.script(connection)
        self.closed.set()

    def stop(self) -> None:
        self._listener.close()


def whole(body: bytes, *headers: str, content_type: str = "application/json") -> Script:
    """A response with its length."""
    lines = ["HTTP/1.1 200 OK", f"content-type: {content_type}", f"content-length: {len(body)}", *headers, "", ""]

    def send(connection: socket.socket) -> None:
        connection.sendall("\r\n".join(lines).encode())
        connection.sendall(body)

    return send


def stream(*pieces: bytes | Iterable[bytes]) -> Script:
    """An event stream that ends with its connection."""

    def send(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for piece in pieces:
            for data in (piece,) if isinstance(piece, bytes) else piece:
                connection.sendall(data)

    return send


def send_bytes(pieces: Iterable[bytes]) -> Script:
    """Bytes as they are, head included."""

    def send(connection: socket.socket) -> None:
        for data in pieces:
            connection.sendall(data)

    return send


@dataclass
class endless:
    """`first`, then `piece` again and again, up to `most` bytes each time it is iterated; `sent` tells how many."""

    first: bytes
    piece: bytes
    most: int
    sent: list[int]

    def __iter__(self) -> Iterator[bytes]:
        self.sent[0] = 0
        yield self.first
        while self.sent[0] < self.most:
            yield self.piece
            self.sent[0] += len(self.piece)


class Cost:
    """How much memory a process took at most since this was made, beyond what it had then, in bytes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now
        self._before = self._read("VmRSS")

    def peak(self) -> int:
        return self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@dataclass
class Answer:
    """What came back over a raw connection."""

    status: int
    body: bytes
    sent: int  # bytes of the body that the proxy took


def post_endlessly(address: tuple[str, int] | str, path: str, most: int, *headers: str) -> Answer:
    """Post a chunked JSON body of up to `most` bytes, for as long as the proxy takes it."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    piece = b"%x\r\n" % (64 * 1024) + b" " * (64 * 1024) + b"\r\n"
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "transfer-encoding: chunked"]
    with socket.socket(family) as connection:
        connection.settimeout(20)
        connection.connect(address)
        connection.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < most:
                connection.sendall(piece)
                sent += 64 * 1024
        return Answer(*_read_answer(connection), sent)


def exchange(address: tuple[str, int], data: bytes) -> tuple[int, bytes]:
    """Status and everything that came for raw bytes."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(data)
        return _read_answer(connection)


def _read_answer(connection: socket.socket) -> tuple[int, bytes]:
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(64 * 1024):
            data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), None
            )
            if length is not None and len(body) >= length:
                break
    return (int(data.split()[1]), data.partition(b"\r\n\r\n")[2]) if data else (0, b"")
