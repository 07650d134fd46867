"""Logging in: a browser and a code (PKCE, RFC 7636), or a device code (RFC 8628). No terminal in here.

Both give a change to the document in the provider's credential file, to be made when the file is locked. Endpoints and
scopes: what the vendors' own clients use.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from ccproxy_tui.core.auth.codex_file import jwt_claims
from ccproxy_tui.core.auth.renewal import Ask, Document
from ccproxy_tui.core.clock import Clock

Change = Callable[[Document], Document]

_JSON = [("content-type", "application/json"), ("accept", "application/json")]
_FORM = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]


class LoginFailed(Exception):
    """The message says why, and holds no secret."""


class CodeLogin(Protocol):
    """A login in a browser. `port` and `path` are where the browser comes back to on this machine."""

    url: str
    port: int
    path: str

    async def finish(self, answer: str) -> Change:
        """`answer` is the code, or the whole URL that the browser was sent to. Raises LoginFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoints:
    authorize: str
    token: str
    client_id: str


class _Pkce:
    """State and verifier of one login; both are made new each time."""

    def __init__(self) -> None:
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(24)
        self.challenge = create_s256_code_challenge(self.verifier)

    def code_of(self, answer: str) -> str:
        """The code in what a person pasted: a bare code, `code#state`, or the URL of the callback."""
        text = answer.strip()
        if "?" in text or text.startswith(("http://", "https://")):
            query = parse_qs(urlsplit(text).query)
            if "error" in query:
                raise LoginFailed(f"The login was refused: {query['error'][0][:100]}.")
            code, state = query.get("code", [""])[0], query.get("state", [""])[0]
        else:
            code, _, state = text.partition("#")
            state = state or self.state
        if not code:
            raise LoginFailed("There is no code in that.")
        if not secrets.compare_digest(state.encode(), self.state.encode()):
            raise LoginFailed("That answer belongs to another login (its state does not match).")
        return code


class ClaudeLogin:
    port = 54545
    path = "/callback"

    def __init__(self, endpoints: Endpoints, ask: Ask, clock: Clock) -> None:
        self._endpoints = endpoints
        self._ask = ask
        self._clock = clock
        self._pkce = _Pkce()
        self._redirect = f"http://localhost:{self.port}{self.path}"
        query = {
            "code": "true",
            "client_id": endpoints.client_id,
            "response_type": "code",
            "redirect_uri": self._redirect,
            "scope": "org:create_api_key user:profile user:inference",
            "code_challenge": self._pkce.challenge,
            "code_challenge_method": "S256",
            "state": self._pkce.state,
        }
        self.url = f"{endpoints.authorize}?{urlencode(query)}"

    async def finish(self, answer: str) -> Change:
        request = {
            "grant_type": "authorization_code",
            "code": self._pkce.code_of(answer),
            "state": self._pkce.state,
            "client_id": self._endpoints.client_id,
            "redirect_uri": self._redirect,
            "code_verifier": self._pkce.verifier,
        }
        tokens = await _tokens(self._ask, self._endpoints.token, _JSON, msgspec.json.encode(request))
        lifetime = tokens.get("expires_in")
        expires = self._clock.now() + (lifetime if isinstance(lifetime, int | float) else 8 * 3600)
        oauth = {
            "accessToken": tokens["access_token"],
            "refreshToken": tokens.get("refresh_token") or "",
            "expiresAt": int(expires * 1000),
            "scopes": str(tokens.get("scope") or "user:inference user:profile").split(),
        }

        def change(old: Document) -> Document:
            before = old.get("claudeAiOauth")
            return {**old, "claudeAiOauth": {**(before if isinstance(before, dict) else {}), **oauth}}

        return change


