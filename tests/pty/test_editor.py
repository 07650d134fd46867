"""An editor has the terminal for a while: however it ends, the screens have it back as they left it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pty.terminal import Terminal, children_of, is_running
from tests.pty.test_guards import Asker
from tests.pty.test_repaint import is_stopped
from tests.pty.test_terminal import Start, is_restored, start, up, wait

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(90)]

# Fills the alternate screen, changes the modes of keys and terminal, and reads nothing until it is sent a signal.
WILD = f"""#!{sys.executable}
import os, signal, sys, time, tty
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(1))
tty.setraw(0, 0)
os.write(1, b"\\x1b[?1049h\\x1b[?1h\\x1b[?1000l\\x1b[H" + b"WILD" * 2000)
open(sys.argv[0] + ".pid", "w").write(str(os.getpid()))
while True:
    time.sleep(60)
"""


class Edited:
    """The dialog in which a command is edited, with an editor open over it."""

    def __init__(self, start: Start, editor: str, shown: str) -> None:
        self.terminal, self.proxy, port = up(start, "demo", environ={"EDITOR": editor})
        self.asker = Asker(port)
        self.asker.start()
        self.terminal.wait_for("1 waiting")
        self.terminal.send("\x07")
        self.terminal.wait_for("Bash wants to run a command")
        self.terminal.quiet(0.9)
        self.terminal.send("e")
        self.terminal.wait_for("Edit command:")
        self.terminal.quiet(0.5)
        self.before = picture(self.terminal)
        self.terminal.output.clear()
        self.terminal.send("\x1bOS")  # F4
        self.terminal.wait_for(shown)

    def wait_for_screens(self, *words: str) -> None:
        """Until the whole screen, but for the last line of the dialog, is what it was, with the modes of before."""
        self.terminal.wait_for(lambda: all(word in self.terminal.text for word in words))
        self.terminal.wait_for(lambda: picture(self.terminal) == self.before)
        assert not self.terminal.is_cooked()
        output = bytes(self.terminal.output)
        back = output.rindex(b"\x1b[?1049h")
        for mode in (b"\x1b[?1003h", b"\x1b[?1004h", b"\x1b[?2004h"):
            assert mode in output[back:]

    def leave(self) -> None:
        """Nothing was decided; the shell gets the modes that it had."""
        assert self.asker.answer is None
        self.terminal.send("\x1b")
        self.terminal.wait_for("Bash wants to run a command")
        self.terminal.quiet(1.0)
        assert self.asker.answer is None
        self.terminal.kill(signal.SIGTERM)
        assert self.terminal.wait_end() == 143
        assert self.terminal.is_cooked()


def picture(terminal: Terminal) -> list[str]:
    """The screen without its figures, which count down, and without what the dialog tells."""
    lines = [re.sub(r"\d+m? ?\d*s?", "#", line.rstrip()) for line in terminal.screen.display]
    return [line for line in lines if "ctrl+s review" not in line and "nothing was changed" not in line]


@pytest.fixture
def wild(tmp_path: Path) -> Iterator[Path]:
    editor = tmp_path / "wild"
    editor.write_text(WILD)
    editor.chmod(0o755)
    yield editor
    if (file := Path(f"{editor}.pid")).exists() and is_running(pid := int(file.read_text())):
        os.kill(pid, signal.SIGKILL)


def pid_of(editor: Path) -> int:
    file = Path(f"{editor}.pid")
    wait(lambda: file.exists() and file.read_text() != "")
    return int(file.read_text())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("SIGUSR1", "ctrl+s review"),
        ("SIGUSR2", "it ended with status 1"),
        ("SIGKILL", "it was ended by SIGKILL"),
    ],
)
def test_the_whole_screen_is_painted_after_an_editor(start: Start, wild: Path, number: str, words: str) -> None:
    edited = Edited(start, str(wild), "WILDWILD")
    edited.terminal.send("a\r\x13\x13\x13ya")
    edited.terminal.quiet(1.0)
    os.kill(pid_of(wild), signal.Signals[number])
    edited.wait_for_screens(words)
    edited.leave()


def test_an_editor_that_does_not_exist_leaves_the_screens_as_they_are(start: Start, tmp_path: Path) -> None:
    edited = Edited(start, str(tmp_path / "none"), "No such file")
    edited.wait_for_screens("nothing was changed")
    edited.leave()


def test_interrupts_are_the_editors_own(start: Start, wild: Path) -> None:
    edited = Edited(start, str(wild), "WILDWILD")
    for _ in range(3):
        os.kill(edited.terminal.pid, signal.SIGINT)  # as the terminal sends it to both
        edited.terminal.quiet(1.0)
    assert is_running(edited.terminal.pid)
    os.kill(pid_of(wild), signal.SIGUSR1)
    edited.wait_for_screens()
    edited.leave()


def test_an_editor_ends_with_the_screens(start: Start, wild: Path) -> None:
    edited = Edited(start, str(wild), "WILDWILD")
    edited.terminal.kill(signal.SIGTERM)
    assert edited.terminal.wait_end() == 143
    assert is_restored(edited.terminal)
    assert edited.terminal.is_cooked()
    wait(lambda: not is_running(pid_of(wild)))


@pytest.mark.skipif(shutil.which("vi") is None, reason="vi is not installed")
def test_vi_edits_is_suspended_and_interrupted(start: Start) -> None:
    edited = Edited(start, "vi", "~")
    terminal = edited.terminal
    terminal.send("\x03\x03")
    terminal.quiet(2.5)
    assert is_running(terminal.pid)
    (editor,) = [pid for pid in children_of(terminal.pid) if pid != edited.proxy]
    for pid in (editor, terminal.pid):  # Ctrl+Z does it where a shell has jobs, which this terminal has not
        os.kill(pid, signal.SIGSTOP if pid == editor else signal.SIGTSTP)
        wait(lambda pid=pid: is_stopped(pid))
    terminal.quiet(0.5)
    terminal.screen.reset()
    for pid in (editor, terminal.pid):
        os.kill(pid, signal.SIGCONT)
    terminal.send("\x0c")
    terminal.wait_for("~")
    terminal.send("\x1b:q!\r")
    edited.wait_for_screens("ctrl+s review")
    edited.leave()
