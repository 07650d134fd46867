"""How each provider's token is renewed: a document of its credential file in, the renewed document out.

Shapes of requests and answers: RFC 6749, section 6, and what Anthropic, OpenAI and GitHub were seen to send.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, Protocol

from ccproxy_tui.core.auth.oauth import Headers, OAuth
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.system.clock import Clock

Document = dict[str, Any]


class TokenAnswer(NamedTuple):
    """An answer of a token endpoint. `wait` is how many seconds it asks to be left alone (Retry-After)."""

    status: int
    body: bytes
    wait: float = 0.0


# Method, URL, headers and body to an answer. Raises a ProxyError where there is none.
Ask = Callable[[str, str, Headers, bytes], Awaitable[TokenAnswer]]

CLAUDE_LIFETIME = 8 * 3600.0  # of an access token whose answer does not say how long it lives
COPILOT_LIFETIME = 1800.0
COPILOT_MARGIN = 120.0
_LONGEST = 1e9  # seconds; what is longer is no length of time
MARGIN = 300.0  # a token is renewed this many seconds before it ends


class RenewalRefused(Exception):
    """The login itself is no longer valid. Trying again will not help; logging in will."""


class RenewalFailed(Exception):
    """It did not work this time. `wait` is how many seconds the token endpoint asks to be left alone."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


class Renewal(Protocol):
    margin: float

    async def renew(self, document: Document) -> Document:
        """A copy of the document with new tokens; every other key stays. Raises RenewalRefused or RenewalFailed."""
        ...


class _RefreshTokenRenewal:
    """What both vendors' renewals share: a refresh token in, new tokens out (RFC 6749, section 6)."""

    margin = MARGIN
    _as_json: ClassVar[bool] = False

    def __init__(self, ask: Ask, token_url: Callable[[], str], client_id: Callable[[], str], clock: Clock) -> None:
        self._ask = ask
        self._url = token_url
        self._client_id = client_id
        self._clock = clock

    async def _refresh(self, token: Any, **more: str) -> Document:
        if not isinstance(token, str) or not token:
            raise RenewalRefused("there is no refresh token")
        request = OAuth(self._client_id(), as_json=self._as_json).refresh(self._url(), token, **more)
        answer = _document(await self._ask("POST", *request))
        if not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
            raise RenewalFailed("the answer holds no access token")
        return answer


class ClaudeRenewal(_RefreshTokenRenewal):
    _as_json = True

    async def renew(self, document: Document) -> Document:
        oauth = _part(document, "claudeAiOauth")
        answer = await self._refresh(oauth.get("refreshToken"))
        expires = self._clock.now() + seconds_of(answer.get("expires_in"), CLAUDE_LIFETIME)
        renewed = {
            **oauth,
            "accessToken": answer["access_token"],
            "refreshToken": answer.get("refresh_token") or oauth["refreshToken"],
            "expiresAt": int(expires * 1000),
        }
        if isinstance(answer.get("scope"), str):
            renewed["scopes"] = answer["scope"].split()
        return {**document, "claudeAiOauth": renewed}


class CodexRenewal(_RefreshTokenRenewal):
    async def renew(self, document: Document) -> Document:
        tokens = _part(document, "tokens")
        answer = await self._refresh(tokens.get("refresh_token"), scope="openid profile email")
        kept = {name: answer[name] for name in ("id_token", "refresh_token") if answer.get(name)}
        renewed = {**tokens, **kept, "access_token": answer["access_token"]}
        return {**document, "tokens": renewed, "last_refresh": iso_time(self._clock.now())}


class CopilotRenewal:
    """Not a refresh: GitHub's own token, which lasts, is exchanged for a Copilot token, which lasts half an hour."""

    margin = COPILOT_MARGIN

    def __init__(self, ask: Ask, token_url: Callable[[], str]) -> None:
        self._ask = ask
        self._url = token_url

    async def renew(self, document: Document) -> Document:
        github = _part(document, "oauth_token").get("access_token")
        if not isinstance(github, str) or not github:
            raise RenewalRefused("there is no GitHub token")
        headers = [("authorization", f"token {github}"), ("accept", "application/json")]
        answer = _document(await self._ask("GET", self._url(), headers, b""))
        if not isinstance(answer.get("token"), str):
            raise RenewalFailed("GitHub's answer holds no Copilot token")
        return {**document, "copilot_token": answer}


def _part(document: Document, name: str) -> Document:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _document(answer: TokenAnswer) -> Document:
    """A token endpoint's answer. What it says may hold a token, so that nothing of it gets into a message."""
    status = answer.status
    values = read_object(answer.body)
    error = values.get("error")
    code = error.get("type") if isinstance(error, dict) else error
    if status == 400 and code in ("invalid_grant", "invalid_request_error", "refresh_token_reused"):
        raise RenewalRefused(f"the login was refused ({status} {code})")
    if status in (401, 403):
        raise RenewalRefused(f"the login was refused ({status})")
    if status >= 400:
        wait = f" and asks to wait {answer.wait:.0f} s" if answer.wait else ""
        raise RenewalFailed(f"the token endpoint answered {status}{wait}", answer.wait)
    if not values:
        raise RenewalFailed("the token endpoint did not answer with JSON")
    return values


def seconds_of(value: Any, default: float) -> float:
    """A length of time that an answer tells, where it is one."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LONGEST
    return float(value) if number else default


def iso_time(moment: float) -> str:
    """Seconds since the epoch as Codex CLI writes them into its file."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
