"""Writing files so that a crash, a full disk or a second writer never leaves half of one."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Put `data` in place of the file at `path`, all or nothing.

    A symlink stays and its target is replaced. The mode of an existing file is kept unless `mode` is given; a new file
    gets 0600. Raises OSError and leaves the old file as it was.
    """
    with Room(path, len(data), mode=mode) as room:
        room.fill(data)


def unlink_link(path: Path) -> None:
    """Remove a symlink at `path`, so that a write does not go where it leads. Raises OSError."""
    if path.is_symlink():
        path.unlink()


class Room:
    """Space on the disk for the next content of a file, reserved and synced before the content is known.

    A context manager: what was not filled is removed. Raises OSError when there is no space, or no right to write.
    """

    def __init__(self, path: Path, size: int, *, mode: int | None = None) -> None:
        self._target = path.resolve()
        self._mode = _mode_of(self._target) if mode is None else mode
        self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._temporary = self._target.parent / f".{self._target.name}.{secrets.token_hex(6)}.tmp"
        try:
            self._reserve(size)
        except BaseException:  # Ctrl+C, too: nothing must stay behind
            self.release()
            raise

    def _reserve(self, size: int) -> None:
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(size))  # zeros would be compressed away by some file systems
            file.flush()
            os.fsync(file.fileno())

    def fill(self, data: bytes) -> None:
        """Put `data` in place of the file, over the space that is held for it. Raises OSError."""
        with self._temporary.open("r+b") as file:
            file.write(data)
            file.truncate()
            file.flush()
            os.fchmod(file.fileno(), self._mode)
            os.fsync(file.fileno())
        self._temporary.replace(self._target)
        _sync_folder(self._target.parent)

    def release(self) -> None:
        """Give the space back, unless it was filled."""
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def leftovers(path: Path) -> list[Path]:
    """Return the temporary files that writers of `path` left behind when they were killed."""
    target = path.resolve()
    name = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{12}\.tmp")
    try:
        return [one for one in target.parent.iterdir() if name.fullmatch(one.name) and one.is_file()]
    except OSError:
        return []


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
