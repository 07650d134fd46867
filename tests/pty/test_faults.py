"""A fault in a screen costs that screen, not the program: it is shown, logged and built again, and tells the truth."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from ccproxy_tui.core.system.paths import Paths
from tests.pty.faulty import ARMED, PLACES, SECRET
from tests.pty.terminal import Terminal, is_running
from tests.pty.test_terminal import Start, health, is_restored, start, up
from tests.pty.test_truth import User, World, agree, list_lines, world

__all__ = ["start", "world"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(240)]

FAULTY = [sys.executable, str(Path(__file__).parent / "faulty.py")]


@pytest.fixture
def armed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "armed"
    monkeypatch.setenv(ARMED, str(path))
    return path


def log_text() -> str:
    path = Paths.of_user().state / "screens.log"
    return path.read_text() if path.exists() else ""


def go_home(terminal: Terminal) -> None:
    """Out of a dialog or a pushed screen, where digits mean something else, and to the first row of the list."""
    for _ in range(8):
        for key in ("\x1b", "1", "g"):
            terminal.send(key)
            terminal.quiet(0.25)  # an escape is only one when nothing follows it
        if "[1 Streams]" in terminal.text and list_lines(terminal) is not None:
            return


def test_a_fault_at_any_place_is_shown_and_logged_and_the_screens_are_right_after(
    start: Start, world: World, armed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCPROXY_TEST_PATIENCE", "1")
    terminal, proxy, port = up(start, command=FAULTY)
    world.connect(port)
    user = User(terminal, world, random.Random(0))
    user.done = []
    world.run(world.begin("left"))
    agree(user)
    for name, (_, keys) in PLACES.items():
        user.done.append(name)
        before = log_text().count("broken by the test")
        armed.write_text(f"{name}:")
        terminal.send(keys)
        world.run(world.begin("whole"))
        world.run(world.end(f"zz-{world.begun}"))
        terminal.wait_for(lambda: not armed.exists())
        terminal.wait_for(lambda before=before: log_text().count("broken by the test") > before)  # type: ignore[misc]
        terminal.quiet(0.4)
        go_home(terminal)
        agree(user)
    assert is_running(proxy)
    assert health(port) == "pass"
    assert log_text().count("broken by the test") >= len(PLACES)
    assert "Traceback" in log_text()
    assert SECRET not in log_text()
    assert SECRET.encode() not in terminal.output


def test_a_fault_is_said_with_where_the_details_are(start: Start, armed: Path) -> None:
    terminal, proxy, _ = up(start, command=FAULTY)
    armed.write_text("an action:")
    terminal.send("s")
    terminal.wait_for("A screen failed and was rebuilt: RuntimeError: broken by the test in an action")
    terminal.wait_for("screens.log")
    terminal.send("s")
    terminal.wait_for("by live")
    assert is_running(proxy)


def test_a_fault_that_repeats_ends_in_a_plain_screen_with_ways_out(start: Start, armed: Path) -> None:
    terminal, proxy, port = up(start, command=FAULTY)
    armed.write_text("a line that is painted::always")
    terminal.send("jk")
    terminal.wait_for("The screens keep failing")
    terminal.wait_for("r  rebuild the screens")
    assert "RuntimeError: broken by the test" in terminal.text
    before = log_text().count("broken by the test")
    terminal.quiet(1.0)
    assert log_text().count("broken by the test") == before
    armed.unlink()
    terminal.send("r")
    terminal.wait_for("streams  ")
    armed.write_text("a line that is painted::always")
    terminal.send("jk")
    terminal.wait_for("The screens keep failing")
    terminal.send("q")
    assert terminal.wait_end() == 0
    assert is_restored(terminal)
    assert is_running(proxy)
    assert health(port) == "pass"
