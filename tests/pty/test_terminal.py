"""The real program in a real terminal: signals, crashes, orphans, exit statuses, what is left on the screen."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.pty.terminal import RESTORE_MARKS, Terminal, children_of, is_running, program

pytestmark = [pytest.mark.pty, pytest.mark.timeout(90)]

Start = Callable[..., Terminal]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts the program in a terminal; whatever it leaves behind is ended after the test."""
    monkeypatch.setenv("PROVIDERS__DEMO__ASKS", "false")  # the tests ask themselves
    opened: list[Terminal] = []

    def begin(*arguments: str, command: Sequence[str] = program(), **options: Any) -> Terminal:
        terminal = Terminal([*command, *arguments], **options)
        opened.append(terminal)
        return terminal

    (Path.home() / ".local/state/ccproxy").mkdir(parents=True)
    (Path.home() / ".local/state/ccproxy/screens.json").write_text('{"welcomed": true}')
    yield begin
    for terminal in opened:
        terminal.close()
    for instance in instances.running(Paths.of_user()):
        os.kill(instance.pid, signal.SIGKILL)
        wait(lambda pid=instance.pid: not is_running(pid))


def wait(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def up(start: Start, *arguments: str, **options: Any) -> tuple[Terminal, int, int]:
    """A running demo: its terminal, the proxy's pid, its port."""
    port = free_port()
    terminal = start(*arguments, "--port", str(port), **options)
    terminal.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
    instance = instances.on_port(Paths.of_user(), port)
    assert instance is not None
    terminal.wait_for(f":{port}")
    return terminal, instance.pid, port


def health(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=3) as answer:
        return str(json.load(answer)["status"])


def is_restored(terminal: Terminal) -> bool:
    """The last mode changes left the terminal as a shell wants it."""
    return all(
        bytes(terminal.output).rfind(mark) > bytes(terminal.output).rfind(b"\x1b[?1049h") for mark in RESTORE_MARKS
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGQUIT, 131)])
def test_a_signal_restores_the_terminal_stops_the_proxy_and_gives_its_status(
    start: Start, number: int, status: int
) -> None:
    terminal, proxy, _ = up(start, "demo")
    terminal.kill(number)
    assert terminal.wait_end() == status
    assert is_restored(terminal)
    wait(lambda: not is_running(proxy))
    assert instances.running(Paths.of_user()) == []


def test_frames_and_marks_are_drawn_with_letters_alone_for_those_who_ask(start: Start) -> None:
    terminal, _, _ = up(start, "demo", environ={"UI__SYMBOLS": "ascii"})
    terminal.wait_for("+- streams")
    assert terminal.text.isascii()


def test_the_demo_asks_and_takes_an_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS__DEMO__ASKS", "true")
    terminal, _, _ = up(start, "demo", environ={"PROVIDERS__DEMO__SPEED": "100"})
    terminal.wait_for("! 1 waiting")
    terminal.send("\x07")
    terminal.wait_for("$ pytest -q tests/test_decoder.py 2>&1 | tail -20")
    assert "in /home/demo/streams" in terminal.text
    assert "o opens its stream" in terminal.text
    terminal.quiet(0.9)
    terminal.send("a")
    terminal.wait_for("   1 +class Decoder:")


def test_a_hang_up_leaves_the_proxy_running_and_attach_finds_it(start: Start) -> None:
    terminal, proxy, port = up(start)
    terminal.kill(signal.SIGHUP)
    assert terminal.wait_end() == 129
    assert is_restored(terminal)
    assert health(port) == "pass"
    again = start("attach")
    again.wait_for("streams")
    again.wait_for(f":{port}")
    again.send("q")
    assert again.wait_end() == 0
    assert health(port) == "pass"
    assert is_running(proxy)


def test_a_terminal_that_is_gone_does_the_same(start: Start) -> None:
    terminal, proxy, port = up(start)
    terminal.hang_up()
    wait(lambda: not is_running(terminal.pid))
    assert is_running(proxy)
    assert health(port) == "pass"


