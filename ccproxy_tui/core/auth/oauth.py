"""The requests of OAuth 2.0 (RFC 6749) with PKCE (RFC 7636) and device codes (RFC 8628), made by Authlib. Pure.

They are values, which are sent over the connections of the proxy, with its limits. Authlib's own client for httpx would
send them itself; it takes 14 MB and a second HTTP client with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec

if TYPE_CHECKING:
    from authlib.oauth2.client import OAuth2Client

Headers = list[tuple[str, str]]
Form = dict[str, str]

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


class TokenRequest(NamedTuple):
    """A POST for a token endpoint."""

    url: str
    headers: Headers
    body: bytes


class Authorization(NamedTuple):
    """Where the user gives a code to this client; `verifier` proves later that the same client has asked."""

    url: str
    state: str
    verifier: str


class OAuth:
    """A public client: it has no secret. `as_json` sends forms as JSON, as Anthropic's endpoint takes them."""

    def __init__(self, client_id: str, *, redirect_uri: str = "", as_json: bool = False) -> None:
        self._client = _client_class()(
            session=None,
            client_id=client_id,
            redirect_uri=redirect_uri or None,
            code_challenge_method="S256",
            token_endpoint_auth_method="json" if as_json else "none",  # which puts the client's id into the body
        )
        self._client.register_client_auth_method(("json", _encode_json))
        self._headers = {"content-type": _JSON if as_json else _FORM, "accept": _JSON}

    def authorize(self, url: str, scope: str, **more: str) -> Authorization:
        """Return the address for the user's browser, with a state and a verifier that are new each time."""
        from authlib.common.security import generate_token

        verifier = generate_token(64)
        found, state = self._client.create_authorization_url(url, code_verifier=verifier, scope=scope, **more)
        return Authorization(found, state, verifier)

    def exchange(self, url: str, code: str, verifier: str, **more: str) -> TokenRequest:
        """Return the request that gives a code for tokens."""
        return self._made(
            self._client.fetch_token,
            url,
            urlencode(more),
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
        )

    def exchange_device_code(self, url: str, device_code: str) -> TokenRequest:
        """Return the request that asks whether the user has typed the code."""
        return self._made(self._client.fetch_token, url, "", grant_type=_DEVICE_CODE, device_code=device_code)

    def refresh(self, url: str, token: str, **more: str) -> TokenRequest:
        """Return the request that gives a refresh token for new tokens."""
        return self._made(self._client.refresh_token, url, "", refresh_token=token, **more)

    def _made(self, make: Callable[..., TokenRequest], url: str, body: str, **form: str) -> TokenRequest:
        return make(url, body=body, headers=dict(self._headers), **form)


@functools.cache
def _client_class() -> type[OAuth2Client]:
    """Authlib's client, whose requests are returned. It is imported for the first login or renewal."""
    from authlib.oauth2.client import OAuth2Client

    class Client(OAuth2Client):  # type: ignore[misc]  # Authlib has no types
        def _fetch_token(
            self, url: str, body: str = "", headers: Any = None, auth: Any = None, method: str = "POST"
        ) -> TokenRequest:
            return _request(*auth.prepare(method, url, headers, body))

        def _refresh_token(
            self, url: str, refresh_token: Any = None, body: str = "", headers: Any = None, auth: Any = None
        ) -> TokenRequest:
            return _request(*auth.prepare("POST", url, headers, body))

    return Client


def _request(url: str, headers: Form, body: str | bytes) -> TokenRequest:
    return TokenRequest(url, list(headers.items()), body.encode() if isinstance(body, str) else body)


def _encode_json(auth: Any, method: str, url: str, headers: Form, body: str) -> tuple[str, Form, bytes]:
    form = dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
    return url, headers, msgspec.json.encode({**form, "client_id": auth.client_id})
