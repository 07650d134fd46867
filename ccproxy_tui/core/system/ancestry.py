"""A process and what it descends from, as the system tells it: who asks, and who decides.

Linux: /proc/PID/stat, exe and environ (proc(5)). Elsewhere: one run of ps(1) and getsid(2). A process can choose its
name, its arguments and its environment; parents, sessions, terminals and start times are the kernel's word.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccproxy_tui.core.system.processes import Process

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "stat").exists()
_DEEPEST = 64  # ancestors; more are made to be tiring
_PS_SECONDS = 5.0

# Programs that run another one on behalf of their parent: the agent is above them.
_SHELLS = "sh bash dash zsh fish ksh mksh ash busybox tcsh csh nu pwsh"
_RUNNERS = frozenset(f"{_SHELLS} env timeout nohup setsid nice ionice stdbuf uv uvx pipx".split())
_MANAGERS = frozenset(("systemd", "launchd", "init"))  # they start everything, the user's terminals as well
# Set by our own agents and by tools for the commands that they run; inherited by all that those start.
AGENT_MARK = "CCPROXY_AGENT"
_MARKS = (AGENT_MARK, "CLAUDECODE", "CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "OPENCODE", "GEMINI_CLI")


@dataclass(frozen=True, slots=True)
class Relative:
    """One process of a line of descent. `tty` is empty without a controlling terminal; `born` as in `Process`."""

    pid: int
    born: str
    parent: int
    session: int
    tty: str
    executable: str

    @property
    def process(self) -> Process:
        return Process(self.pid, self.born)

    @property
    def name(self) -> str:
        return self.executable.removesuffix(" (deleted)").rpartition("/")[2].lstrip("-")  # -bash: a login shell


Line = Sequence[Relative]  # a process, its parent, and so on


def line_of(pid: int) -> list[Relative]:
    """Return the process and its ancestors, the process first; empty when it has ended or the system does not say."""
    find = _in_proc if _HAS_PROC else _by_ps()
    line: list[Relative] = []
    while pid > 0 and len(line) < _DEEPEST and (one := find(pid)) is not None:
        line.append(one)
        pid = one.parent
    return line


def process_of(pid: int) -> Process | None:
    """Return the process that has this number now; None when there is none or the system does not say."""
    if _HAS_PROC:
        found = _in_proc(pid) if pid > 0 else None
        return found.process if found is not None else None
    line = line_of(pid)
    return line[0].process if line else None


def runs(process: Process) -> bool:
    """Return whether it still runs; another process with its number is not it."""
    return process_of(process.pid) == process


def is_unchanged(line: Line) -> bool:
    """Return whether a process and those above it in its session are as they were when the line was read.

    One that was orphaned, runs another program or has left its session is not.
    """
    find = _in_proc if _HAS_PROC else _by_ps()
    return all(find(one.pid) == one for one in _at_terminal(line))


# --- what a line says ---


def agent_of(line: Line, proxy: Collection[Process], *, itself: bool = False) -> Process | None:
    """Return the agent that a hook command or `ask` speaks for: its nearest ancestor that is not a shell or the like.

    `itself` is for tools that ask on their own: they are the agent. `proxy` is the proxy and what it descends from: who
    has started it is no agent of it. None for these, and where the user's own terminal or the system comes first.
    """
    if not line:
        return None
    terminal = line[0].tty
    for one in line if itself else line[1:]:
        crossed = terminal and one.tty != terminal  # from a shell of a terminal to what shows the terminal
        if crossed or one.pid == 1 or one.process in proxy or one.name in _MANAGERS:
            return None
        if one.name not in _RUNNERS:
            return one.process
        terminal = one.tty
    return None


def agent_above(line: Line, proxy: int, agents: Collection[Process]) -> str:
    """Return by which agent a process was started, in words; empty for none.

    Agents of the proxy are its children, and so are their orphans (see `adopt_orphans`). See `mark_of`, too.
    """
    for one in line:
        if one.pid == proxy and one is not line[0]:
            return "an agent of this proxy started it"
        if one.process in agents:
            return f"the agent {one.name} (pid {one.pid}) started it" if one is not line[0] else "it is an agent itself"
    numbers = {agent.pid for agent in agents}
    if any(one.session in numbers for one in line):  # an orphan stays in the session that it was started in
        return "it comes from the session of an agent"
    return ""


def may_be_above(line: Line, agents: Iterable[Process]) -> list[Process]:
    """Return the agents whose numbers are in the line: other processes may have these numbers now."""
    numbers = {one.pid for one in line} | {one.session for one in line}
    return [agent for agent in agents if agent.pid in numbers]


def terminal_of(line: Line) -> str:
    """Return the terminal at which a process stands, such as pts/3; empty without one.

    Its parents must lead to the leader of the terminal's session: an orphan that kept the terminal of the tool that
    left it behind does not count.
    """
    if not line or not line[0].tty:
        return ""
    return line[0].tty if any(one.pid == one.session for one in _at_terminal(line)) else ""


def _at_terminal(line: Line) -> list[Relative]:
    """The part of the line that shares the session of its first process."""
    found: list[Relative] = []
    for one in line:
        if one.session != line[0].session:
            break
        found.append(one)
    return found


def mark_of(line: Line) -> str:
    """Return which mark of an agent a process has in its environment, or one of its session has, in words.

    Empty for none; other users' environments can't be read.
    """
    for one in _at_terminal(line):
        try:
            names = {entry.partition(b"=")[0] for entry in (_PROC / str(one.pid) / "environ").read_bytes().split(b"\0")}
        except OSError:
            continue
        if mark := next((mark for mark in _MARKS if mark.encode() in names), ""):
            return f"{mark} in its environment shows that an agent started it"
    return ""


def describe(line: Line) -> str:
    """Return the facts of a process for the record: number, program, terminal, and what it descends from."""
    if not line:
        return ""
    above = " < ".join(f"{one.name} {one.pid}" for one in line[1:])
    facts = [f"pid {line[0].pid}", line[0].executable, line[0].tty or "no terminal"]
    return ", ".join([*facts, f"from {above}"] if above else facts)


_SUBCOMMANDS = frozenset(("attach", "demo", "permission-handler", "ask", "hook", "stop", "auth", "config"))


def program_of(pid: int, line: Line) -> str:
    """Return the front end that a process is, by its arguments, or its program's name."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        words = []
    at = next((i for i, word in enumerate(words) if word.rpartition("/")[2] in ("ccproxy-tui", "ccproxy_tui")), None)
    if at is None:  # `python -m` shows the path of the module that it runs
        at = next((i for i, word in enumerate(words) if word.endswith("ccproxy_tui/__main__.py")), None)
    if at is None:
        return line[0].name if line else "unknown"
    command = next((word for word in words[at + 1 :] if word in _SUBCOMMANDS), "")
    if command in ("", "attach", "demo"):
        return "plain lines" if "--plain" in words else "screens"
    return command


