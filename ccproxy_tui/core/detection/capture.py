"""Run a tool against a server of our own and keep what it sends. Nothing of it leaves the machine.

The tool is told that our server is its API, and its proxy for everything else; that "everything else" gets a 403.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccproxy_tui.core.limits import MB, TOOL_FILE, TOOL_OUTPUT, TOOL_REQUESTS
from ccproxy_tui.core.system.processes import guarded

_HEAD_LIMIT = 256 * 1024
_REQUEST_SECONDS = 20.0
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class CaptureFailed(Exception):
    """The message says why, for the person."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class CaptureServer:
    """Answers each POST with `reply` (a body of events), and keeps it; refuses all else."""

    def __init__(self, reply: bytes) -> None:
        self._reply = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(reply)
        ) + reply
        self._server: asyncio.Server | None = None
        self.requests: list[Request] = []
        self._left = TOOL_REQUESTS

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """At once: a tool that is gone may have left a connection open."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await self._read(reader)
            writer.write(self._reply if request.method == "POST" else _REFUSAL)
            await writer.drain()
            if request.method == "POST":
                self.requests.append(request)
        except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whatever that was, it is nothing to keep
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        """Raises ValueError for what is no request, and when all of them are larger than a tool's requests are."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target = first.split(" ")[:2]
        headers = [
            (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines) if name
        ]
        length = int(dict(headers).get("content-length", "0"))
        if not 0 <= len(head) + length <= self._left:
            raise ValueError("no length that a request has")
        self._left -= len(head) + length
        return Request(method, target, headers, await reader.readexactly(length))


def _check_program(path: str) -> None:
    """Raises CaptureFailed when it can't be started: the shell that runs it would only say so with its status."""
    if not os.access(path, os.F_OK):
        raise CaptureFailed(f"{path} can't be started: {os.strerror(errno.ENOENT)}")
    if not os.access(path, os.X_OK) or Path(path).is_dir():
        raise CaptureFailed(f"{path} can't be started: {os.strerror(errno.EACCES)}")


async def run_bounded(command: Sequence[str], environ: Mapping[str, str], folder: Path, seconds: float) -> bytes:
    """What a program printed. It, and all that it started, is ended in time.

    `command` starts with the program's path. It prints into a file: a pipe would stay open for as long as anything that
    it has started. Raises CaptureFailed when it can't be started, takes too long, or prints too much.
    """
    _check_program(command[0])
    with tempfile.TemporaryFile() as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *guarded(command),
                env=dict(environ),
                cwd=folder,
                stdin=asyncio.subprocess.PIPE,  # its end ends them; they get none
                stdout=output,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_limit_files,
            )
        except OSError as error:
            raise CaptureFailed(f"{command[0]} can't be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(seconds):
                await process.wait()
        except TimeoutError:
            raise CaptureFailed(f"{Path(command[0]).name} did not end within {seconds:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads its own group: what it started is in there
            await process.wait()
        if output.seek(0, os.SEEK_END) > TOOL_OUTPUT:
            raise CaptureFailed(f"{Path(command[0]).name} printed more than {TOOL_OUTPUT // MB} MB")
        output.seek(0)
        return output.read()


def _limit_files() -> None:
    """Let the system end a child that writes a file (its output is one) without end."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (TOOL_FILE, TOOL_FILE))
