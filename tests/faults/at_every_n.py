"""An operation whose n-th system call fails, for n = 1, 2, 3 until it is clean: once, from then on, or as a kill.

Each run is a forked process, so that a kill is one (`os._exit`: nothing runs after it, no buffer is written). Calls are
counted where Python code makes them: `os`, `fcntl` and files that are open for writing, whose n-th write is torn.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import fcntl
import io
import json
import os
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

KILLED = 137
_OS = ("open", "fsync", "replace", "rename", "link", "unlink", "rmdir", "mkdir", "fchmod", "chmod", "utime", "write")
MODES = ("once", "from then on", "kill")
ERRORS = {"once": errno.EIO, "from then on": errno.ENOSPC}


@dataclass
class Outcome:
    """What became of a run. `hit` is the call that failed, empty when none was left; `said` is what it returned."""

    mode: str
    n: int
    hit: str = ""
    said: Any = None
    error: str = ""  # type and message
    expected: bool = True  # an OSError, or an error of ours with one line for the user
    killed: bool = False
    calls: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.mode}, call {self.n} ({self.hit}): {self.error or self.said}"


class _Faults:
    def __init__(self, n: int, mode: str, note: Callable[[str], None]) -> None:
        self.n, self.mode, self.note = n, mode, note
        self.count = 0
        self.hit = ""
        self.on = True

    def step(self, name: str, torn: Callable[[], object] | None = None) -> None:
        if not self.on:
            return
        self.count += 1
        if self.count < self.n or (self.count > self.n and self.mode != "from then on"):
            return
        self.hit = self.hit or name
        self.note(name)
        if torn is not None:
            torn()
        if self.mode == "kill":
            os._exit(KILLED)
        code = ERRORS[self.mode]
        raise OSError(code, os.strerror(code))


class _File:
    """A file that is open for writing."""

    def __init__(self, file: Any, faults: _Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._faults.step("write", half)
        return self._file.write(data)

    def truncate(self, *arguments: Any) -> Any:
        self._faults.step("truncate")
        return self._file.truncate(*arguments)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _patch(faults: _Faults) -> None:
    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **more: Any) -> Any:
            faults.step(name)
            return real(*arguments, **more)

        setattr(module, name, call)

    real_open = io.open

    def open_file(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if not isinstance(file, int):
            faults.step(f"open {mode}")
        opened = real_open(file, mode, *arguments, **more)
        return _File(opened, faults) if set(mode) & set("wax+") else opened

    for name in _OS:
        counted(os, name)
    counted(fcntl, "flock")
    io.open = builtins.open = open_file


def attempt(operation: Callable[[], Any], n: int, mode: str, expects: tuple[type[Exception], ...]) -> Outcome:
    """Run `operation` (sync, or a coroutine function) in a process of its own; its n-th call fails."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        write = os.write
        _run(
            operation,
            _Faults(n, mode, lambda name: write(writing, f"hit {name}\n".encode()) and None),
            writing,
            expects,
        )
    os.close(writing)
    with open(reading, "rb") as pipe:
        lines = pipe.read().decode().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    outcome = Outcome(mode, n, killed=status == KILLED)
    outcome.calls = [line[4:] for line in lines if line.startswith("hit ")]
    outcome.hit = outcome.calls[0] if outcome.calls else ""
    for line in lines:
        if line.startswith("{"):
            told = json.loads(line)
            outcome.said, outcome.error, outcome.expected = told["said"], told["error"], told["expected"]
    assert outcome.killed or status == 0, f"{outcome}: exit status {status}"
    return outcome


def _run(operation: Callable[[], Any], faults: _Faults, writing: int, expects: tuple[type[Exception], ...]) -> None:
    told: dict[str, Any] = {"said": None, "error": "", "expected": True}
    write = os.write
    status = 0
    try:
        _patch(faults)
        try:
            said = operation()
            told["said"] = asyncio.run(_awaited(said)) if isinstance(said, Awaitable) else said
        except Exception as error:
            told["error"] = f"{type(error).__name__}: {error}"
            told["expected"] = isinstance(error, expects) and "\n" not in str(error)
            if not told["expected"]:
                told["error"] += f"\n{traceback.format_exc()}"
        faults.on = False
        write(writing, json.dumps(told).encode() + b"\n")
    except BaseException:
        status = 1
        traceback.print_exc()
    finally:
        os._exit(status)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def runs(
    prepare: Callable[[], object],
    operation: Callable[[], Any],
    *expects: type[Exception],
    most: int = 200,
    modes: Sequence[str] = MODES,
) -> Iterator[Outcome]:
    """Yield the outcome of each run, after `prepare`, in each mode, until a run has no call left to fail."""
    for mode in modes:
        for n in range(1, most):
            prepare()
            outcome = attempt(operation, n, mode, (OSError, *expects))
            assert outcome.expected, str(outcome)
            yield outcome
            if not outcome.hit:
                assert not outcome.error, str(outcome)
                break
        else:
            raise AssertionError(f"not clean after {most} calls")
