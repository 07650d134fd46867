"""`stop` stops, also under a host; hosts and proxies that start at the same time, or while one ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ccproxy_tui.cli import cli
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import end_leftovers
from tests.pty.terminal import children_of, is_running, program
from tests.pty.test_terminal import Start, free_port, start, up, wait

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(120)]

Run = Callable[..., "subprocess.Popen[bytes]"]
TABS = "2345781"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts the program without a terminal. What it prints is in `tmp_path / NAME`."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (tmp_path / name).open("wb") as out:
            process = subprocess.Popen(program(*arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
    for instance in instances.running(Paths.of_user()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(instance.pid, signal.SIGKILL)
        wait(lambda pid=instance.pid: not is_running(pid))


def stop(port: int) -> None:
    subprocess.run(program("stop", str(port)), check=True, timeout=30, capture_output=True)


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_host_starts_no_proxy_again_that_was_stopped(start: Start, how: str) -> None:
    terminal, proxy, port = up(start)
    if how == "command":
        stop(port)
        words = r"stopped, ctrl\+r starts it again: stopped by `ccproxy-tui stop` \(pid \d+\) at \d\d:\d\d"
    else:
        os.kill(proxy, signal.SIGTERM)
        words = r"stopped, ctrl\+r starts it again: stopped by SIGTERM at \d\d:\d\d"
    terminal.wait_for("press ctrl+r to start it again")
    for tab in TABS:
        terminal.send(tab)
        terminal.wait_for(lambda: re.search(words, terminal.text) is not None)
    assert instances.running(Paths.of_user()) == []
    terminal.send("\x12")
    terminal.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
    terminal.wait_for(f":{port}")
    terminal.wait_for("The proxy was restarted")
    again = instances.on_port(Paths.of_user(), port)
    assert again is not None
    assert again.pid != proxy
    os.kill(again.pid, signal.SIGKILL)
    terminal.wait_for(lambda: (one := instances.on_port(Paths.of_user(), port)) is not None and one.pid != again.pid)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_attached_screens_start_a_proxy_in_place_of_one_that_is_gone(start: Start, run: Run, how: str) -> None:
    port = free_port()
    run("first", "serve", "--port", str(port))
    wait(lambda: instances.on_port(Paths.of_user(), port) is not None)
    first = instances.on_port(Paths.of_user(), port)
    assert first is not None
    terminal = start("attach", str(port))
    terminal.wait_for(f":{port}")
    if how == "killed":
        os.kill(first.pid, signal.SIGKILL)
        terminal.wait_for("ctrl+r starts one")
    else:
        stop(port)
        terminal.wait_for("stopped, ctrl+r starts it again")
    terminal.send("\x12")
    terminal.wait_for(lambda: (one := instances.on_port(Paths.of_user(), port)) is not None and one.pid != first.pid)
    terminal.wait_for("The proxy was restarted")


def test_a_host_whose_proxy_was_stopped_attaches_to_one_that_is_started_elsewhere(start: Start, run: Run) -> None:
    terminal, _, port = up(start)
    stop(port)
    terminal.wait_for("press ctrl+r to start it again")
    second = run("second", "serve", "--port", str(port))
    terminal.wait_for(f"(process {second.pid}); attached to it", seconds=30)
    terminal.send("q")
    assert terminal.wait_end() == 0
    assert second.poll() is None


def test_attached_screens_name_the_settings_that_they_start_a_proxy_with(start: Start, run: Run) -> None:
    port = free_port()
    first = run("first", "serve", "--port", str(port))
    wait(lambda: instances.on_port(Paths.of_user(), port) is not None)
    terminal, plain = start("attach", str(port)), start("attach", "--plain", str(port))
    terminal.wait_for(f":{port}")
    plain.wait_for("proxy up")
    stop(port)
    first.wait(20)
    terminal.wait_for("press ctrl+r to start one with the settings of this command")
    plain.wait_for("waiting for another proxy to start")
    terminal.send("\x12")
    terminal.wait_for("The proxy was restarted with the settings of this command", seconds=30)
    plain.wait_for(lambda: plain.text.count("proxy up") == 2)


def test_screens_stay_when_their_proxy_can_not_start_again(start: Start, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    terminal, proxy, port = up(start, "--config", str(settings))
    settings.write_text("[server]\ndrain_seconds = 'x'\n")
    os.kill(proxy, signal.SIGKILL)
    terminal.wait_for("stopped, ctrl+r starts it again: ")
    settings.write_text("")
    terminal.send("\x12")
    terminal.wait_for("The proxy was restarted", seconds=30)
    [again] = [one for one in instances.running(Paths.of_user()) if one.port == port]
    assert again.pid != proxy


SLOW = "import sys, time; time.sleep(5 if 'serve' in sys.argv else 0)"


def test_to_quit_while_the_proxy_starts_stops_it(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    terminal = start("--port", str(free_port()))
    terminal.wait_for("starting the proxy")
    [proxy] = children_of(terminal.pid)
    terminal.send("q")
    assert terminal.wait_end() == 0
    assert not is_running(proxy)


def test_a_request_of_a_proxy_that_is_gone_can_not_be_decided(start: Start, run: Run) -> None:
    terminal, proxy, _ = up(start)
    run("asking", "ask", "deploy?")
    terminal.wait_for("ctrl+g")
    os.kill(proxy, signal.SIGTERM)
    terminal.wait_for("stopped, ctrl+r starts it again")
    terminal.wait_for(lambda: "1 waiting" not in terminal.text)


STUCK = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))"  # its loop takes no signal


def test_a_host_starts_no_proxy_again_that_had_to_be_killed(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(STUCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("ccproxy_tui.cli.status.TERM_SECONDS", 0.5)
    terminal, proxy, port = up(start)
    os.kill(proxy, signal.SIGUSR1)
    terminal.wait_for("has not responded for")
    done = CliRunner().invoke(cli, ["stop", str(port)])
    assert done.output.strip().endswith("killed")
    terminal.wait_for("press ctrl+r to start it again")
    terminal.wait_for("starts it again: killed by `ccproxy-tui stop` at ")
    assert instances.running(Paths.of_user()) == []
    assert not instances.kill_note(str(Paths.of_user().runtime / f"{port}.sock")).exists()
    terminal.send("\x12")
    terminal.wait_for(lambda: (one := instances.on_port(Paths.of_user(), port)) is not None and one.pid != proxy)
    again = instances.on_port(Paths.of_user(), port)
    assert again is not None
    os.kill(again.pid, signal.SIGKILL)  # by another program: it is started again
    terminal.wait_for(lambda: (one := instances.on_port(Paths.of_user(), port)) is not None and one.pid != again.pid)


def test_a_host_without_screens_ends_with_its_stopped_proxy(run: Run, tmp_path: Path) -> None:
    port = free_port()
    host = run("host", "--plain", "--port", str(port))
    wait(lambda: b"proxy up" in (tmp_path / "host").read_bytes(), 20)
    stop(port)
    assert host.wait(15) == 0
    assert "stopped by `ccproxy-tui stop` (pid " in (tmp_path / "host").read_text()
    assert instances.running(Paths.of_user()) == []


def test_of_hosts_that_start_at_once_one_serves_and_the_others_attach(run: Run, tmp_path: Path) -> None:
    port = free_port()
    names = [f"host {number}" for number in range(4)]
    hosts = [run(name, "--plain", "--port", str(port)) for name in names]

    def pids() -> list[str]:
        return [match[1] for name in names if (match := re.search(r"\(process (\d+)\)", (tmp_path / name).read_text()))]

    wait(lambda: len(pids()) == 4 or any(host.poll() is not None for host in hosts), 40)
    assert len(pids()) == 4, [(tmp_path / name).read_text() for name in names]
    [serving] = set(pids())
    [instance] = instances.running(Paths.of_user())
    assert instance.pid == int(serving)
    for host in hosts:
        host.terminate()
    assert [host.wait(15) for host in hosts] == [128 + signal.SIGTERM] * 4
    assert not is_running(instance.pid)


def test_a_host_and_a_proxy_alone_that_start_at_once_share_it(run: Run, tmp_path: Path) -> None:
    port = free_port()
    alone, host = run("alone", "serve", "--port", str(port)), run("host", "--plain", "--port", str(port))
    wait(lambda: b"proxy up" in (tmp_path / "host").read_bytes(), 30)
    [instance] = instances.running(Paths.of_user())
    if instance.pid != alone.pid:
        assert alone.wait(20) == 3
        assert f"(pid {instance.pid}) serves on port {port} already" in (tmp_path / "alone").read_text()
    assert host.poll() is None


def test_a_proxy_that_starts_while_another_one_ends_waits_for_the_port(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER__DRAIN_SECONDS", "10")
    port = free_port()
    first = run("first", "serve", "--port", str(port))
    wait(lambda: instances.on_port(Paths.of_user(), port) is not None, 20)
    with socket.create_connection(("127.0.0.1", port)) as client:  # an exchange that does not end by itself
        client.sendall(b"POST /demo/v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
        wait(lambda: status(port) == f":{port} 1 live")
        first.terminate()
        wait(lambda: instances.ending_on(Paths.of_user(), port) is not None)
        second = run("second", "serve", "--port", str(port))
        waiting = f"waiting for ccproxy-tui (pid {first.pid}) on port {port}"
        wait(lambda: waiting in (tmp_path / "second").read_text(), 15)
        host = run("host", "--plain", "--port", str(port))
        assert first.wait(15) == 0
    wait(lambda: b"proxy up" in (tmp_path / "host").read_bytes(), 30)
    [instance] = instances.running(Paths.of_user())
    assert instance.pid == second.pid
    assert host.poll() is None


def status(port: int) -> str:
    done = subprocess.run(program("status", "--line"), capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


def test_a_killed_host_that_a_test_forgets_leaves_no_process(tmp_path: Path) -> None:
    """Of the fixtures: whatever has the home of a test ends with it."""
    port = free_port()
    host = subprocess.Popen(program("--plain", "--port", str(port)), stdout=subprocess.DEVNULL)
    wait(lambda: instances.on_port(Paths.of_user(), port) is not None, 20)
    proxy = instances.on_port(Paths.of_user(), port)
    assert proxy is not None
    host.kill()
    host.wait()
    end_leftovers(Path.home())
    wait(lambda: not is_running(proxy.pid))
