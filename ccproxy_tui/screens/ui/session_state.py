"""What the screens remember between runs: theme, tab, whether the welcome was seen. Never a dialog."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ccproxy_tui.core.system.files import replace_file


class SessionState(msgspec.Struct, omit_defaults=True):
    theme: str = ""
    tab: str = ""
    welcomed: bool = False
    sort: str = ""
    filter: str = ""
    declined: list[str] = []  # digests of project files that were not trusted, latest last


def load_state(path: Path) -> SessionState:
    """The state as it was left; a fresh one when there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SessionState)
    except (OSError, msgspec.DecodeError):
        return SessionState()


def save_state(path: Path, state: SessionState) -> None:
    """Best effort: a read-only home must not keep anybody from quitting."""
    try:
        replace_file(path, msgspec.json.encode(state), mode=0o600)
    except OSError:
        pass
