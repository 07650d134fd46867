"""Logging in: a browser and a code (PKCE, RFC 7636), or a device code (RFC 8628). No terminal in here.

Both give a change to the document in the provider's credential file, to be made when the file is locked. Endpoints and
scopes: what the vendors' own clients use.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from ccproxy_tui.core.auth.codex_file import jwt_claims
from ccproxy_tui.core.auth.oauth import Form, Headers, OAuth
from ccproxy_tui.core.auth.renewal import CLAUDE_LIFETIME, Ask, Document, iso_time, seconds_of
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.text.redact import learn_secret, redact_text

Change = Callable[[Document], Document]

# Authlib has no request for a device code (RFC 8628, section 3.1).
_FORM_HEADERS: Headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
_CODE_SECONDS = 900.0  # for which a device code is good where the answer does not say it
_GITHUB_DEVICE = "https://github.com/login/device"


class LoginFailed(Exception):
    """The message says why, and holds no secret."""


class CodeLogin(Protocol):
    """A login in a browser. `port` and `path` are where the browser comes back to on this machine, with `state`."""

    url: str
    state: str
    port: int
    path: str

    def belongs(self, answer: str) -> bool:
        """Whether what a browser brought or a person pasted carries this login's state, or is a bare code."""
        ...

    async def finish(self, answer: str) -> Change:
        """`answer` is the code, or the whole URL that the browser was sent to. Raises LoginFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoints:
    authorize: str
    token: str
    client_id: str


class _Callback:
    """Reads what comes back from the browser, for the login of one state."""

    def __init__(self, state: str) -> None:
        self.state = state

    def belongs(self, answer: str) -> bool:
        _, state, _ = self._read(answer)
        return secrets.compare_digest(state.encode(), self.state.encode())

    def code_of(self, answer: str) -> str:
        """The code in what a person pasted: a bare code, `code#state`, or the URL of the callback."""
        code, _, error = self._read(answer)
        if not self.belongs(answer):
            raise LoginFailed("That answer belongs to another login (its state does not match).")
        if error:
            raise LoginFailed(f"The login was refused: {_quoted(error, 100)}.")
        if not code:
            raise LoginFailed("This contains no code.")
        learn_secret(code)
        return code

    def _read(self, answer: str) -> tuple[str, str, str]:
        """Code, state and error. A bare code is taken for this login's: a person has pasted it."""
        text = answer.strip()
        if "?" in text or text.startswith(("http://", "https://")):
            query = parse_qs(urlsplit(text).query)
            code, state, error = (query.get(name, [""])[0] for name in ("code", "state", "error"))
            return code, state, error
        code, _, state = text.partition("#")
        return code, state or self.state, ""


class _BrowserLogin:
    """What both vendors' logins share. A vendor says where the browser comes back to, and what it asks for."""

    port: int
    path: str
    _as_json: ClassVar[bool] = False
    _scope: ClassVar[str]
    _query: ClassVar[Form]  # the vendor's own part of the address

    def __init__(self, endpoints: Endpoints, ask: Ask, clock: Clock) -> None:
        self._endpoints = endpoints
        self._ask = ask
        self._clock = clock
        back = f"http://localhost:{self.port}{self.path}"
        self._oauth = OAuth(endpoints.client_id, redirect_uri=back, as_json=self._as_json)
        self.url, self.state, self._verifier = self._oauth.authorize(endpoints.authorize, self._scope, **self._query)
        learn_secret(self._verifier)
        self._callback = _Callback(self.state)

    def belongs(self, answer: str) -> bool:
        return self._callback.belongs(answer)

    async def _exchange(self, answer: str, **more: str) -> Document:
        """The code for tokens."""
        code = self._callback.code_of(answer)
        request = self._oauth.exchange(self._endpoints.token, code, self._verifier, **more)
        status, raw, wait = await self._ask("POST", *request)
        tokens = read_object(raw)
        if wait:
            raise LoginFailed(f"The login server answered {status}. Try again in {wait:.0f} s.")
        if status >= 400 or not isinstance(tokens.get("access_token"), str):
            error = tokens.get("error")
            reason = error.get("type") if isinstance(error, dict) else error
            raise LoginFailed(f"The code was not accepted ({status} {_quoted(reason or '', 60)}).".replace(" )", ")"))
        return tokens


