"""Starting `serve` as a child process of its own session, and letting go of it or ending it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths, private_dir

START_SECONDS = 30.0
LAST_SECONDS = 2.0  # for a child that could not start to end by itself, with its own status
STDERR_FILE = "serve-stderr.log"
_STDERR_TAIL = 2000


# Ways to end that a user has asked for: `ccproxy-tui stop`, SIGTERM, SIGINT, SIGQUIT.
STOPPED_CODES = frozenset({0, *(code for number in (2, 3, 15) for code in (-number, 128 + number))})


class ProxyDied(Exception):
    """The proxy process ended. `code` is its exit status (negative: a signal).

    `other` is the control socket of a proxy of this user that holds the port, when that is why it did not start.
    """

    def __init__(self, message: str, code: int, other: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.other = other

    @property
    def stopped(self) -> bool:
        """Whether it was asked to end, so that it must not be started again."""
        return self.code in STOPPED_CODES


@dataclass(frozen=True, slots=True)
class Ready:
    """The child accepts connections."""

    pid: int
    port: int
    socket: str


class ProxyProcess:
    """One child. The pipe that it holds the other end of tells it when this process is gone, however that came."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], paths: Paths) -> None:
        self._arguments = list(arguments)
        self._environ = dict(environ)
        self._stderr_path = paths.state / STDERR_FILE
        self._stderr = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[int] | None = None
        self._leash: int | None = None
        self._ready = -1
        self._lines: asyncio.StreamReader | None = None
        self._pipe: asyncio.ReadTransport | None = None
        self._socket = ""

    async def start(self) -> Ready:
        """Wait until it serves, after spawning it unless that was done. Raises ProxyDied with what it said."""
        process = self._process or self.spawn()
        self._ended = _watch(process)
        said = await self._first_line(self._ready)
        if not said.get("ready"):
            error = str(said.get("error") or self._last_words())
            raise ProxyDied(error, await self._reap(), str(said.get("other") or ""))
        self._socket = str(said["socket"])
        return Ready(int(said["pid"]), int(said["port"]), self._socket)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Begin, without a loop: it can start while this process still imports what it needs."""
        ready_read, ready_write = os.pipe()
        leash_read, leash_write = os.pipe()
        os.set_inheritable(ready_write, True)
        os.set_inheritable(leash_read, True)
        self._stderr = self._open_stderr()
        try:
            # Not asyncio's subprocess: that kills its child when the loop ends, and this one may be left running.
            self._process = subprocess.Popen(
                [
                    # -P: a file of the folder that is called like a module of ours must not be run in its place
                    *(sys.executable, "-P", "-m", "ccproxy_tui", *self._arguments),
                    *("--leash-ready", str(ready_write), "--leash-parent", str(leash_read)),
                ],
                pass_fds=(ready_write, leash_read),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env=self._environ,
            )
        finally:
            os.close(ready_write)
            os.close(leash_read)
        self._leash, self._ready = leash_write, ready_read
        return self._process

    def _open_stderr(self) -> int:
        """Return a file for its standard error stream: ours, or one without a name where ours can't be written."""
        try:
            private_dir(self._stderr_path.parent)
            return os.open(self._stderr_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError:
            return os.memfd_create(STDERR_FILE) if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)

    def abandon(self) -> None:
        """End it at once, without a loop: this process will not get to use it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._drop_leash()

    async def _first_line(self, descriptor: int) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        lines = self._lines = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", 0)
        self._pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), pipe)
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await lines.readline()
        except TimeoutError:
            return {"error": f"the proxy did not start within {START_SECONDS:.0f} s"}
        return dict(json.loads(line)) if line else {}

    async def _reason(self) -> str:
        """Return what asked the ended child to end, if anything did."""
        assert self._lines is not None
        try:
            async with asyncio.timeout(LAST_SECONDS):
                line = await self._lines.readline()
        except TimeoutError:
            return ""
        return str(json.loads(line).get("ending") or "") if line.endswith(b"\n") else ""

    def _last_words(self) -> str:
        """The end of what it wrote to its standard error stream."""
        size = os.fstat(self._stderr).st_size
        text = os.pread(self._stderr, _STDERR_TAIL, max(0, size - _STDERR_TAIL)).decode("utf-8", "replace").strip()
        return text.splitlines()[-1] if text else "the proxy process ended without output"

    async def _reap(self) -> int:
        process, ended = self._process, self._ended
        assert process is not None
        assert ended is not None
        self._drop_leash()
        try:
            async with asyncio.timeout(LAST_SECONDS):
                return await asyncio.shield(ended)
        except TimeoutError:
            process.kill()
        return await asyncio.shield(ended)

    async def wait(self) -> ProxyDied:
        """Wait until the child ends, and return how it ended."""
        assert self._ended is not None
        code = await asyncio.shield(self._ended)
        reason = await self._reason() or instances.take_kill(self._socket, self.pid)
        self._drop_leash()
        if reason:  # also when its end was not a clean one
            return ProxyDied(reason, 0)
        if code < 0:
            return ProxyDied(f"the proxy was killed by {signal.Signals(-code).name}", code)
        return ProxyDied(
            f"the proxy ended with status {code}: {self._last_words()}" if code else "the proxy ended", code
        )

    @property
    def started(self) -> bool:
        """Whether `start` has taken charge of it."""
        return self._ended is not None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def _drop_leash(self) -> None:
        if self._leash is not None:
            os.close(self._leash)
            self._leash = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def __del__(self) -> None:
        if self._stderr >= 0:
            os.close(self._stderr)

    def release(self) -> None:
        """Leave it running when this process ends."""
        if self._leash is not None:
            try:
                os.write(self._leash, b"keep")
            except BrokenPipeError:
                pass
            self._drop_leash()

    def terminate(self) -> None:
        """Ask it to end, and wait for nothing."""
        if self._process is not None:
            self._process.terminate()

    async def stop(self, seconds: float) -> None:
        """End it: politely, then after `seconds` for good."""
        process, ended = self._process, self._ended
        if process is None or ended is None or ended.done():
            return
        process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(ended)
        except TimeoutError:
            process.kill()
            await asyncio.shield(ended)
        self._drop_leash()


def _watch(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """The exit status, once there is one. A daemon thread waits, so that it never holds up our own end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()

    def ended(code: int) -> None:
        if not future.done():
            future.set_result(code)

    def wait() -> None:
        code = process.wait()
        try:
            loop.call_soon_threadsafe(ended, code)
        except RuntimeError:  # the loop is closed: nobody asks any more
            pass

    threading.Thread(target=wait, name=f"wait for {process.pid}", daemon=True).start()
    return future
