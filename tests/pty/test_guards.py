"""The card's guards with real keys in a real terminal and in real time: what was not meant for it answers nothing."""

from __future__ import annotations

import json
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.pty.terminal import Terminal
from tests.pty.test_terminal import Start, is_restored, start, up

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(90)]


class Asker(threading.Thread):
    """A tool that asks, and waits."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._url = f"http://127.0.0.1:{port}/mcp/permission/check"
        self.answer: dict[str, Any] | None = None

    def run(self) -> None:
        body = json.dumps({"tool_name": "Bash", "input": {"command": "git status"}}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(ConnectionError), opener.open(request, timeout=60) as answered:  # unless the proxy ends first
            self.answer = json.loads(answered.read())


def hold(terminal: Terminal, key: str, seconds: float) -> None:
    """A key that is held down repeats about thirty times a second, also while the screen is being read."""
    released = threading.Event()

    def repeat() -> None:
        while not released.wait(0.03):
            terminal.send(key)

    held = threading.Thread(target=repeat)
    held.start()
    terminal.quiet(seconds)
    released.set()
    held.join()


def test_nothing_but_a_key_that_was_meant_answers(start: Start) -> None:
    terminal, _, port = up(start, "demo")
    terminal.send("2")
    terminal.wait_for("No pending approvals")
    asker = Asker(port)
    holding = threading.Thread(target=asker.start)
    holding.start()
    hold(terminal, "a", 2.0)  # typed ahead, and held while the card comes up
    terminal.wait_for("Bash wants to run a command")
    assert asker.answer is None
    terminal.send("\x1b[200~a\x1b[201~")  # pasted
    terminal.quiet(0.5)
    assert asker.answer is None
    terminal.send("a")
    asker.join(5)
    assert asker.answer is not None
    assert asker.answer["behavior"] == "allow"


def test_enter_space_letters_digits_clicks_and_early_keys_never_allow(start: Start) -> None:
    terminal, _, port = up(start, "demo")
    asker = Asker(port)
    asker.start()
    terminal.wait_for("1 waiting")
    terminal.send("\x1b[O\x1b[I")  # the terminal loses the focus, and has it again
    terminal.send("\x07")  # ctrl+g: to the card
    terminal.wait_for("Bash wants to run a command")
    terminal.send("a")  # its first moment
    terminal.wait_for("Ignored: the card had only just appeared")
    terminal.quiet(0.8)
    for keys in ("\r", " ", "y", "Y", "\x1b[<0;40;14M\x1b[<0;40;14m", "\t", "\x1b[Z"):
        terminal.send(keys)
        terminal.quiet(0.3)
    terminal.send("1")
    terminal.wait_for("1 waiting")
    assert asker.answer is None
    terminal.send("\x07")
    terminal.wait_for("Bash wants to run a command")
    terminal.quiet(0.9)
    terminal.send("d")
    asker.join(5)
    assert asker.answer is not None
    assert asker.answer["behavior"] == "deny"


def test_a_command_is_edited_in_the_persons_own_editor(start: Start, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\nstat -c %a "$1" > "$0.mode"\necho EDITING; read word < /dev/tty\nprintf "git $word" > "$1"\n'
    )
    editor.chmod(0o755)
    terminal, _, port = up(start, "demo", environ={"EDITOR": str(editor)})
    asker = Asker(port)
    asker.start()
    terminal.wait_for("1 waiting")
    terminal.send("\x07")
    terminal.wait_for("Bash wants to run a command")
    terminal.quiet(0.9)
    terminal.send("e")
    terminal.wait_for("Edit command:")
    terminal.send("\x1bOS")  # F4
    terminal.wait_for("EDITING")
    assert is_restored(terminal)
    terminal.send("diff\n")
    terminal.wait_for("git diff")
    terminal.send("\x13")
    terminal.wait_for("This will be allowed:")
    terminal.quiet(0.9)
    terminal.send("\x13")
    asker.join(5)
    assert asker.answer is not None
    assert (asker.answer["behavior"], asker.answer["updatedInput"]) == ("allow", {"command": "git diff"})
    assert Path(f"{editor}.mode").read_text().strip() == "600"
