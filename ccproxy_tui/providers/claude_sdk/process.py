"""One Claude Code as a child: lines of JSON in and out. The control protocol on them is the SDK's business."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from ccproxy_tui.core.formats.keys import KeyTwice, check
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.weight import is_too_heavy
from ccproxy_tui.core.limits import AGENT_LINE, AGENT_WAITING, AGENT_WAITING_BYTES, MB
from ccproxy_tui.core.system.ancestry import process_of
from ccproxy_tui.core.system.processes import Process, die_with_parent, family_of, kill_all
from ccproxy_tui.core.system.threads import work_on
from ccproxy_tui.core.text.redact import redact_text

log = logging.getLogger(__name__)

_CONTROL = frozenset({"control_request", "control_response", "control_cancel_request"})
_LAST_WORDS = 20  # lines of its standard error stream
_POLITE_SECONDS = 0.7  # to save its session, once it is told that nothing more comes
_FIRM_SECONDS = 0.5


class Messages(asyncio.Queue[Object | None]):
    """What an agent has written and is not read yet: bounded in number and in bytes of its lines."""

    def __init__(self) -> None:
        super().__init__(AGENT_WAITING)
        self._sizes: deque[int] = deque()
        self._bytes = 0

    async def put_line(self, message: Object, size: int) -> None:
        """Wait for room, then add a message whose line has `size` bytes. One at a time."""
        await self.put(message)
        self._bytes += size - self._sizes.pop()
        self._sizes.append(size)

    def full(self) -> bool:
        return super().full() or self._bytes >= AGENT_WAITING_BYTES

    def _put(self, item: Object | None) -> None:
        super()._put(item)
        self._sizes.append(0)

    def _get(self) -> Object | None:
        self._bytes -= self._sizes.popleft()
        return super()._get()


class ClaudeProcess:
    """A `Transport` of the SDK, which sees control messages alone. Everything else goes to `messages`, as it came; None
    at the end."""

    def __init__(self, command: Sequence[str], cwd: str, environ: Mapping[str, str]) -> None:
        self._command = command
        self._cwd = cwd
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)
        self._closing = False
        self.messages = Messages()
        self.problem = ""  # why nothing more of it is read
        self.identity: Process | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its standard error stream, without secrets."""
        return redact_text(" ".join(line for line in self._said if line.strip()))[-600:]

    async def connect(self) -> None:
        """Raises OSError when it can't be started."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._cwd,
            env=dict(self._environ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=AGENT_LINE,
            start_new_session=True,  # a Ctrl+C at our terminal is not meant for it
            preexec_fn=die_with_parent(),
        )
        self.identity = await asyncio.to_thread(process_of, self._process.pid)
        self._errors = asyncio.ensure_future(self._read_errors(self._process))

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        """Always read, so that it never blocks on it; only its end is kept."""
        assert process.stderr is not None
        while chunk := await process.stderr.read(64 * 1024):
            self._said.extend(chunk.decode("utf-8", "replace")[-4000:].splitlines())

    def is_ready(self) -> bool:
        return self.alive

    async def write(self, data: str) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            raise ConnectionError("Claude Code has ended")
        process.stdin.write(data.encode("utf-8", "surrogatepass"))
        await process.stdin.drain()

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                message = await work_on(len(line), partial(_read, line))
                if message.get("type") in _CONTROL:
                    yield message
                elif message:
                    await self.messages.put_line(message, len(line))
        except KeyTwice as error:
            self.problem = f"it wrote a message that is not clear: {error}"
        except _TooHeavy:
            self.problem = "it wrote a message that takes too much memory"
        except ValueError:  # a line without an end
            self.problem = f"it wrote a message of more than {AGENT_LINE // MB} MB"
        finally:
            self._say_end()
        if self.problem:
            log.warning("Claude Code (pid %d) is ended: %s", process.pid, self.problem)
        if not self._closing:  # the SDK would wait for the answers to its own requests
            raise ConnectionError(self.problem or "it has ended")

    def _say_end(self) -> None:
        while self.messages.full():
            self.messages.get_nowait()
        self.messages.put_nowait(None)

    async def end_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self) -> None:
        """Bounded: it may save what it has, then it is told to end, then it is ended with all that it has started.

        Those that it has started and left behind are ended in any case.
        """
        process = self._process
        if process is None:
            return
        self._closing = True
        family = await asyncio.to_thread(family_of, process.pid)
        try:
            await self.end_input()
            if not await _ended(process, _POLITE_SECONDS):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await _ended(process, _FIRM_SECONDS)
        finally:  # also when whoever closes it has no more time
            kill_all(family)
            if self.alive:
                process.kill()
        await process.wait()
        await self._drop_rest(process)
        if self._errors is not None:
            self._errors.cancel()

    async def _drop_rest(self, process: asyncio.subprocess.Process) -> None:
        """Read to the end what is not wanted any more: until then its pipe stays open."""
        if not self.problem or process.stdout is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRM_SECONDS):
                while await process.stdout.read(64 * 1024):
                    pass


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()
    return process.returncode is not None


class _TooHeavy(Exception):
    """A line that takes too much memory once it is taken apart."""


def _read(line: bytes) -> Object:
    """A message; empty for what is none (builds write other lines at times). Raises _TooHeavy, KeyTwice."""
    if is_too_heavy(line):
        raise _TooHeavy
    try:
        message = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        log.debug(
            "Claude Code wrote a line that is no message: %s", redact_text(line[:2000].decode("utf-8", "replace"))[:200]
        )
        return {}
    if not isinstance(message, dict):
        return {}
    if message.get("type") in _CONTROL:  # one of them asks for a permission
        check(line)
    return message
