"""Values of settings for someone who decides about them: whole, on one line, safe for a terminal. Pure.

A secret is masked by the name of its key and the look of its value. A program, its arguments and the host of an address
are never masked: they are what the decision is about.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ccproxy_tui.core.settings.masked import MASKED
from ccproxy_tui.core.text.escape import escape_line

_SECRET_NAME = re.compile(
    r"(token|secret|passwor[dt]|passwd|passphrase|credentials?|authorization|cookie|(api|access|private|auth)[-_]?key)$",
    re.IGNORECASE,
)
_SECRET_LOOK = re.compile(r"(?:(?:bearer|basic|token)\s+)?[A-Za-z0-9_+=][A-Za-z0-9_+/=.~:-]{3,}", re.IGNORECASE)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RUNS = frozenset({"command", "args", "cli_path", "hooks"})
# No backslash: for a browser's reader of URLs the host ends there, and what follows is no user's name.
_USERINFO = re.compile(r"(://)[^/?#\\\s@]+(?=@[^/?#\\\s@]+(?:[/?#:]|$))")


def key_text(path: tuple[str, ...]) -> str:
    """Return the name of a setting with its parts told apart: one that holds a dot is quoted, as in TOML."""
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path)


def shown(path: tuple[str, ...], value: Any, *, secret: bool = False) -> str:
    """Return the value of the setting `path` as one line; `secret` masks it whatever it looks like."""
    if secret and value not in (None, ""):
        return MASKED
    value = _masked(path, value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return escape_line(text)


def _masked(path: tuple[str, ...], value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _masked((*path, str(key)), inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(path, inner) for inner in value]
    if not isinstance(value, str) or not _RUNS.isdisjoint(path):
        return value
    if path and _SECRET_NAME.search(path[-1]) and _SECRET_LOOK.fullmatch(value):
        return MASKED
    return _USERINFO.sub(rf"\1{MASKED}", value)


def holds_secret(path: tuple[str, ...], value: Any, *, secret: bool = False) -> bool:
    """Return whether `shown` masks anything of it."""
    return MASKED in shown(path, value, secret=secret) and MASKED not in str(value)
