"""What a line of descent says: by which agent a process was started, at which terminal it stands, for whom it asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ccproxy_tui.core.system.ancestry import (
    Relative,
    agent_above,
    agent_of,
    describe,
    line_of,
    process_of,
    program_of,
    read_ps,
    runs,
    terminal_of,
)
from ccproxy_tui.core.system.processes import Process

PROXY = 900


def one(pid: int, name: str, *, session: int = 0, tty: str = "") -> Relative:
    return Relative(pid, f"t{pid}", 0, session or pid, tty, f"/usr/bin/{name}")


INIT = one(1, "systemd")
SERVER = one(40, "tmux")
SHELL = one(50, "bash", tty="pts/3")
CLAUDE = one(60, "claude", session=50, tty="pts/3")
CODE = one(45, "code")
MANAGER = one(30, "systemd")
OWN_LINE = {one(PROXY, "python3").process, one(80, "emacs").process, INIT.process}


def at_shell(pid: int, name: str) -> Relative:
    return one(pid, name, session=50, tty="pts/3")


@pytest.mark.parametrize(
    ("line", "agent"),
    [
        ([one(70, "python3"), one(65, "sh"), CLAUDE, SHELL, SERVER, INIT], CLAUDE),
        ([at_shell(70, "python3"), CLAUDE, SHELL, SERVER, INIT], CLAUDE),
        ([one(70, "python3"), one(65, "uv"), one(64, "zsh"), CLAUDE, SHELL, SERVER, INIT], CLAUDE),
        ([one(70, "python3"), one(65, "sh"), one(64, "claude"), CODE, INIT], one(64, "claude")),
        ([at_shell(70, "python3"), SHELL, SERVER, INIT], None),  # `ask` in the user's own shell: tmux is no agent
        ([at_shell(70, "python3"), at_shell(66, "bash"), SHELL, SERVER, INIT], None),  # nor is it for their script
        ([one(70, "python3"), one(65, "sh"), MANAGER, INIT], None),  # a service
        ([one(70, "python3"), one(65, "sh"), INIT], None),
        ([one(70, "python3"), one(PROXY, "python3"), SHELL, INIT], None),  # the proxy itself
        ([one(70, "python3"), one(90, "bash"), one(80, "emacs"), INIT], None),  # it has started the proxy, too
        ([one(70, "python3")], None),
        ([], None),
    ],
)
def test_who_asks(line: list[Relative], agent: Relative | None) -> None:
    assert agent_of(line, OWN_LINE) == (agent.process if agent is not None else None)


def test_a_tool_that_asks_over_tcp_is_the_agent_itself() -> None:
    assert agent_of([CLAUDE, SHELL, SERVER, INIT], OWN_LINE, itself=True) == CLAUDE.process
    assert agent_of([one(80, "emacs"), INIT], OWN_LINE, itself=True) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([one(70, "curl"), one(65, "bash"), CLAUDE, SHELL, INIT], "the agent claude (pid 60) started it"),
        ([CLAUDE, SHELL, INIT], "it is an agent itself"),
        ([one(70, "curl"), one(PROXY, "python3"), SHELL, INIT], "an agent of this proxy started it"),
        ([one(70, "curl", session=60), INIT], "it comes from the session of an agent"),
        ([at_shell(70, "python3"), SHELL, SERVER, INIT], ""),
        ([one(PROXY, "python3"), SHELL, INIT], ""),
        ([one(70, "curl"), Relative(60, "later", 50, 50, "pts/3", "/usr/bin/vim"), SHELL], ""),  # the number was reused
    ],
)
def test_who_comes_from_an_agent(line: list[Relative], words: str) -> None:
    assert agent_above(line, PROXY, {CLAUDE.process}) == words


@pytest.mark.parametrize(
    ("line", "terminal"),
    [
        ([at_shell(70, "python3"), SHELL, SERVER, INIT], "pts/3"),
        ([one(70, "python3", tty="pts/9")], "pts/9"),  # `docker exec -it`: the leader itself
        ([at_shell(70, "python3"), at_shell(66, "sudo"), SHELL], "pts/3"),
        ([at_shell(70, "python3"), INIT], ""),  # an orphan that kept the terminal
        ([one(70, "python3"), CLAUDE, SHELL], ""),
        ([], ""),
    ],
)
def test_who_stands_at_a_terminal(line: list[Relative], terminal: str) -> None:
    assert terminal_of(line) == terminal


def test_the_system_knows_this_process_and_where_it_comes_from() -> None:
    line = line_of(os.getpid())
    assert (line[0].pid, line[1].pid, line[0].session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert line[0].executable == os.path.realpath(sys.executable)
    assert describe(line).startswith(f"pid {os.getpid()}, /")
    assert process_of(os.getpid()) == line[0].process
    assert runs(line[0].process)
    assert not runs(Process(os.getpid(), "another time"))
    assert line_of(2**22 + 1) == []


def test_a_process_that_has_ended_does_not_run() -> None:
    child = subprocess.Popen(["sleep", "60"])
    found = process_of(child.pid)
    assert found is not None
    assert runs(found)
    child.kill()
    child.wait()
    assert not runs(found)


def test_a_front_end_is_named_by_its_arguments() -> None:
    code = "import sys, time; print(flush=True); sys.stdin.read()"
    for arguments, name in [
        (["ccproxy-tui"], "screens"),
        (["/opt/x/ccproxy-tui", "attach", "8000"], "screens"),
        (["ccproxy-tui", "--plain"], "plain lines"),
        (["ccproxy-tui", "permission-handler", "--port", "1"], "permission-handler"),
        (["/x/ccproxy_tui/__main__.py", "attach"], "screens"),
        (["curl"], "python"),
    ]:
        child = subprocess.Popen([sys.executable, "-S", "-c", code, *arguments], stdin=-1, stdout=-1)
        assert child.stdout is not None
        child.stdout.readline()
        assert program_of(child.pid, line_of(child.pid)).startswith(name)
        child.communicate()


def test_ps_is_read_where_there_is_no_proc() -> None:
    text = """    1     0 ??       Thu Nov 26 07:11:49 2026     /sbin/launchd
  501     1 ??       Thu Nov 26 07:12:00 2026     /Applications/My Terminal.app/Contents/MacOS/Terminal
  502   501 ttys003  Thu Nov 26 07:12:01 2026     -zsh
  503   502 ttys003  Thu Nov 26 07:12:02 2026     /usr/bin/python3
nonsense
"""
    table = read_ps(text, lambda pid: {503: 502}.get(pid, pid))
    assert table[501].name == "Terminal"
    line = [table[503], table[502], table[501], table[1]]
    assert [one.parent for one in line] == [502, 501, 1, 0]
    assert terminal_of(line) == "ttys003"
    assert table[503].process == Process(503, "Thu Nov 26 07:12:02 2026")