def test_on_hangup_stop_stops_the_proxy(start: Start) -> None:
    terminal, proxy, _ = up(start, "--on-hangup", "stop")
    terminal.kill(signal.SIGHUP)
    terminal.wait_end()
    wait(lambda: not is_running(proxy))


@pytest.mark.parametrize("policy", ["keep", "stop"])
def test_killed_screens_leave_no_process_that_policy_does_not_want(start: Start, policy: str) -> None:
    terminal, proxy, _ = up(start, "--on-hangup", policy)
    terminal.kill(signal.SIGKILL)
    terminal.wait_end()
    if policy == "stop":
        wait(lambda: not is_running(proxy))
    else:
        time.sleep(0.5)
        assert is_running(proxy)
        subprocess.run(program("stop", "--now"), check=True, capture_output=True, timeout=20)
        wait(lambda: not is_running(proxy))


def test_a_killed_proxy_is_started_again_and_the_screens_stay(start: Start) -> None:
    terminal, proxy, port = up(start, "demo")
    os.kill(proxy, signal.SIGKILL)
    terminal.wait_for("SIGKILL")
    terminal.wait_for(lambda: (one := instances.on_port(Paths.of_user(), port)) is not None and one.pid != proxy)
    terminal.wait_for("* 127.0.0.1")
    assert len(children_of(terminal.pid)) == 1
    terminal.kill(signal.SIGTERM)
    terminal.wait_end()
    wait(lambda: instances.running(Paths.of_user()) == [])


def test_a_stopped_terminal_does_not_touch_the_proxy(start: Start) -> None:
    terminal, _, port = up(start, "demo")
    terminal.kill(signal.SIGSTOP)
    assert health(port) == "pass"
    terminal.kill(signal.SIGCONT)
    terminal.send("?")
    terminal.wait_for("help: streams")


def test_quitting_asks_and_can_stop_or_leave(start: Start) -> None:
    terminal, proxy, port = up(start, columns=80, lines=24)
    terminal.send("q")
    terminal.wait_for("Leave it running")
    terminal.send("\x1b[C\x1b[C\r")
    assert terminal.wait_end() == 0
    assert is_restored(terminal)
    assert b"the proxy is still running" in terminal.output
    assert health(port) == "pass"
    os.kill(proxy, signal.SIGTERM)
    wait(lambda: not is_running(proxy))
    terminal, proxy, port = up(start, columns=80, lines=24)
    terminal.send("q")
    terminal.wait_for("Stop the proxy")
    terminal.send("\x1b[C\r")
    assert terminal.wait_end() == 0
    wait(lambda: not is_running(proxy))


def test_a_second_start_on_the_same_port_attaches(start: Start) -> None:
    _, proxy, port = up(start, "demo")
    second = start("--port", str(port))
    second.wait_for("attached to it")
    second.send("q")
    assert second.wait_end() == 0
    assert is_running(proxy)


def test_a_port_of_another_program_is_explained(start: Start) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        terminal = start("--port", str(port))
        assert terminal.wait_end() == 3
        assert is_restored(terminal)
        text = terminal.output.decode("utf-8", "replace")
        assert f"Port {port}" in text
        assert f"pid {os.getpid()}" in text
        assert f"--port {port + 1}" in text


def test_an_error_at_the_start_gives_the_terminal_back_and_shows_no_secret(start: Start, tmp_path: Path) -> None:
    breaking = tmp_path / "breaking.py"
    breaking.write_text(
        "import ccproxy_tui.app as a\n"
        "def boom(self):\n"
        "    token = 'sk-ant-oat01-super-secret-0123456789'\n"
        "    raise RuntimeError('broken by the test with ' + token)\n"
        "a.CCProxyApp.on_mount = boom\n"
        "from ccproxy_tui.__main__ import main\nmain()\n"
    )
    port = free_port()
    import sys

    terminal = Terminal([sys.executable, str(breaking), "demo", "--port", str(port), "--on-hangup", "stop"])
    try:
        assert terminal.wait_end() == 1
        assert is_restored(terminal)
        assert b"broken by the test" in terminal.output
        assert b"super-secret" not in terminal.output
    finally:
        terminal.close()
    wait(lambda: instances.running(Paths.of_user()) == [])


