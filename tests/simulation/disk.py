"""The disk: real files and real locks, where a system call may fail, or be the last one of its process.

The calls of `os` and `fcntl` through which the product changes files are replaced while a run lasts. They act on the
real files for whoever lives, fail where the disk is full, set times by the simulated clock, and count: a process that
is to die at its n-th call dies there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.simulation.process import CURRENT, Killed, Process


class Disk:
    """`now` gives the time that files are stamped with. `dies_at` has the number of a process's last call."""

    def __init__(self, root: Path, now: Callable[[], float]) -> None:
        self.root = root
        self.full: set[Path] = set()  # folders below which no space is left
        self.had_room_since = 0.0
        self.calls: dict[Process, int] = {}
        self.dies_at: dict[Process, int] = {}
        self.dies_writing: set[Process] = set()  # which are to die before they rename what they write next
        self.makers: dict[Path, Process | None] = {}  # of the folders that there are
        self._now = now
        self._descriptors: dict[int, tuple[Process, str]] = {}
        self.on_call: Callable[[str, str, str], None] = lambda *_: None

    def _enter(self, call: str, path: Any = "") -> Process | None:
        """Count a call of the current process, which may die in it."""
        process = CURRENT.get()
        if process is None:
            return None
        if process.dead:
            raise Killed
        count = self.calls[process] = self.calls.get(process, 0) + 1
        if self.dies_at.get(process, 0) == count:
            self.on_call(process.name, f"killed before {call}", str(path))
            process.kill()
            raise Killed
        return process

    def release(self, process: Process) -> None:
        """Close what a process has open, as the kernel does when it ends: its locks are free."""
        for descriptor in [one for one, (owner, _) in self._descriptors.items() if owner is process]:
            del self._descriptors[descriptor]
            _real_close(descriptor)

    def stamp(self, path: Any) -> None:
        """Set a file's times by the simulated clock."""
        nanoseconds = int(self._now() * 1e9)
        _real_utime(path, ns=(nanoseconds, nanoseconds))

    def is_living(self, folder: Path) -> bool:
        """Whether the program that made a folder lives."""
        maker = self.makers.get(folder)
        return maker is not None and not maker.dead

    def is_full(self, path: Any) -> bool:
        return any(Path(path).is_relative_to(folder) for folder in self.full)

    # --- the calls ---

    def open(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        process = self._enter("open", path) if flags & os.O_CREAT else CURRENT.get()
        descriptor = _real_open(path, flags, mode, **more)
        if process is not None:
            self._descriptors[descriptor] = process, str(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        process = CURRENT.get()
        if process is not None and process.dead:
            raise Killed
        self._descriptors.pop(descriptor, None)
        _real_close(descriptor)

    def dup(self, descriptor: int) -> int:
        copy = _real_dup(descriptor)
        if descriptor in self._descriptors:
            self._descriptors[copy] = self._descriptors[descriptor]
        return copy

    def fdopen(self, descriptor: int, *args: Any, **more: Any) -> Any:
        """The one call by which our code takes space."""
        _, path = self._descriptors.pop(descriptor, (None, ""))
        try:
            process = self._enter("write", path)
            if os.fstat(descriptor).st_size:  # what has space keeps it
                if process is not None:
                    self._note_write(process)
            elif path and self.is_full(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            _real_close(descriptor)
            raise
        return _real_fdopen(descriptor, *args, **more)

    def _note_write(self, process: Process) -> None:
        process.note_write()
        if process in self.dies_writing:
            self.dies_at[process] = self.calls[process] + 1

    def write(self, descriptor: int, data: bytes) -> int:
        """Append: half of it where the disk is full, or where the process dies."""
        process = CURRENT.get()
        if process is not None and not process.dead and self.dies_at.get(process, 0) == self.calls.get(process, 0) + 1:
            _real_write(descriptor, data[: len(data) // 2])
        path = self._descriptors[descriptor][1] if self._enter("write") is not None else ""
        return _real_write(descriptor, data[: len(data) // 2] if path and self.is_full(path) else data)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._enter("truncate")
        _real_ftruncate(descriptor, size)

    def flock(self, descriptor: Any, operation: int) -> None:
        self._enter("flock")
        _real_flock(descriptor, operation)

    def fsync(self, descriptor: Any) -> None:
        self._enter("fsync")

    def replace(self, source: Any, target: Any, **more: Any) -> None:
        self._enter("rename", target)
        _real_replace(source, target, **more)
        self.stamp(target)

    def unlink(self, path: Any, **more: Any) -> None:
        self._enter("unlink", path)
        _real_unlink(path, **more)

    def mkdir(self, path: Any, *args: Any, **more: Any) -> None:
        self._enter("mkdir", path)
        _real_mkdir(path, *args, **more)
        self.makers[Path(path)] = CURRENT.get()
        self.stamp(path)

    def rmdir(self, path: Any, **more: Any) -> None:
        self._enter("rmdir", path)
        _real_rmdir(path, **more)
        self.makers.pop(Path(path), None)

    def utime(self, path: Any, *args: Any, **more: Any) -> None:
        self._enter("utime", path)
        if args or more:
            _real_utime(path, *args, **more)
        else:
            _real_utime(path)  # raises where the path is gone
            self.stamp(path)

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Replace the calls for as long as the context lasts."""
        names = ("open", "close", "dup", "fdopen", "fsync", "replace", "unlink", "mkdir", "rmdir", "utime")
        names += ("write", "ftruncate")
        before = {name: getattr(os, name) for name in names}
        try:
            for name in names:
                setattr(os, name, getattr(self, name))
            fcntl.flock = self.flock
            yield
        finally:
            for name, call in before.items():
                setattr(os, name, call)
            fcntl.flock = _real_flock


_real_open, _real_close, _real_dup, _real_fdopen = os.open, os.close, os.dup, os.fdopen
_real_replace, _real_unlink = os.replace, os.unlink
_real_mkdir, _real_rmdir, _real_utime = os.mkdir, os.rmdir, os.utime
_real_write, _real_ftruncate = os.write, os.ftruncate
_real_flock = fcntl.flock
