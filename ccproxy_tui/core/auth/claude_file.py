"""The Claude CLI's own credential file, which belongs to the CLI: `{"claudeAiOauth": {accessToken, ...}}`.

Shape: observed with Claude Code 2.1. `expiresAt` is in milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.paths import Paths

RECHECK = 0.25  # seconds for which the file is not looked at again


class UnreadableCredentials(Exception):
    """There is a credential file, and it can't be used. The message says why."""


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


class ClaudeFile:
    """Reads the first file that exists, again whenever it changes: a token that the CLI rotated is taken up at once."""

    def __init__(self, paths: Paths, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        self._candidates = candidates(paths, os.environ if environ is None else environ)
        self._clock = clock
        self._looked = -RECHECK
        self._stamp: tuple[Path, int, int, int] | None = None
        self._credential: Credential | None = None

    def read(self) -> Credential | None:
        """The credential, or None when there is no file. Raises UnreadableCredentials."""
        now = self._clock.monotonic()
        if self._stamp is not None and now - self._looked < RECHECK:
            return self._credential
        self._looked = now
        for path in self._candidates:
            try:
                info = path.stat()
            except OSError:
                continue
            stamp = (path, info.st_mtime_ns, info.st_size, info.st_ino)
            if stamp != self._stamp:
                self._credential = parse(_load(path), str(path))
                self._stamp = stamp
            return self._credential
        self._stamp = self._credential = None
        return None


def _load(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UnreadableCredentials(f"{path} can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UnreadableCredentials(f"{path} is not valid JSON: {error}") from error


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
