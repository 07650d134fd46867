"""The Claude CLI's own credential file, which belongs to the CLI: `{"claudeAiOauth": {accessToken, ...}}`.

Shape: observed with Claude Code 2.1. `expiresAt` is in milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.paths import Paths

__all__ = ["ClaudeFile", "UnreadableCredentials", "candidates", "parse"]


def candidates(paths: Paths, environ: Mapping[str, str]) -> list[Path]:
    """Where the file may lie, in the order of search."""
    found = [paths.config / "credentials.json"]
    if folder := environ.get("CLAUDE_CONFIG_DIR"):
        found.append(Path(folder) / ".credentials.json")
    found += [
        paths.home / ".claude" / ".credentials.json",
        paths.config.parent / "claude" / ".credentials.json",
    ]
    return found


class ClaudeFile(JsonFile):
    def __init__(self, paths: Paths, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        found = candidates(paths, os.environ if environ is None else environ)
        super().__init__(found, found[-2], parse, clock)


def parse(document: Any, source: str) -> Credential:
    """The file's contents as a credential. Raises UnreadableCredentials when it is something else."""
    oauth = document.get("claudeAiOauth") if isinstance(document, dict) else None
    if not isinstance(oauth, dict) or not isinstance(oauth.get("accessToken"), str) or not oauth["accessToken"]:
        raise UnreadableCredentials(f"{source} holds no claudeAiOauth.accessToken")
    expires = oauth.get("expiresAt")
    scopes = oauth.get("scopes")
    refresh = oauth.get("refreshToken")
    return Credential(
        kind="oauth",
        secret=oauth["accessToken"],
        refresh=refresh if isinstance(refresh, str) else "",
        expires_at=expires / 1000 if isinstance(expires, int | float) and not isinstance(expires, bool) else None,
        scopes=tuple(scope for scope in scopes if isinstance(scope, str)) if isinstance(scopes, list) else (),
        plan=str(oauth.get("subscriptionType") or ""),
        source=source,
    )
