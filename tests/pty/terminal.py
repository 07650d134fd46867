"""A program in a real pseudo terminal, with a screen to look at."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

_SKIMMED = 65536
_UNKNOWN = re.compile(rb"\x1b\[\?[\d;]*[mr]")
RESTORE_MARKS = (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1003l", b"\x1b[?1004l", b"\x1b[?2004l")


class Terminal:
    """Spawns a program as the leader of its own session with a terminal of `columns` x `lines`."""

    def __init__(
        self, arguments: list[str], *, columns: int = 120, lines: int = 36, environ: Mapping[str, str] | None = None
    ) -> None:
        self.output = bytearray()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.status: int | None = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(arguments[0], arguments, {**os.environ, **(environ or {})})
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def send(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def fileno(self) -> int:
        return self._fd

    def is_cooked(self) -> bool:
        """Whether the terminal's modes are those of a shell: it echoes, and Ctrl+C is a signal."""
        flags = int(termios.tcgetattr(self._fd)[3])
        wanted = termios.ECHO | termios.ICANON | termios.ISIG
        return flags & wanted == wanted

    def send_bytes(self, data: bytes) -> None:
        os.write(self._fd, data)

    def skim(self, seconds: float) -> None:
        """Take what comes within a time, and keep the end of it alone. The screen is not drawn."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                try:
                    self.output += os.read(self._fd, 65536)
                except OSError:
                    return
        del self.output[:-_SKIMMED]

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def read(self, seconds: float = 0.05) -> bytes:
        """What came within `seconds`."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return b""
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return b""
        self.output += data
        # pyte does not know the private forms of some queries; they draw nothing.
        known = _UNKNOWN.sub(b"", data)
        self._stream.feed(known.replace(b"\x1b[>", b"\x1b[").replace(b"\x1b[<", b"\x1b["))
        return data

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, condition: str | Callable[[], bool], seconds: float = 15.0) -> None:
        """Until a text is on screen (or a condition holds)."""
        deadline = time.monotonic() + seconds
        while True:
            self.read()
            if condition in self.text if isinstance(condition, str) else condition():
                return
            assert time.monotonic() < deadline, f"never saw {condition!r} in:\n{self.text}"

    def quiet(self, seconds: float) -> None:
        """Read on for a while, with no key pressed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.05)

    def wait_end(self, seconds: float = 10.0) -> int:
        """The exit status as a shell would say it."""
        deadline = time.monotonic() + seconds
        while self.status is None:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            assert time.monotonic() < deadline, f"it did not end:\n{self.text}"
        while self.read(0.05):
            pass
        return self.status

    def close(self) -> None:
        """End the program if it still runs, and hang up."""
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self.hang_up()

    def hang_up(self) -> None:
        """The terminal is gone: an SSH line that dropped, a closed window."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ccproxy_tui", *arguments]


def children_of(pid: int) -> list[int]:
    """Direct children, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if int(text[text.rindex(")") + 2 :].split()[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text[text.rindex(")") + 2] != "Z"
