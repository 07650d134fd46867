"""The session with a proxy of another version, one that sends nonsense, and one that stands still: over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import PROTOCOL, Frame, Row, Status
from ccproxy_tui.core.control.protocol import Control, ControlError
from ccproxy_tui.core.text import sse
from ccproxy_tui.screens.ui.session import Attached, Session, State

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
UP = Frame(reset=True, status=Status(protocol=PROTOCOL, port=8000, pid=7))
OLD = Frame(reset=True, status=Status(port=8000, pid=7))
NEW = Frame(reset=True, status=Status(protocol=PROTOCOL + 1, port=8000, pid=7))


class Proxy:
    """Answers every request with the bytes that are put in its queue."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.states: list[tuple[State, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        while piece := await self.pieces.get():
            writer.write(piece)
            await writer.drain()
        writer.close()

    def send(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            self.pieces.put_nowait(sse.encode(frame if isinstance(frame, bytes) else msgspec.json.encode(frame)))


def connect(socket: str) -> Control:
    return ControlClient(socket=socket)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Proxy, Session]]:
    proxy = Proxy()
    path = str(folder / "8000.sock")
    server = await asyncio.start_unix_server(proxy.serve, path)
    session = Session(
        Attached(path, connect), lambda changes: None, lambda state, problem: proxy.states.append((state, problem))
    )
    task = asyncio.ensure_future(session.run())
    try:
        yield proxy, session
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        proxy.pieces.put_nowait(b"")
        server.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.screens.ui.session.BACKOFF_FIRST", 0.01)
    monkeypatch.setattr("ccproxy_tui.screens.ui.session.SILENCE", 1)


@pytest.mark.parametrize(
    "data",
    [
        b'{"rows": 3}',
        b'{"rows": [{"id": 1}]}',
        b"[]",
        b"no json",
        b'{"texts": [{"id": "\xff"}]}',
        b"[" * 5000,
        b'{"status": {"port": "x"}}',
        b'{"asks": [{}], "status": {"port": 8000, "protocol": 1}}',
    ],
)
async def test_a_frame_of_another_shape_is_said_and_tried_again(tmp_path: Path, data: bytes) -> None:
    async with opened(tmp_path) as (proxy, session):
        proxy.send(data)
        await until(lambda: session.state == "lost")
        assert "start" in session.problem
        assert "screens" in session.problem
        assert "validation" not in session.problem.lower()
        assert not session.is_gone
        proxy.send(b"")
        proxy.pieces.put_nowait(b"")
        proxy.send(UP)
        await until(lambda: session.state == "up")


async def test_a_fault_of_ours_does_not_end_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as (proxy, session):

        def broken(frame: Frame) -> None:
            raise KeyError("x")

        monkeypatch.setattr(session.mirror, "apply", broken)
        proxy.send(UP)
        await until(lambda: session.state == "lost")
        assert "the log file" in session.problem
        monkeypatch.undo()
        proxy.pieces.put_nowait(b"")
        proxy.send(UP)
        await until(lambda: session.state == "up")


async def test_a_proxy_of_another_version_is_named_with_what_to_do(tmp_path: Path) -> None:
    for frame, words in [(OLD, "is older than these screens"), (NEW, "is newer than these screens"), (UP, "")]:
        async with opened(tmp_path) as (proxy, session):
            proxy.send(frame)
            await until(lambda session=session: session.state == "up")  # type: ignore[misc]
            assert words in session.difference
            assert ("8000" in session.difference) == bool(words)
        (tmp_path / "8000.sock").unlink(missing_ok=True)


async def test_silence_is_said_and_ends_with_the_next_frame(tmp_path: Path) -> None:
    async with opened(tmp_path) as (proxy, session):
        await until(lambda: session.state == "silent")  # not one frame yet
        proxy.send(UP)
        await until(lambda: session.state == "up")
        await until(lambda: session.state == "silent")
        assert session.problem.startswith("the proxy on 8000 has not responded for ")
        assert session.problem.endswith("s (pid 7)")
        proxy.send(Frame())
        await until(lambda: session.state == "up")


async def test_a_proxy_without_heartbeats_is_not_called_silent(tmp_path: Path) -> None:
    async with opened(tmp_path) as (proxy, session):
        proxy.send(OLD)
        await until(lambda: session.state == "up")
        await asyncio.sleep(2.2)
        assert session.state == "up"


async def test_replies_of_another_shape_are_refused_in_words(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n[1]")
        writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "1.sock"))
    control = ControlClient(socket=str(tmp_path / "1.sock"))
    row = Row("a", 1, 0.0, "live")
    verbs = [
        control.status(),
        control.accounts(),
        control.codex(),
        control.test_codex(),
        control.model_routes(""),
        control.check_account("x"),
        control.change_setting("a", "b"),
        control.clear_detection("x"),
        control.start_login("x"),
        control.undo_rules(),
        control.detail(row.id),
    ]
    for verb in verbs:
        with pytest.raises(ControlError, match="can't be read"):
            await verb  # type: ignore[misc]
    await control.close()
    server.close()
