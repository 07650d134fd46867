"""A proxy that stands still is noticed within seconds by everything that is attached; one that comes back, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from ccproxy_tui.cli import cli
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.pty.terminal import is_running, program
from tests.pty.test_terminal import Start, free_port, run, start, up, wait

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(120)]

SAID = "has not responded for 5 s (pid"


@contextmanager
def standing(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_screens_say_that_the_proxy_stands_still_until_it_goes_on(start: Start) -> None:
    terminal, proxy, port = up(start)
    plain = start("attach", "--plain", str(port))
    plain.wait_for("proxy up at")
    with standing(proxy):
        terminal.wait_for(f"the proxy on {port} {SAID} {proxy})")
        plain.wait_for(f"the proxy on {port} {SAID} {proxy})")
        late = start("attach", str(port))
        late.wait_for(f"the proxy on {port} {SAID} {proxy})")
    for front in (terminal, late):
        front.wait_for(f" * 127.0.0.1:{port}")
    plain.wait_for("the proxy is responding again")


def test_screens_that_stood_still_read_before_they_judge(start: Start) -> None:
    terminal, _, port = up(start)
    with standing(terminal.pid):
        time.sleep(8)  # longer than the silence that is allowed
    terminal.send("3")
    terminal.wait_for("provider  ")
    terminal.quiet(2.5)
    assert b"has not responded" not in terminal.output
    assert f" * 127.0.0.1:{port}" in terminal.text


ASKING = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "session_id": "1", "cwd": "/"}


@pytest.mark.parametrize("command", [["ask", "Go on?"], ["hook", "codex"]])
def test_a_command_that_waits_for_a_decision_says_that_the_proxy_stands_still(start: Start, command: list[str]) -> None:
    terminal, proxy, port = up(start)
    with subprocess.Popen(
        program(*command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdin is not None
        assert asking.stderr is not None
        try:
            asking.stdin.write(json.dumps({"hook_event_name": "PermissionRequest", **ASKING}))
            asking.stdin.close()
            terminal.wait_for("1 waiting")
            with standing(proxy):
                assert asking.stderr.readline() == f"the proxy on {port} {SAID} {proxy}); still waiting\n"
            assert asking.stderr.readline() == f"the proxy on {port} is responding again\n"
            assert asking.poll() is None
        finally:
            asking.kill()


def test_a_handler_says_that_the_proxy_stands_still(start: Start) -> None:
    with serving() as process:
        [instance] = instances.running(Paths.of_user())
        for named in ([], ["--host", "127.0.0.1", "--port", str(instance.port)]):
            handler = start("permission-handler", *named)
            handler.wait_for("waiting for permission requests")
            with standing(process.pid):
                handler.wait_for(f"the proxy on {instance.port} {SAID} {process.pid}); still waiting")
            handler.wait_for("is responding again")


@contextmanager
def serving() -> Iterator[subprocess.Popen[bytes]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "ccproxy_tui", "serve", "--port", str(port)], stderr=-3)
    try:
        wait(lambda: instances.on_port(Paths.of_user(), port) is not None, 20)
        yield process
    finally:
        process.kill()
        process.wait()


def test_status_asks_all_at_once_and_names_those_that_do_not_answer() -> None:
    with serving() as first, serving() as second, serving() as third, standing(first.pid), standing(third.pid):
        began = time.monotonic()
        done = run("status")
        assert time.monotonic() - began < 15  # not 30 s for each
        line = run("status", "--line")
        listed = json.loads(run("status", "--json").stdout)
    assert sorted(one.get("problem", "") for one in listed) == ["", "not answering", "not answering"]
    assert done.returncode == 1
    assert f"pid {second.pid}" in done.stdout
    assert done.stderr.count("not answering") == 2
    assert all(f"pid {process.pid}" in done.stderr for process in (first, third))
    assert "ReadTimeout" not in done.stderr
    assert line.stdout.count("not answering") == 2
    assert "0 live" in line.stdout


def test_stop_ends_a_proxy_that_stands_still() -> None:
    with serving() as process:
        os.kill(process.pid, signal.SIGSTOP)
        [instance] = instances.running(Paths.of_user())
        done = run("stop", str(instance.port))
        assert done.returncode == 0, done.stderr
        assert f"the proxy (pid {process.pid}) does not respond: sending SIGTERM" in done.stderr
        assert done.stdout.strip() == "stopped"
        process.wait(5)
        assert instances.running(Paths.of_user()) == []


STUCK = """
import os, signal, socket, time
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
signal.signal(signal.SIGTERM, signal.SIG_IGN)
paths = Paths.of_user()
path = str(paths.runtime / "7.sock")
paths.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o600)
listener.listen()
instances.register(instances.Instance(os.getpid(), "127.0.0.1", 7, path, "0", time.time()))
print("up", flush=True)
time.sleep(600)
"""


def test_stop_kills_what_no_signal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.cli.status.TERM_SECONDS", 0.5)
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=-1)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        done = CliRunner().invoke(cli, ["stop", "7"])
        assert "sending SIGTERM" in done.output
        assert "sending SIGKILL" in done.output
        assert done.output.strip().endswith("killed")
        assert process.wait(5) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert not is_running(process.pid)
