"""The Codex CLI's own credential file, which belongs to the CLI: `{"tokens": {access_token, account_id, ...}}`.

With an API key instead of a login it is `{"OPENAI_API_KEY": "sk-..."}`. Shape: observed with Codex CLI 0.1xx. The
tokens are JWTs; their times, plan and account are read, unchecked.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.paths import Paths

_CLAIMS = "https://api.openai.com/auth"
_KEY = "OPENAI_API_KEY"
KEYS = ("tokens", "last_refresh", _KEY)


class CodexFile(JsonFile):
    def __init__(self, paths: Paths, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        found = candidates(paths, os.environ if environ is None else environ)
        super().__init__(found, found[0], parse, clock, keys=KEYS)


def candidates(paths: Paths, environ: Mapping[str, str]) -> list[Path]:
    """Where the file may lie, in the order of search."""
    folders = [Path(folder)] if (folder := environ.get("CODEX_HOME")) else []
    return [place / "auth.json" for place in (*folders, paths.home / ".codex")]


def parse(document: Any, source: str) -> Credential:
    """The file's contents as a credential. Raises UnreadableCredentials when it is something else."""
    tokens = document.get("tokens") if isinstance(document, dict) else None
    access = tokens.get("access_token") if isinstance(tokens, dict) else None
    if not isinstance(tokens, dict) or not isinstance(access, str) or not access:
        key = document.get(_KEY) if isinstance(document, dict) else None
        if isinstance(key, str) and key:
            return Credential("api_key", key, plan="API key", source=source, renewable=False)
        raise UnreadableCredentials(f"{source} holds neither tokens.access_token nor {_KEY}")
    claims = jwt_claims(access)
    identity = {**claims, **jwt_claims(tokens.get("id_token"))}
    told = identity.get(_CLAIMS)
    auth = told if isinstance(told, dict) else {}
    expires = claims.get("exp")
    refresh = tokens.get("refresh_token")
    return Credential(
        kind="oauth",
        secret=access,
        refresh=refresh if isinstance(refresh, str) else "",
        expires_at=float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None,
        plan=str(auth.get("chatgpt_plan_type") or ""),
        source=source,
        account=str(tokens.get("account_id") or auth.get("chatgpt_account_id") or ""),
    )


def jwt_claims(token: object) -> dict[str, Any]:
    """What a JWT says, unchecked; nothing when it is none."""
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3:
        return {}
    try:
        return read_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
