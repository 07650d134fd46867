"""A login on the disk: the file that a tool owns and proxies share, and the family of tokens that the vendor knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation.disk import Disk
from tests.simulation.vendor import Family, Vendor, jwt_end


class Login:
    """`kind` is "claude" or "codex"; `now` gives the time by the machine's wall clock, right or wrong."""

    def __init__(self, kind: str, path: Path, vendor: Vendor, disk: Disk, now: Callable[[], float]) -> None:
        self.kind = kind
        self.path = path
        self._vendor, self._disk, self._now = vendor, disk, now
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seen: tuple[Any, tuple[str, str, float]] = None, ("", "", 0.0)
        self.since = 0.0  # when the file was first found to be as it is now
        self.family: Family
        self.signed_out = False
        self.sign_in()

    def sign_in(self) -> None:
        """The user logs in with the tool: other tokens, at once."""
        self.signed_out = False
        self.family = self._vendor.found(jwt=self.kind == "codex", lockless=self.kind == "codex")
        self.write(self._vendor.tokens(self.family, self._now()))

    def sign_out(self) -> None:
        self.signed_out, self.family.excuse = True, "the user has logged out"
        self._put({})

    def write(self, tokens: dict[str, Any]) -> None:
        """Keep what the vendor sent, as the tool does: another file in the place of the old one."""
        if self.kind == "codex":
            kept = {"access_token": tokens["access_token"], "refresh_token": tokens["refresh_token"]}
            self._put({"OPENAI_API_KEY": None, "tokens": {**kept, "account_id": "a"}, "last_refresh": ""})
            return
        oauth = {"accessToken": tokens["access_token"], "refreshToken": tokens["refresh_token"]}
        ends = int((self._now() + tokens["expires_in"]) * 1000)
        self._put({"claudeAiOauth": {**oauth, "expiresAt": ends, "scopes": [], "subscriptionType": "max"}, "other": 1})

    def _put(self, document: dict[str, Any]) -> None:
        temporary = self.path.with_name("tool.tmp")
        temporary.write_text(json.dumps(document))
        temporary.replace(self.path)

    def read(self) -> tuple[str, str, float]:
        """The access token, the refresh token and when the file has it that the first one ends."""
        try:
            info = self.path.stat()
            if self._seen[0] != (info.st_mtime_ns, info.st_ino):
                self.since = asyncio.get_running_loop().time()
                self._seen = (info.st_mtime_ns, info.st_ino), self._parse(json.loads(self.path.read_text()))
        except (OSError, ValueError):
            return "", "", 0.0
        return self._seen[1]

    def _parse(self, document: dict[str, Any]) -> tuple[str, str, float]:
        if self.kind == "codex":
            tokens = document.get("tokens") or {}
            access = tokens.get("access_token", "")
            return access, tokens.get("refresh_token", ""), jwt_end(access)
        oauth = document.get("claudeAiOauth") or {}
        return oauth.get("accessToken", ""), oauth.get("refreshToken", ""), oauth.get("expiresAt", 0) / 1000
