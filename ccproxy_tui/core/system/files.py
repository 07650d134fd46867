"""Writing files so that a crash, a full disk or a second writer never leaves half of one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"[0-9a-f]{12}(?:\.([0-9a-f]{32}))?\.tmp")  # after the name of the file
_TURN_SECONDS = 10.0
_POLL = 0.02


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Hold the right to change files of `folder`, among our programs. It blocks: for a thread.

    The folder itself is locked (flock), so that nothing is left in it. One that this user may not list, and one of a
    file system without locks, can't be. Raises OSError when another program keeps it.
    """
    with ExitStack() as held:
        with suppress(PermissionError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, descriptor)  # frees the lock
            _lock(descriptor, folder)
        yield


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another program is changing it", str(folder)) from None
            time.sleep(_POLL)
        except OSError:
            return None


def replace_file(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Put `data` in place of the file at `path`, all or nothing.

    A symlink stays and its target is replaced. The mode of an existing file is kept unless `mode` is given; a new file
    gets 0600. Raises OSError and leaves the old file as it was.
    """
    sweep(path)
    with Room(path, len(data), mode=mode) as room:
        room.fill(data)


def content_of(path: Path) -> bytes | None:
    """Return what the file holds, or None when there is none. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def unlink_link(path: Path) -> None:
    """Remove a symlink at `path`, so that a write does not go where it leads. Raises OSError."""
    if path.is_symlink():
        path.unlink()


class Room:
    """Space on the disk for the next content of a file, reserved and synced before the content is known.

    A context manager: what was not filled is removed. It is locked as long as its writer lives, so that others know
    what a killed one has left. Raises OSError when there is no space, or no right to write.
    """

    def __init__(self, path: Path, size: int, *, mode: int | None = None, follows: str = "") -> None:
        """`follows` is a mark (32 hex digits) of what the file has now, for a program that finds what was left."""
        self._follows = follows and f".{follows}"
        self._target = path.resolve()
        self._mode = _mode_of(self._target) if mode is None else mode
        self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()
        try:
            self._write(os.urandom(size))  # zeros would be compressed away by some file systems
            os.fsync(self._descriptor)
        except BaseException:  # Ctrl+C, too: nothing must stay behind
            self.release()
            raise

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._temporary = self._target.parent / f".{self._target.name}.{secrets.token_hex(6)}{self._follows}.tmp"
        self._descriptor = os.open(self._temporary, flags, 0o600)
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if not os.fstat(self._descriptor).st_nlink:  # it was swept before it was locked
            os.close(self._descriptor)
            self._open()

    def _write(self, data: bytes) -> None:
        with os.fdopen(os.dup(self._descriptor), "r+b") as file:
            file.seek(0)
            file.write(data)
            file.truncate()

    def fill(self, data: bytes) -> None:
        """Put `data` in place of the file, over the space that is held for it. Raises OSError."""
        self._finish(data)
        self._temporary.replace(self._target)
        self._done()

    def fill_over(self, before: bytes | None, data: bytes) -> bool:
        """As `fill`, unless the file holds something else than `before` by now (None: there was none).

        Return whether it was filled. Raises OSError.
        """
        self._finish(data)
        if content_of(self._target) != before:
            return False
        self._temporary.replace(self._target)
        self._done()
        return True

    def fill_first(self, data: bytes) -> None:
        """Put `data` where the file would be, unless there is one by now. Raises OSError."""
        self._finish(data)
        with suppress(FileExistsError):
            os.link(self._temporary, self._target)
        self.release()
        _sync_folder(self._target.parent)

    def _finish(self, data: bytes) -> None:
        self._write(data)
        os.fchmod(self._descriptor, self._mode)
        os.fsync(self._descriptor)

    def _done(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        _sync_folder(self._target.parent)

    def release(self) -> None:
        """Give the space back, unless it was filled. What can't be removed now is swept later."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def sweep(path: Path) -> None:
    """Remove what writers of `path` left behind when they were killed: it may hold a secret."""
    for left in leftovers(path):
        with suppress(OSError), _held(left):
            left.unlink(missing_ok=True)


def is_interrupted(path: Path) -> bool:
    """Return whether a writer of `path` was killed, and left behind what was to be its content."""
    for left in leftovers(path):
        with suppress(OSError), _held(left):
            return True
    return False


@contextmanager
def _held(left: Path) -> Iterator[None]:
    """Hold a temporary file. Raises BlockingIOError while its writer lives, and holds it; another OSError."""
    descriptor = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def leftovers(path: Path) -> list[Path]:
    """Return the temporary files of writers of `path`: left behind when they were killed, unless they still live.

    Only files that this user owns: another one may have put something into a folder that both can write.
    """
    target = path.resolve() if path.is_symlink() else path
    start = f".{target.name}."
    try:
        with os.scandir(target.parent) as entries:
            found = [one for one in entries if one.name.startswith(start) and _is_temporary(one, start)]
    except OSError:
        return []
    return sorted(Path(one.path) for one in found)


def _is_temporary(entry: os.DirEntry[str], start: str) -> bool:
    if not _TEMPORARY.fullmatch(entry.name, len(start)):
        return False
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid()


def followed_by(left: Path) -> str:
    """Return the mark of what the file had when a temporary file was made; empty when none was given."""
    found = _TEMPORARY.search(left.name)
    return (found[1] or "") if found else ""


def _mode_of(target: Path) -> int:
    return stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o600


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; some file systems do not support it, which is no reason to fail."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
