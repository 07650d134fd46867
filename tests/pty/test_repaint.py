"""Whatever had the terminal in between, the whole screen is painted when the program has it back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.pty.terminal import Terminal
from tests.pty.test_terminal import Start, is_restored, start, up, wait

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(90)]


def is_stopped(pid: int) -> bool:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2] == "T"


def stop(terminal: Terminal, how: str) -> None:
    if how == "ctrl+z":
        terminal.send("\x1a")
    else:
        terminal.kill(signal.Signals[how])
    wait(lambda: bool(terminal.read(0.05)) or is_stopped(terminal.pid))
    wait(lambda: is_stopped(terminal.pid))
    while terminal.read(0.1):
        pass


def is_whole(terminal: Terminal) -> bool:
    """Whether every part of the streams screen is where it belongs."""
    lines = [line.rstrip() for line in terminal.screen.display]
    parts = lines[0].startswith(" * ") and "[1 Streams]" in lines[1] and lines[-1].startswith(" ? help")
    return parts and lines[2].startswith("╭") and lines[2].endswith("╮") and lines[-3].endswith(("╯", "│"))


@pytest.mark.parametrize("how", ["ctrl+z", "SIGTSTP", "SIGSTOP"])
def test_the_whole_screen_is_painted_after_a_stop(start: Start, how: str) -> None:
    terminal, _, _ = up(start, columns=100, lines=30)
    terminal.wait_for("? help")
    terminal.quiet(0.5)
    before = terminal.text
    stop(terminal, how)
    if how != "SIGSTOP":
        assert is_restored(terminal)
        assert terminal.is_cooked()
    terminal.screen.reset()
    terminal.kill(signal.SIGCONT)
    terminal.wait_for(lambda: terminal.text == before)
    for columns, lines in ((80, 24), (120, 36)):
        stop(terminal, how)
        terminal.screen.reset()
        terminal.resize(columns, lines)
        terminal.kill(signal.SIGCONT)
        terminal.wait_for(lambda: is_whole(terminal))
    terminal.send("3")
    terminal.wait_for("provider  ")
    terminal.send("\x11")
    terminal.wait_for("Leave it running")
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.wait_end() == 143
    assert is_restored(terminal)
    assert terminal.is_cooked()
