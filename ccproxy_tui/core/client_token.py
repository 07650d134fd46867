"""The token of this install for its clients: what they send where the system does not say which user connects."""

from __future__ import annotations

import secrets
from pathlib import Path

from ccproxy_tui.core.settings.models import Security
from ccproxy_tui.core.system.files import replace_file
from ccproxy_tui.core.system.paths import Paths, private_dir, read_ours
from ccproxy_tui.core.system.peers import tcp_lookup

_FILE = "client-token"
_LENGTH = 32


def client_token_file(paths: Paths) -> Path:
    return paths.state / _FILE


def client_token(paths: Paths) -> str:
    """Return the token: random, made once, readable by this user alone. Raises OSError."""
    path = client_token_file(paths)
    try:
        token = read_ours(path).decode("ascii", "replace").strip()
    except FileNotFoundError:
        token = ""
    if len(token) >= _LENGTH:
        return token
    token = secrets.token_urlsafe(_LENGTH)
    private_dir(paths.state)
    replace_file(path, token.encode(), mode=0o600)
    return token


def is_wanted(security: Security) -> bool:
    """Return whether clients on loopback must send a token of this install.

    No other token is configured, and the settings ask for it or the users of this machine can't be told apart.
    """
    return not security.token and (security.peer_check == "token" or tcp_lookup() is None)
