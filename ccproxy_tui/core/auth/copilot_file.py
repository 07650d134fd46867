"""GitHub Copilot's credentials, where the older systems kept them: `{"oauth_token": {...}, "copilot_token": {...}}`.

Shape: observed. `expires_at` of the short-lived Copilot token is in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.paths import Paths

KEYS = ("oauth_token", "copilot_token")


class CopilotFile(JsonFile):
    def __init__(self, paths: Paths, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        found = candidates(paths)
        super().__init__(found, found[1], parse, clock, keys=KEYS)


def candidates(paths: Paths) -> list[Path]:
    """Where the file may lie, in the order of search."""
    return [
        paths.config / "copilot.json",
        paths.config.parent / "copilot" / "credentials.json",
        paths.home / ".config" / "copilot" / "credentials.json",
    ]


def parse(document: Any, source: str) -> Credential:
    """The file's contents as a credential. Raises UnreadableCredentials when it is something else.

    With GitHub's token alone, the Copilot token is one that has ended: it can be fetched. `refresh` is GitHub's.
    """
    values = document if isinstance(document, dict) else {}
    plan = str(values.get("account_type") or "")
    token, oauth = values.get("copilot_token"), values.get("oauth_token")
    secret = token.get("token") if isinstance(token, dict) else None
    given = oauth.get("access_token") if isinstance(oauth, dict) else None
    github = given if isinstance(given, str) else ""
    if not isinstance(token, dict) or not isinstance(secret, str) or not secret:
        if github:
            return Credential("oauth", "", github, expires_at=0.0, plan=plan, source=source)
        raise UnreadableCredentials(f"{source} holds neither copilot_token.token nor oauth_token.access_token")
    expires = token.get("expires_at")
    endpoints = token.get("endpoints")
    api = endpoints.get("api") if isinstance(endpoints, dict) else None
    return Credential(
        kind="oauth",
        secret=secret,
        refresh=github,
        expires_at=float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None,
        plan=plan,
        source=source,
        base_url=api if isinstance(api, str) else "",
    )