class ClaudeLogin(_BrowserLogin):
    port = 54545
    path = "/callback"
    _as_json = True
    _scope = "org:create_api_key user:profile user:inference"
    _query: ClassVar[Form] = {"code": "true"}

    async def finish(self, answer: str) -> Change:
        tokens = await self._exchange(answer, state=self.state)
        expires = self._clock.now() + seconds_of(tokens.get("expires_in"), CLAUDE_LIFETIME)
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


class CodexLogin(_BrowserLogin):
    port = 1455
    path = "/auth/callback"
    _scope = "openid profile email offline_access"
    _query: ClassVar[Form] = {
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
    }

    async def finish(self, answer: str) -> Change:
        tokens = await self._exchange(answer)
        claims = jwt_claims(tokens.get("id_token"))
        auth = claims.get("https://api.openai.com/auth")
        account = auth.get("chatgpt_account_id") if isinstance(auth, dict) else None
        kept = {name: str(tokens.get(name) or "") for name in ("id_token", "access_token", "refresh_token")}
        fresh = {"tokens": {**kept, "account_id": str(account or "")}, "last_refresh": iso_time(self._clock.now())}
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
        self._ends = 0.0
        self.code = ""
        self.url = ""

    async def start(self) -> None:
        """Sets `code` and `url`, for the person. Raises LoginFailed."""
        form = urlencode({"client_id": self._endpoints.client_id, "scope": "read:user"}).encode()
        status, body, wait = await self._ask("POST", self._device_url, _FORM_HEADERS, form)
        answer = read_object(body)
        if wait:
            raise LoginFailed(f"GitHub did not start the login ({status}). Try again in {wait:.0f} s.")
        if status >= 400 or not isinstance(answer.get("device_code"), str):
            raise LoginFailed(f"GitHub did not start the login ({status}).")
        self._device_code = answer["device_code"]
        learn_secret(self._device_code)
        self.code = str(answer.get("user_code") or "")
        url = str(answer.get("verification_uri") or "")
        self.url = url if url.startswith("https://") else _GITHUB_DEVICE  # it is given to the person's browser
        self._interval = seconds_of(answer.get("interval"), 5.0)
        self._ends = self._clock.monotonic() + seconds_of(answer.get("expires_in"), _CODE_SECONDS)

    async def finish(self) -> Change:
        """Waits until the person has typed the code. Raises LoginFailed when it ran out or was refused."""
        oauth = OAuth(self._endpoints.client_id)
        request = oauth.exchange_device_code(self._endpoints.token, self._device_code)
        wait = 0.0
        while True:
            await asyncio.sleep(max(self._interval, wait))
            _, body, wait = await self._ask("POST", *request)
            if wait and self._clock.monotonic() + wait < self._ends:
                continue
            answer = read_object(body)
            match answer.get("error"):
                case "authorization_pending":
                    continue
                case "slow_down":
                    self._interval += 5
                    continue
                case None if isinstance(answer.get("access_token"), str):
                    return _github_change({**answer, "created_at": int(self._clock.now())})
                case error:
                    raise LoginFailed(f"The login was not completed: {_quoted(error or 'no answer from GitHub', 100)}.")


def _quoted(text: object, most: int) -> str:
    """Return what a server has sent, masked before it is cut: it may quote a code."""
    return redact_text(str(text))[:most]


def _github_change(oauth: Document) -> Change:
    def change(old: Document) -> Document:
        kept = {name: value for name, value in old.items() if name != "copilot_token"}
        return {**kept, "oauth_token": oauth, "account_type": old.get("account_type") or "individual"}

    return change
