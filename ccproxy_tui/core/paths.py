"""Where our files lie: XDG folders named `ccproxy` (https://specifications.freedesktop.org/basedir-spec)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_APP = "ccproxy"


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

        runtime = env.get("XDG_RUNTIME_DIR", "")
        return cls(
            config=folder("XDG_CONFIG_HOME", ".config"),
            cache=folder("XDG_CACHE_HOME", ".cache"),
            data=folder("XDG_DATA_HOME", ".local", "share"),
            state=folder("XDG_STATE_HOME", ".local", "state"),
            runtime=Path(runtime) / _APP
            if runtime and Path(runtime).is_dir()
            else Path(tempfile.gettempdir()) / f"{_APP}-{os.getuid()}",
            home=home,
        )


def private_dir(path: Path) -> Path:
    """Create `path` for this user alone (0700) and return it.

    Raises PermissionError when the folder exists and belongs to somebody else: a shared temporary folder must not
    hand our socket to another user.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = path.stat()
    if info.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    if info.st_mode & 0o077:
        path.chmod(0o700)
    return path