# --- Linux ---


def _in_proc(pid: int) -> Relative | None:
    folder = _PROC / str(pid)
    try:
        head, _, rest = (folder / "stat").read_bytes().decode("utf-8", "replace").rpartition(")")
        fields = rest.split()
        state, parent, session, tty = fields[0], int(fields[1]), int(fields[3]), int(fields[4])
    except (OSError, ValueError, IndexError):
        return None
    if state in "ZX":
        return None
    try:
        executable = str((folder / "exe").readlink())
    except OSError:  # another user's, or one that is not dumpable
        executable = head.partition("(")[2]
    return Relative(pid, fields[19], parent, session, _terminal_name(tty), executable)


def _terminal_name(number: int) -> str:
    """Return the name of a terminal by its device number (proc(5), tty_nr; Linux's devices.txt)."""
    if number == 0:
        return ""
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    return f"tty{minor}" if major == 4 and minor < 64 else f"tty {major}:{minor}"


# --- others ---


def _by_ps() -> Callable[[int], Relative | None]:
    """Return a look-up in one table of all processes."""
    try:
        done = subprocess.run(
            ["/bin/ps", "-axo", "pid=,ppid=,tty=,lstart=,comm="],
            capture_output=True,
            timeout=_PS_SECONDS,
            check=True,
            env={"LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return lambda _: None
    table = read_ps(done.stdout.decode("utf-8", "replace"), _session_of)
    return table.get


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def read_ps(text: str, session_of: Callable[[int], int]) -> dict[int, Relative]:
    """Return the processes of `ps -axo pid=,ppid=,tty=,lstart=,comm=` by their numbers."""
    found = {}
    for line in text.splitlines():
        fields = line.split(None, 8)
        if len(fields) < 9 or not (fields[0].isdigit() and fields[1].isdigit()):
            continue
        pid, tty = int(fields[0]), "" if fields[2].strip("?-") == "" else fields[2]
        born = " ".join(fields[3:8])
        found[pid] = Relative(pid, born, int(fields[1]), session_of(pid), tty, fields[8])
    return found