class CodexLogin:
    port = 1455
    path = "/auth/callback"

    def __init__(self, endpoints: Endpoints, ask: Ask, clock: Clock) -> None:
        self._endpoints = endpoints
        self._ask = ask
        self._clock = clock
        self._pkce = _Pkce()
        self._redirect = f"http://localhost:{self.port}{self.path}"
        query = {
            "response_type": "code",
            "client_id": endpoints.client_id,
            "redirect_uri": self._redirect,
            "scope": "openid profile email offline_access",
            "code_challenge": self._pkce.challenge,
            "code_challenge_method": "S256",
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "state": self._pkce.state,
        }
        self.url = f"{endpoints.authorize}?{urlencode(query)}"

    async def finish(self, answer: str) -> Change:
        form = {
            "grant_type": "authorization_code",
            "code": self._pkce.code_of(answer),
            "redirect_uri": self._redirect,
            "client_id": self._endpoints.client_id,
            "code_verifier": self._pkce.verifier,
        }
        tokens = await _tokens(self._ask, self._endpoints.token, _FORM, urlencode(form).encode())
        claims = jwt_claims(tokens.get("id_token"))
        auth = claims.get("https://api.openai.com/auth")
        account = auth.get("chatgpt_account_id") if isinstance(auth, dict) else None
        kept = {name: str(tokens.get(name) or "") for name in ("id_token", "access_token", "refresh_token")}
        now = datetime.fromtimestamp(self._clock.now(), UTC).isoformat().replace("+00:00", "Z")
        fresh = {"tokens": {**kept, "account_id": str(account or "")}, "last_refresh": now}
        return lambda old: {"OPENAI_API_KEY": None, **old, **fresh}


class DeviceLogin:
    """GitHub's: a code is typed in a browser anywhere, and the token is asked for until it is there."""

    def __init__(self, device_url: str, endpoints: Endpoints, ask: Ask, clock: Clock) -> None:
        self._device_url = device_url
        self._endpoints = endpoints
        self._ask = ask
        self._clock = clock
        self._device_code = ""
        self._interval = 5.0
        self.code = ""
        self.url = ""

    async def start(self) -> None:
        """Sets `code` and `url`, for the person. Raises LoginFailed."""
        form = {"client_id": self._endpoints.client_id, "scope": "read:user"}
        status, body = await self._ask("POST", self._device_url, _FORM, urlencode(form).encode())
        answer = _object(body)
        if status >= 400 or not isinstance(answer.get("device_code"), str):
            raise LoginFailed(f"GitHub did not start the login ({status}).")
        self._device_code = answer["device_code"]
        self.code = str(answer.get("user_code") or "")
        self.url = str(answer.get("verification_uri") or "https://github.com/login/device")
        interval = answer.get("interval")
        self._interval = float(interval) if isinstance(interval, int | float) else 5.0

    async def finish(self) -> Change:
        """Waits until the person has typed the code. Raises LoginFailed when it ran out or was refused."""
        form = {
            "client_id": self._endpoints.client_id,
            "device_code": self._device_code,
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        }
        while True:
            await asyncio.sleep(self._interval)
            _, body = await self._ask("POST", self._endpoints.token, _FORM, urlencode(form).encode())
            answer = _object(body)
            match answer.get("error"):
                case "authorization_pending":
                    continue
                case "slow_down":
                    self._interval += 5
                    continue
                case None if isinstance(answer.get("access_token"), str):
                    return _github_change({**answer, "created_at": int(self._clock.now())})
                case error:
                    raise LoginFailed(f"The login was not completed: {str(error or 'GitHub said nothing')[:100]}.")


def _github_change(oauth: Document) -> Change:
    def change(old: Document) -> Document:
        kept = {name: value for name, value in old.items() if name != "copilot_token"}
        return {**kept, "oauth_token": oauth, "account_type": old.get("account_type") or "individual"}

    return change


async def _tokens(ask: Ask, url: str, headers: list[tuple[str, str]], body: bytes) -> Document:
    status, raw = await ask("POST", url, headers, body)
    answer = _object(raw)
    if status >= 400 or not isinstance(answer.get("access_token"), str):
        error = answer.get("error")
        code = error.get("type") if isinstance(error, dict) else error
        raise LoginFailed(f"The code was not accepted ({status} {str(code or '')[:60]}).".replace(" )", ")"))
    return answer


def _object(body: bytes) -> dict[str, Any]:
    try:
        values = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return values if isinstance(values, dict) else {}
