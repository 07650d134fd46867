"""How each provider's token is renewed: a document of its credential file in, the renewed document out.

Shapes of requests and answers: RFC 6749, section 6, and what Anthropic, OpenAI and GitHub were seen to send.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlencode

import msgspec

from ccproxy_tui.core.clock import Clock

Document = dict[str, Any]
Headers = list[tuple[str, str]]
# Method, URL, headers and body to status and body. Raises a ProxyError when nobody answers.
Ask = Callable[[str, str, Headers, bytes], Awaitable[tuple[int, bytes]]]

_MARGIN = 300.0  # a token is renewed this many seconds before it ends


class RenewalRefused(Exception):
    """The login itself is no longer valid. Trying again will not help; logging in will."""


class RenewalFailed(Exception):
    """It did not work this time."""


class Renewal(Protocol):
    margin: float

    async def renew(self, document: Document) -> Document:
        """A copy of the document with new tokens; every other key stays. Raises RenewalRefused or RenewalFailed."""
        ...


class ClaudeRenewal:
    margin = _MARGIN

    def __init__(self, ask: Ask, token_url: Callable[[], str], client_id: Callable[[], str], clock: Clock) -> None:
        self._ask = ask
        self._url = token_url
        self._client_id = client_id
        self._clock = clock

    async def renew(self, document: Document) -> Document:
        oauth = document.get("claudeAiOauth")
        refresh = oauth.get("refreshToken") if isinstance(oauth, dict) else None
        if not isinstance(oauth, dict) or not isinstance(refresh, str) or not refresh:
            raise RenewalRefused("there is no refresh token")
        request = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": self._client_id()}
        headers = [("content-type", "application/json"), ("accept", "application/json")]
        answer = _tokens(*await self._ask("POST", self._url(), headers, msgspec.json.encode(request)))
        expires = self._clock.now() + _seconds(answer.get("expires_in"), 8 * 3600)
        renewed = {
            **oauth,
            "accessToken": answer["access_token"],
            "refreshToken": answer.get("refresh_token") or refresh,
            "expiresAt": int(expires * 1000),
        }
        if isinstance(answer.get("scope"), str):
            renewed["scopes"] = answer["scope"].split()
        return {**document, "claudeAiOauth": renewed}


class CodexRenewal:
    margin = _MARGIN

    def __init__(self, ask: Ask, token_url: Callable[[], str], client_id: Callable[[], str], clock: Clock) -> None:
        self._ask = ask
        self._url = token_url
        self._client_id = client_id
        self._clock = clock

    async def renew(self, document: Document) -> Document:
        tokens = document.get("tokens")
        refresh = tokens.get("refresh_token") if isinstance(tokens, dict) else None
        if not isinstance(tokens, dict) or not isinstance(refresh, str) or not refresh:
            raise RenewalRefused("there is no refresh token")
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "client_id": self._client_id(),
            "scope": "openid profile email",
        }
        headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
        answer = _tokens(*await self._ask("POST", self._url(), headers, urlencode(form).encode()))
        kept = {name: answer[name] for name in ("id_token", "refresh_token") if answer.get(name)}
        now = datetime.fromtimestamp(self._clock.now(), UTC).isoformat().replace("+00:00", "Z")
        renewed = {**tokens, **kept, "access_token": answer["access_token"]}
        return {**document, "tokens": renewed, "last_refresh": now}


class CopilotRenewal:
    """Not a refresh: GitHub's own token, which lasts, is exchanged for a Copilot token, which lasts half an hour."""

    margin = 120.0

    def __init__(self, ask: Ask, token_url: Callable[[], str]) -> None:
        self._ask = ask
        self._url = token_url

    async def renew(self, document: Document) -> Document:
        oauth = document.get("oauth_token")
        github = oauth.get("access_token") if isinstance(oauth, dict) else None
        if not isinstance(github, str) or not github:
            raise RenewalRefused("there is no GitHub token")
        headers = [("authorization", f"token {github}"), ("accept", "application/json")]
        status, body = await self._ask("GET", self._url(), headers, b"")
        answer = _answer(status, body)
        if not isinstance(answer.get("token"), str):
            raise RenewalFailed("GitHub's answer holds no Copilot token")
        return {**document, "copilot_token": answer}


def _tokens(status: int, body: bytes) -> Document:
    answer = _answer(status, body)
    if not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
        raise RenewalFailed("the answer holds no access token")
    return answer


def _answer(status: int, body: bytes) -> Document:
    """A token endpoint's answer. What it says may hold a token, so that nothing of it gets into a message."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    values = answer if isinstance(answer, dict) else {}
    error = values.get("error")
    code = error.get("type") if isinstance(error, dict) else error
    if status == 400 and code in ("invalid_grant", "invalid_request_error", "refresh_token_reused"):
        raise RenewalRefused(f"the login was refused ({status} {code})")
    if status in (401, 403):
        raise RenewalRefused(f"the login was refused ({status})")
    if status >= 400:
        raise RenewalFailed(f"the token endpoint answered {status}")
    if not values:
        raise RenewalFailed("the token endpoint did not answer with JSON")
    return values


def _seconds(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else default
