"""Where our files lie: XDG folders named `ccproxy` (https://specifications.freedesktop.org/basedir-spec)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_APP = "ccproxy"
_PRIVATE = "run"  # below the state folder
_DEFAULT_TEMPORARY = Path("/tmp")  # noqa: S108 - check_ours looks whose the folder in it is


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one user. Nothing is created until `private_dir` is called for it.

    Sockets are in `runtime`, or in one of `spare` when something is in their way there.
    """

    config: Path
    cache: Path
    data: Path
    state: Path
    runtime: Path
    home: Path
    spare: tuple[Path, ...] = ()

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
        places = list(dict.fromkeys(_runtimes(env, state)))
        runtime = next(filter(_can_write, places), places[0])
        places.remove(runtime)
        return cls(
            config=folder("XDG_CONFIG_HOME", ".config"),
            cache=folder("XDG_CACHE_HOME", ".cache"),
            data=folder("XDG_DATA_HOME", ".local", "share"),
            state=state,
            runtime=runtime,
            home=home,
            spare=tuple(places),
        )

    @property
    def runtimes(self) -> tuple[Path, ...]:
        """Every folder where a socket may be, the usual one first."""
        return (self.runtime, *self.spare)

    def taken(self) -> str:
        """Return, as a sentence, why sockets are not in their usual folder; nothing when they are."""
        usual = _chosen(os.environ) or _shared_runtime()
        if self.runtime == usual:
            return ""
        why = "belongs to another user and is not used" if _is_foreign(usual) else "can't be written"
        return f"{usual} {why}: sockets are in {self.runtime}."


class NotOurs(PermissionError):
    """A file or folder that another user made or may change. Nothing in it is trusted."""

    def __str__(self) -> str:
        return str(self.args[0])


def _runtimes(env: Mapping[str, str], state: Path) -> Iterator[Path]:
    """Yield the folders for sockets: in XDG_RUNTIME_DIR where it is what the specification asks for ("MUST be owned by
    the user"), else in the temporary folder, unless another user has taken that name there. The others have short
    names, and can be written where nothing else can (a read-only container)."""
    if (chosen := _chosen(env)) is not None and not _is_foreign(chosen):
        yield chosen
    shared = _shared_runtime()
    if _is_free(shared):
        yield shared
    yield state / _PRIVATE
    for short in (_DEFAULT_TEMPORARY, Path("/dev/shm")):  # noqa: S108 - check_ours looks whose the folder in it is
        if short.is_dir() and _is_free(short / shared.name):
            yield short / shared.name
    if _is_ours(session := Path(f"/run/user/{os.getuid()}")):  # of programs with XDG_RUNTIME_DIR, unlike this one
        yield session / _APP


def _chosen(env: Mapping[str, str]) -> Path | None:
    folder = Path(env.get("XDG_RUNTIME_DIR", ""))
    return folder / _APP if folder.is_absolute() and _is_ours(folder) else None


def _shared_runtime() -> Path:
    chosen = Path(os.environ.get("TMPDIR", ""))
    return (chosen if chosen.is_absolute() else _DEFAULT_TEMPORARY) / f"{_APP}-{os.getuid()}"


def _is_foreign(folder: Path) -> bool:
    try:
        check_ours(folder)
    except NotOurs:
        return True
    except OSError:
        return False
    return False


def _is_free(folder: Path) -> bool:
    return _is_ours(folder) or not os.path.lexists(folder)


def _can_write(folder: Path) -> bool:
    """Return whether the folder can be written, or be made where it is missing."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


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


def readable(path: Path | str) -> str:
    """Return a path as text for screens and JSON; names that are not UTF-8 have their bytes spelled out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_ours(path: Path) -> bytes:
    """Return the content of a file of this user's. Raises NotOurs for another user's file or link, OSError."""
    with open(path, "rb", opener=_open_no_link) as file:
        info = os.fstat(file.fileno())
        if info.st_uid != os.getuid() or not stat.S_ISREG(info.st_mode):
            raise NotOurs(f"{path} is no file of this user's, so it is not read.")
        return file.read()


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe in its place must not hold us up
