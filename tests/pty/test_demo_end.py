"""A demo ends with its terminal, whatever takes the terminal away; its clients end with it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.pty.terminal import Terminal, children_of, is_running, program
from tests.pty.test_terminal import Start, free_port, up, wait

pytestmark = [pytest.mark.pty, pytest.mark.timeout(90)]
__all__ = ["start"]

from tests.pty.test_terminal import start  # noqa: E402

Take = Callable[[Terminal], None]
TAKEN_AWAY: dict[str, Take] = {
    "the host is killed": lambda terminal: terminal.kill(signal.SIGKILL),
    "the terminal is closed": lambda terminal: terminal.hang_up(),
    "the line drops": lambda terminal: terminal.kill(signal.SIGHUP),
}


@pytest.mark.parametrize("how", TAKEN_AWAY)
@pytest.mark.parametrize("policy", ["keep", "stop"])
def test_a_demo_ends_with_its_terminal(start: Start, how: str, policy: str) -> None:
    terminal, proxy, _ = up(start, "demo", "--on-hangup", policy)
    TAKEN_AWAY[how](terminal)
    wait(lambda: not is_running(proxy))
    assert instances.running(Paths.of_user()) == []


@pytest.mark.parametrize("how", ["the terminal is closed", "the host is killed"])
def test_also_of_plain_lines(start: Start, how: str) -> None:
    terminal, proxy, _ = up(start, "demo", "--plain")
    TAKEN_AWAY[how](terminal)
    wait(lambda: not is_running(proxy) and not is_running(terminal.pid))


@pytest.mark.parametrize("plain", [[], ["--plain"]])
def test_also_below_a_shell_that_ignores_hang_ups(start: Start, plain: list[str]) -> None:
    port = free_port()
    command = shlex.join(program("demo", "--port", str(port), *plain))
    terminal = Terminal(["sh", "-c", f"trap '' HUP; {command}; exit"])
    try:
        terminal.wait_for(f":{port}")
        [host] = children_of(terminal.pid)
        [proxy] = children_of(host)
        terminal.hang_up()
        wait(lambda: not is_running(proxy) and not is_running(host), seconds=12)
    finally:
        terminal.close()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_also_with_its_tmux_session(start: Start, tmp_path: Path) -> None:
    port = free_port()
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    command = shlex.join(program("demo", "--port", str(port)))
    subprocess.run([*tmux, "new-session", "-d", "-x", "100", "-y", "30", command], check=True, timeout=20)
    try:
        wait(lambda: instances.on_port(Paths.of_user(), port) is not None, seconds=20)
        instance = instances.on_port(Paths.of_user(), port)
        assert instance is not None
        subprocess.run([*tmux, "kill-session"], check=True, timeout=20)
        wait(lambda: not is_running(instance.pid))
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True, timeout=20)


def test_a_demo_that_starts_while_its_host_is_killed_ends(start: Start) -> None:
    terminal = start("demo", "--port", str(free_port()))
    wait(lambda: len(children_of(terminal.pid)) == 1, seconds=20)
    [proxy] = children_of(terminal.pid)
    os.kill(terminal.pid, signal.SIGKILL)
    wait(lambda: not is_running(proxy), seconds=20)


def test_a_demo_offers_no_life_without_its_screens(start: Start) -> None:
    terminal, proxy, _ = up(start, "demo", columns=80, lines=24)
    terminal.send("q")
    terminal.wait_for("Stop the proxy")
    assert "Leave it running" not in terminal.text
    terminal.send("\x1b[C\r")
    assert terminal.wait_end() == 0
    wait(lambda: not is_running(proxy))