def test_a_dumb_terminal_gets_plain_lines(start: Start) -> None:
    terminal, _, _ = up(start, "demo", environ={"TERM": "dumb"})
    terminal.wait_for("stream ")
    assert b"\x1b[" not in terminal.output
    terminal.send("help\n")
    terminal.wait_for("type: list, stop ID")
    terminal.send("quit\n")
    assert terminal.wait_end() == 0


@pytest.mark.parametrize(("columns", "lines"), [(120, 36), (80, 24), (60, 15), (40, 10)])
def test_every_size_shows_rows_and_takes_keys(start: Start, columns: int, lines: int) -> None:
    terminal, _, _ = up(start, "demo", columns=columns, lines=lines)
    terminal.wait_for("haiku")
    terminal.send("\r")
    terminal.wait_for("accepted")
    terminal.send("\x1b")
    terminal.wait_for("state")


def test_resizing_to_nothing_and_back_does_no_harm(start: Start) -> None:
    terminal, _, _ = up(start, "demo")
    for columns, lines in ((1, 1), (5, 2), (20, 5), (300, 100), (80, 24)):
        terminal.resize(columns, lines)
        terminal.kill(signal.SIGWINCH)
        time.sleep(0.2)
        terminal.read()
    terminal.wait_for("streams")


def test_no_color_sends_no_colour(start: Start) -> None:
    terminal, _, _ = up(start, "demo", environ={"NO_COLOR": "1"})
    terminal.wait_for("haiku")
    text = bytes(terminal.output)
    assert b"38;2;" not in text
    assert b"38;5;" not in text


def test_an_idle_screen_writes_nothing(start: Start) -> None:
    terminal, _, _ = up(start)
    terminal.wait_for("No requests yet")
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        terminal.read()
    before = len(terminal.output)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        terminal.read()
    assert len(terminal.output) == before


def test_the_title_is_set_and_put_back(start: Start) -> None:
    terminal, _, port = up(start, "demo")
    terminal.wait_for(lambda: f"\x1b]2;ccproxy :{port}".encode() in terminal.output)
    terminal.kill(signal.SIGTERM)
    terminal.wait_end()
    assert b"\x1b[23;2t" in terminal.output


def test_plain_lines_ask_and_take_an_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS__DEMO__ASKS", "true")
    terminal, _, _ = up(start, "demo", "--plain", environ={"PROVIDERS__DEMO__SPEED": "100"})
    terminal.wait_for("type allow 1, deny 1")
    terminal.send("allow 1\n")
    terminal.wait_for("ASK 1 allowed by you (plain lines")


# --- without a terminal ---


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(*arguments), capture_output=True, text=True, timeout=60, env={**os.environ, **environ}, check=False
    )


def test_the_demo_without_a_terminal_says_what_happens_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        program("demo", "--port", str(free_port())),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "proxy up at http://127.0.0.1:" in done.stdout
    assert "started (anth>demo)" in done.stdout
    assert "done: 200" in done.stdout
    assert "429" in done.stdout
    assert "\x1b" not in done.stdout
    assert instances.running(Paths.of_user()) == []


def test_one_that_is_ended_while_it_starts_takes_its_proxy_along() -> None:
    process = subprocess.Popen(program("demo", "--port", str(free_port())), stdout=-1, stdin=subprocess.DEVNULL)
    wait(lambda: bool(children_of(process.pid)))
    [child] = children_of(process.pid)
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143
    wait(lambda: not is_running(child))


