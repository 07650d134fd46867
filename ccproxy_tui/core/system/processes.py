"""Children of the proxy: that none outlives it, and what they take. Linux tells it by /proc; others tell less."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def find_program(name: str, path: str | None) -> str | None:
    """Return where a program lies on the PATH, without its relative folders: a project must not put its own there."""
    folders = [folder for folder in (path or os.defpath).split(os.pathsep) if os.path.isabs(folder)]  # noqa: PTH117
    return shutil.which(name, path=os.pathsep.join(folders)) if folders else None


def die_with_parent() -> Callable[[], None] | None:
    """For a child to run before its program: it is told to end (SIGTERM) when its parent is gone, however that went.

    None where the system has no such thing; there, a child must notice that its standard input has ended.
    """
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # hook commands, which do without, load this module, too

    prctl = ctypes.CDLL(None).prctl  # found before the fork: afterwards, nothing may be imported or locked

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return ask


# Runs a program in the shell's own process group, which ends when standard input ends. The program gets none of it.
_GUARD = 'exec 3<&0; "$@" </dev/null 3<&- & tool=$!; (read line <&3; kill -9 -$$) & wait $tool'


def guarded(command: Sequence[str]) -> list[str]:
    """Return `command` so that it and all that it starts end with us, also when we are killed.

    Start it as the leader of a session, with a pipe of ours as its standard input. `die_with_parent` reaches a child
    alone, not what that child has started.
    """
    return ["sh", "-c", _GUARD, "sh", *command]


class Process(NamedTuple):
    """A process that runs. `born` (a tick since the system's start) tells it from a later one of the same number."""

    pid: int
    born: str


def birth_of(pid: int) -> str:
    """Return when the process started, as `Process.born`; empty when it has ended, and without /proc."""
    fields = _fields(_PROC / str(pid) / "stat")
    return fields[2] if fields is not None else ""


def adopt_orphans() -> None:
    """Make orphans of our children ours, not init's: whatever an agent leaves behind still descends from this process.

    Linux alone (prctl(2)). They must be reaped (`reap_orphans`).
    """
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(ended_before: frozenset[int]) -> frozenset[int]:
    """Collect adopted processes that have ended. Return those seen for the first time, for the next call.

    A child that we have started ourselves is collected at once by who waits for it, so one that is seen twice is not
    one of those.
    """
    ended = set()
    for task in (_PROC / "self" / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            ended |= {int(pid) for pid in task.read_text().split() if _has_ended(int(pid))}
    for pid in ended & ended_before:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return frozenset(ended - ended_before)


def _has_ended(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def family_of(pid: int) -> list[Process]:
    """A leader of a session and everything that it has started and that still runs. Empty without /proc."""
    found: dict[int, tuple[int, int, str]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        if (fields := _fields(stat)) is not None:
            found[int(stat.parent.name)] = fields
    family = [one for one, (_, session, _) in found.items() if session == pid]
    for one in family:
        family += [child for child, (parent, _, _) in found.items() if parent == one and child not in family]
    return [Process(one, found[one][2]) for one in family]


def kill_all(family: Iterable[Process]) -> None:
    """End them at once; those that are gone already are no error."""
    for one in family:
        fields = _fields(_PROC / str(one.pid) / "stat")
        if fields is not None and fields[2] == one.born:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one.pid, signal.SIGKILL)


def _fields(stat: Path) -> tuple[int, int, str] | None:
    """Parent, session and birth of a process; None when it has just ended."""
    try:
        fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        return int(fields[1]), int(fields[3]), fields[19]
    except (OSError, ValueError, IndexError):
        return None


def memory_of(pid: int) -> int:
    """Bytes that a process takes, with its share of what it shares (PSS); 0 when nobody can tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
