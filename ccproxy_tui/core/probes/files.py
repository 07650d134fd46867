"""Files and folders that hold secrets, or that decide what runs: who else can read or change them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ccproxy_tui.core.probes.finding import Finding
from ccproxy_tui.core.system.paths import Paths


def probe_files(paths: Paths, credentials: Iterable[Path]) -> list[Finding]:
    """Return what is open among our own folders and the `credentials` files of the vendors' tools."""
    ours = [paths.config, paths.data, paths.state, paths.cache, paths.runtime]
    inside = [file for folder in (paths.config, paths.data, paths.state, paths.runtime) for file in _files(folder)]
    found = [finding for path in (*ours, *inside, *credentials) if (finding := _look(path)) is not None]
    return found or [Finding("ok", "Only you can read your credentials and our files.")]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.is_dir())
    except OSError:
        return []


def _look(path: Path) -> Finding | None:
    try:
        info = path.stat()
    except OSError:  # not there: nothing to read
        return None
    if info.st_uid not in (os.getuid(), 0):
        return Finding("open", f"{path} belongs to another user (uid {info.st_uid}).", f"Remove {path}.")
    if info.st_mode & 0o022:
        return Finding("open", f"Other users can change {path}.", f"chmod go-w {path}")
    is_folder = stat.S_ISDIR(info.st_mode)
    if info.st_mode & 0o044 and not is_folder and not _is_guarded(path):
        return Finding("open", f"Other users can read {path}.", f"chmod 600 {path}")
    return None


def _is_guarded(path: Path) -> bool:
    """Whether a folder on the way to `path` lets only its owner in."""
    return any(not folder.stat().st_mode & 0o011 and folder.stat().st_uid == os.getuid() for folder in path.parents)
