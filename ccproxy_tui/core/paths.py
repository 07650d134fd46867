"""Where our files lie: XDG folders named `ccproxy` (https://specifications.freedesktop.org/basedir-spec)."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_APP = "ccproxy"
_PRIVATE = "run"  # below the state folder


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one user. Nothing is created until `private_dir` is called for it."""

    config: Path
    cache: Path
    data: Path
    state: Path
    runtime: Path
    home: Path

    @classmethod
    def of_user(cls, environ: Mapping[str, str] | None = None) -> Paths:
        env = os.environ if environ is None else environ
        home = Path(env.get("HOME") or Path.home())

        def folder(variable: str, *default: str) -> Path:
            # The spec: relative values are invalid and must be ignored.
            value = env.get(variable, "")
            base = Path(value) if value and Path(value).is_absolute() else home.joinpath(*default)
            return base / _APP

        state = folder("XDG_STATE_HOME", ".local", "state")
        return cls(
            config=folder("XDG_CONFIG_HOME", ".config"),
            cache=folder("XDG_CACHE_HOME", ".cache"),
            data=folder("XDG_DATA_HOME", ".local", "share"),
            state=state,
            runtime=_runtime(env.get("XDG_RUNTIME_DIR", ""), state),
            home=home,
        )

    def taken(self) -> str:
        """Return, as a sentence, which usual folder another user has taken before us; nothing when none is."""
        if self.runtime != self.state / _PRIVATE:
            return ""
        return f"{_shared_runtime()} belongs to another user and is not used: sockets are in {self.runtime}."


class NotOurs(PermissionError):
    """A file or folder that another user made or may change. Nothing in it is trusted."""

    def __str__(self) -> str:
        return str(self.args[0])


def _runtime(chosen: str, state: Path) -> Path:
    """Return the folder of sockets: in XDG_RUNTIME_DIR where it is what the specification asks for ("MUST be owned by
    the user"), else in the temporary folder, unless another user has taken that name there."""
    if chosen and Path(chosen).is_absolute() and _is_ours(Path(chosen)):
        return Path(chosen) / _APP
    shared = _shared_runtime()
    return shared if _is_ours(shared) or not os.path.lexists(shared) else state / _PRIVATE


def _shared_runtime() -> Path:
    return Path(tempfile.gettempdir()) / f"{_APP}-{os.getuid()}"


def _is_ours(folder: Path) -> bool:
    try:
        info = check_ours(folder)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and not info.st_mode & 0o022


def check_ours(path: Path) -> os.stat_result:
    """Return what `path` itself is, no link followed. Raises NotOurs when it belongs to another user or is a link of
    one, OSError when there is nothing."""
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode) and info.st_uid == os.getuid():
        info = path.stat()
    if info.st_uid != os.getuid():
        raise NotOurs(f"{path} belongs to another user (uid {info.st_uid}), so nothing in it is trusted.")
    return info


def check_socket(path: Path) -> None:
    """Raises NotOurs unless the socket at `path` is this user's and no other user can put another one in its place."""
    folder = path.parent.lstat()
    if stat.S_ISLNK(folder.st_mode):
        check_ours(path.parent)
        folder = path.parent.stat()
    kept = not folder.st_mode & 0o022 or folder.st_mode & stat.S_ISVTX
    if folder.st_uid not in (0, os.getuid()) or not kept:
        raise NotOurs(f"{path.parent} can be changed by another user, so the socket in it is not trusted.")
    if not stat.S_ISSOCK(check_ours(path).st_mode):
        raise NotOurs(f"{path} is no socket.")


def private_dir(path: Path) -> Path:
    """Create `path` for this user alone (0700) and return it.

    Raises NotOurs when the folder exists and belongs to another user: a shared temporary folder must not hand our
    socket over.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if check_ours(path).st_mode & 0o077:
        path.chmod(0o700)
    return path


def read_ours(path: Path) -> bytes:
    """Return the content of a file of this user's. Raises NotOurs for another user's file or link, OSError."""
    with open(path, "rb", opener=_open_no_link) as file:
        info = os.fstat(file.fileno())
        if info.st_uid != os.getuid() or not stat.S_ISREG(info.st_mode):
            raise NotOurs(f"{path} is no file of this user's, so it is not read.")
        return file.read()


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe in its place must not hold us up
