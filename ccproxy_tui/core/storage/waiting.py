"""Rows on their way into the database: a file of each proxy, one JSON line a row, locked as long as that proxy lives.

The database takes one process at a time, is imported late, and may be damaged; a line in a file is quick, and outlives
a proxy that is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path

import msgspec

from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.limits import MB
from ccproxy_tui.core.system.paths import NotOurs, private_dir

_MOST = 64 * MB


class WaitingRows:
    """The file of this proxy in `folder`. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: RowFile | None = None

    def add(self, row: AuditRow) -> None:
        """Append a row, all of it or nothing. Raises OSError, UnicodeError."""
        line = msgspec.json.encode(row) + b"\n"
        if self._file is None or self._file.is_deleted:
            private_dir(self._folder)
            self._file = RowFile.make(self._folder / f"{os.getpid()}-{secrets.token_hex(6)}.jsonl")
        self._file.add(line)

    def rows(self) -> list[AuditRow]:
        """Return the rows of the current file. Raises OSError."""
        return self._file.rows() if self._file is not None else []

    def hand_over(self) -> list[RowFile]:
        """Return the current file, if there is one; the next row begins another."""
        file, self._file = self._file, None
        return [file] if file is not None else []

    def left_behind(self) -> list[RowFile]:
        """Return the files of proxies that have ended."""
        try:
            return [one for one in map(RowFile.take, sorted(self._folder.glob("*.jsonl"))) if one is not None]
        except OSError:
            return []


class RowFile:
    """A file that is locked as long as this is open: no other proxy takes it over."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def make(cls, path: Path) -> RowFile:
        """Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: rows are written twice, which changes nothing
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, descriptor)

    @classmethod
    def take(cls, path: Path) -> RowFile | None:
        """Return the file of a proxy that has ended; None while it runs, this one included, and for one of no proxy."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            _check(os.fstat(descriptor), path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @property
    def is_deleted(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0

    def add(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        if size + len(line) > _MOST:
            raise OSError(errno.EFBIG, f"more than {_MOST // MB} MB of rows wait", str(self._path))
        written = 0
        try:
            written = os.write(self._descriptor, line)
        finally:
            if written < len(line):
                os.ftruncate(self._descriptor, size)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def rows(self) -> list[AuditRow]:
        """Return what it holds; half a line of a proxy that was killed is no row. Raises OSError."""
        data = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        rows = []
        for line in data.splitlines():
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                rows.append(msgspec.json.decode(line, type=AuditRow))
        return rows

    def remove(self) -> None:
        """Delete it: the database has its rows."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()

    def close(self) -> None:
        """Leave it to the next proxy."""
        os.close(self._descriptor)


def _check(info: os.stat_result, path: Path) -> None:
    """Raises NotOurs unless a proxy of this user can have written it."""
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.getuid() or info.st_size > _MOST:
        raise NotOurs(f"{path} is of no proxy of this user.")
