"""A terminal that nothing reads holds up neither the end of a front end nor what becomes of its proxy."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
import time

import pytest

from tests.pty.terminal import Terminal, is_running
from tests.pty.test_terminal import Start, health, is_restored, start, up, wait

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(90)]

IN_TIME = 5.0  # 2 s, on a machine that does other things as well


def fill(terminal: Terminal, more: str = "") -> None:
    """Make the program write, and read nothing, until it is stuck: what waits to be read grows no more."""
    size, since, deadline = -1, time.monotonic(), time.monotonic() + 40
    width = 100
    while time.monotonic() - since < 2.0:
        assert time.monotonic() < deadline, "it is not stuck"
        width = 220 - width
        terminal.resize(width, 30)
        terminal.kill(signal.SIGWINCH)
        if more:
            terminal.send(more)
        time.sleep(0.05)
        waiting = unread(terminal)
        if waiting != size:
            size, since = waiting, time.monotonic()
    assert size > 1000


def unread(terminal: Terminal) -> int:
    count: int = struct.unpack("i", fcntl.ioctl(terminal.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]
    return count


def end_unread(terminal: Terminal) -> int:
    """Wait for the end without reading. The exit status."""
    deadline = time.monotonic() + IN_TIME
    while True:
        pid, status = os.waitpid(terminal.pid, os.WNOHANG)
        if pid:
            terminal.status = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            return terminal.status
        assert time.monotonic() < deadline, "it did not end"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "policy", "lives"),
    [
        (signal.SIGTERM, "keep", False),
        (signal.SIGHUP, "keep", True),
        (signal.SIGHUP, "stop", False),
        (signal.SIGINT, "keep", False),
        (signal.SIGQUIT, "keep", False),
    ],
)
def test_stuck_screens_end_and_their_proxy_does_as_configured(
    start: Start, number: int, policy: str, lives: bool
) -> None:
    terminal, proxy, port = up(start, "--on-hangup", policy)
    fill(terminal)
    terminal.kill(number)
    assert end_unread(terminal) == 128 + number
    if lives:
        assert is_running(proxy)
        assert health(port) == "pass"
    else:
        wait(lambda: not is_running(proxy))
    while terminal.read(0.2):
        pass
    assert is_restored(terminal)
    assert terminal.is_cooked()


def test_stuck_attached_screens_end_and_leave_the_proxy_alone(start: Start) -> None:
    _, proxy, port = up(start)
    terminal = start("attach", str(port))
    terminal.wait_for("streams")
    fill(terminal)
    terminal.kill(signal.SIGTERM)
    assert end_unread(terminal) == 143
    assert is_running(proxy)


def test_stuck_plain_lines_end_as_well(start: Start) -> None:
    terminal, proxy, _ = up(start, "--plain")
    terminal.wait_for("proxy up at")
    fill(terminal, "help\n")
    terminal.kill(signal.SIGTERM)
    assert end_unread(terminal) == 143
    wait(lambda: not is_running(proxy))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_at_any_time_of_the_start_leaves_a_clean_terminal(start: Start, number: int) -> None:
    """Before the screens, while the terminal's modes change, before and after the first paint."""
    marks = [b"", b"\x1b[?1049h", b"\x1b[?1004h", b"\x1b[?2004h", b"\x1b]2;"]
    for mark in marks:
        terminal = start("demo", "--port", "0")
        deadline = time.monotonic() + 20
        while mark not in terminal.output and time.monotonic() < deadline:
            terminal.read(0.001)
        terminal.kill(number)
        assert terminal.wait_end() == 128 + number, mark
        assert is_restored(terminal) or b"\x1b[?1049h" not in terminal.output, mark
        assert terminal.is_cooked(), mark
