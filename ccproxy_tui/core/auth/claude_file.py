"""The Claude CLI's own login, which belongs to the CLI: `{"claudeAiOauth": {accessToken, ...}}`.

It lies in a file; on macOS in the keychain; or it is a long-lived token (`claude setup-token`) in
CLAUDE_CODE_OAUTH_TOKEN. Shape: observed with Claude Code 2.1. `expiresAt` is in milliseconds.
"""

from __future__ import annotations

import getpass
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import Document, JsonFile, UnreadableCredentials
from ccproxy_tui.core.auth.keychain import Keychain, KeychainError
from ccproxy_tui.core.auth.owner_lock import lock_folders
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.files import Room
from ccproxy_tui.core.system.paths import Paths

__all__ = ["ClaudeFile", "UnreadableCredentials", "candidates", "keychain_of", "parse"]

TOKEN_VARIABLE = "CLAUDE_CODE_OAUTH_TOKEN"
KEYS = ("claudeAiOauth",)
_KEYCHAIN = "keychain:"
_KEYCHAIN_RECHECK = 30.0  # seconds; asking the keychain is slow


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


def keychain_of(environ: Mapping[str, str]) -> Keychain:
    """The entry of Claude Code: one for each configuration folder that CLAUDE_CONFIG_DIR names. Observed on macOS."""
    folder = environ.get("CLAUDE_CONFIG_DIR", "")
    suffix = f"-{hashlib.sha256(folder.encode()).hexdigest()[:8]}" if folder else ""
    return Keychain(f"Claude Code-credentials{suffix}", environ.get("USER") or getpass.getuser())


class ClaudeFile(JsonFile):
    """The token of the environment comes before the file, and the file before the keychain."""

    def __init__(
        self,
        paths: Paths,
        clock: Clock,
        environ: Mapping[str, str] | None = None,
        keychain: Keychain | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        found = candidates(paths, environ)
        super().__init__(found, found[-2], parse, clock, keys=KEYS, owner_locks=owner_locks)
        self._token = environ.get(TOKEN_VARIABLE, "").strip()
        self._keychain = keychain
        self._asked = -_KEYCHAIN_RECHECK
        self._kept: Credential | None = None

    def read(self, *, recheck: bool = False) -> Credential | None:
        if self._token:
            return Credential("oauth", self._token, source=TOKEN_VARIABLE, renewable=False)
        found = super().read(recheck=recheck)
        if found is not None or self._keychain is None:
            return found
        return self._read_keychain(self._keychain, recheck=recheck)

    def _read_keychain(self, keychain: Keychain, *, recheck: bool) -> Credential | None:
        now = self._clock.monotonic()
        if now - self._asked >= _KEYCHAIN_RECHECK or recheck:
            text = _ask(keychain)
            self._kept = None if text is None else parse(read_object(text.encode()), _KEYCHAIN + keychain.service)
            self._asked = now
        return self._kept

    @property
    def target(self) -> str:
        """The keychain, when the login lies there and no file does."""
        found = super().target
        if self._keychain is None or Path(found).exists() or _ask(self._keychain) is None:
            return found
        return _KEYCHAIN + self._keychain.service

    def lock_path(self, source: str) -> Path:
        return self._home if source.startswith(_KEYCHAIN) else super().lock_path(source)

    def document(self, source: str) -> Document:
        if not source.startswith(_KEYCHAIN) or self._keychain is None:
            return super().document(source)
        return read_object((_ask(self._keychain) or "").encode())

    def document_or_nothing(self, source: str) -> Document:
        return self.document(source) if source.startswith(_KEYCHAIN) else super().document_or_nothing(source)

    def reserve(self, source: str, document: Document) -> Room | None:
        return None if source.startswith(_KEYCHAIN) else super().reserve(source, document)

    def is_interrupted(self, source: str) -> bool:
        return not source.startswith(_KEYCHAIN) and super().is_interrupted(source)

    def recover(self, source: str) -> None:
        if not source.startswith(_KEYCHAIN):
            super().recover(source)

    def forget(self, source: str) -> None:
        if not source.startswith(_KEYCHAIN):
            super().forget(source)

    def save(self, source: str, document: Document, room: Room | None = None) -> None:
        if not source.startswith(_KEYCHAIN) or self._keychain is None:
            super().save(source, document, room)
            return
        self._asked = -_KEYCHAIN_RECHECK
        try:
            self._keychain.write(msgspec.json.encode(document).decode())
        except KeychainError as error:
            raise OSError(0, str(error)) from error


def owner_locks(path: Path) -> list[Path]:
    """Return the locks of Claude Code for the login at `path`; a file of another name is ours alone."""
    return lock_folders(path) if path.name == ".credentials.json" else []


def _ask(keychain: Keychain) -> str | None:
    try:
        return keychain.read()
    except KeychainError as error:
        raise UnreadableCredentials(str(error)) from error


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