def test_lines_that_nobody_can_answer_keep_no_question_waiting() -> None:
    """Into a pipe: the tool that asks is told at once to ask in its own terminal."""
    port = free_port()
    process = subprocess.Popen(program("demo", "--plain", "--port", str(port)), stdout=-1, stdin=subprocess.DEVNULL)
    try:
        wait(lambda: instances.on_port(Paths.of_user(), port) is not None)
        hook = {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "ls"}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/hooks/claude-code",
            json.dumps(hook).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer) == {}
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_serve_stops_on_a_signal_and_leaves_nothing() -> None:
    port = free_port()
    process = subprocess.Popen(program("serve", "--port", str(port)), stderr=subprocess.PIPE)
    wait(lambda: instances.on_port(Paths.of_user(), port) is not None)
    assert health(port) == "pass"
    process.terminate()
    assert process.wait(5) == 0
    assert instances.running(Paths.of_user()) == []
    assert list(Paths.of_user().runtime.iterdir()) == []
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "environ", "status", "words"),
    [
        (["serve", "--port", "abc"], {}, 2, "server.port (flag --port)"),
        (["--port", "99999"], {}, 2, "65535"),
        (["serve"], {"UI__ON_QUIT": "x"}, 2, "UI__ON_QUIT"),
        (["serve", "--host", "0.0.0.0"], {}, 2, "token"),
        (["serve", "--config", "nowhere.toml"], {}, 2, "nowhere.toml"),
        (["nonsense"], {}, 2, "No such command"),
        (["attach"], {}, 4, "No proxy runs"),
        (["stop"], {}, 4, "No proxy runs"),
        (["status"], {}, 4, ""),
    ],
)
def test_mistakes_are_one_line_and_a_clear_status(
    arguments: list[str], environ: dict[str, str], status: int, words: str
) -> None:
    done = run(*arguments, **environ)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_from_the_command_line() -> None:
    assert run("--version").stdout.startswith("ccproxy-tui, version ")
    assert "server.port = 7 # " not in run("config", "show").stdout
    shown = run("--port", "7", "config", "show", SECURITY__AUTH_TOKEN="hush-hush")
    assert "server.port = 7  # flag --port" in shown.stdout
    assert "hush" not in shown.stdout
    assert json.loads(run("config", "show", "--json").stdout)[0]["key"] == "server.host"
    assert run("config", "init").returncode == 0
    assert run("config", "init").returncode == 1
    assert run("config", "validate").stdout.startswith("ok: ")
    assert json.loads(run("config", "schema").stdout)["properties"]["server"]
    saved = run("generate-token", "--save")
    path = Path.home() / ".config/ccproxy/config.toml"
    assert saved.returncode == 0
    assert "# Address to listen on." in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert run("generate-token", "--save").returncode == 2
    Path("bad.toml").write_text("[server]\nprot = 1\n")
    checked = run("config", "validate", "bad.toml")
    assert (checked.returncode, "bad.toml:2" in checked.stderr) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_the_shell_that_was_named(shell: str) -> None:
    done = run("--show-completion", shell)
    marks = {"bash": "complete -o nosort", "zsh": "#compdef ccproxy-tui", "fish": "complete --no-files"}
    assert marks[shell] in done.stdout


def test_the_token_of_a_flag_is_not_in_the_process_list(start: Start) -> None:
    _, proxy, _ = up(start, "--auth-token", "hidden-token-value")
    assert b"hidden-token-value" not in Path(f"/proc/{proxy}/cmdline").read_bytes()


def test_a_terminal_that_goes_away_below_make_ends_it_too(start: Start) -> None:
    """The leader of the session hears of it, and keeps it to itself."""
    port = free_port()
    leader = Terminal(["sh", "-c", 'trap "" HUP; "$@"; true', "sh", *program("demo", "--port", str(port))])
    leader.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
    leader.wait_for(f":{port}")
    [screens] = children_of(leader.pid)
    leader.hang_up()
    wait(lambda: not is_running(screens))
    leader.close()
