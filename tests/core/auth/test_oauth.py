"""Requests of OAuth as values: what the vendors' endpoints get."""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from ccproxy_tui.core.auth.oauth import Headers, OAuth
from ccproxy_tui.core.auth.oauth_login import ClaudeLogin, DeviceLogin, Endpoints, LoginFailed
from ccproxy_tui.core.auth.renewal import TokenAnswer
from ccproxy_tui.core.system.clock import SystemClock

URL = "https://auth.example/token"
ODD = "a+b/c=d &%20é#"  # tokens are opaque: whatever they hold arrives


def test_the_address_for_the_browser_proves_who_has_asked() -> None:
    oauth = OAuth("client", redirect_uri="http://localhost:1/back")
    asked = oauth.authorize("https://auth.example/authorize?a=1", "one two", code="true")
    query = parse_qs(urlsplit(asked.url).query, strict_parsing=True)
    digest = hashlib.sha256(asked.verifier.encode()).digest()
    assert query == {
        "a": ["1"],
        "response_type": ["code"],
        "client_id": ["client"],
        "redirect_uri": ["http://localhost:1/back"],
        "scope": ["one two"],
        "state": [asked.state],
        "code": ["true"],
        "code_challenge": [base64.urlsafe_b64encode(digest).rstrip(b"=").decode()],
        "code_challenge_method": ["S256"],
    }
    assert 43 <= len(asked.verifier) <= 128  # RFC 7636, section 4.1
    again = oauth.authorize("https://auth.example/authorize", "one")
    assert len({asked.state, again.state, asked.verifier, again.verifier}) == 4


@pytest.mark.parametrize("as_json", [False, True])
def test_requests_for_tokens(as_json: bool) -> None:
    oauth = OAuth("client", redirect_uri="http://localhost:1/back", as_json=as_json)
    kind = "application/json" if as_json else "application/x-www-form-urlencoded"
    for request, form in [
        (
            oauth.exchange(URL, ODD, "verifier", state="s"),
            {
                "grant_type": "authorization_code",
                "code": ODD,
                "code_verifier": "verifier",
                "redirect_uri": "http://localhost:1/back",
                "client_id": "client",
                "state": "s",
            },
        ),
        (
            oauth.refresh(URL, ODD, scope="openid profile"),
            {"grant_type": "refresh_token", "refresh_token": ODD, "scope": "openid profile", "client_id": "client"},
        ),
        (
            oauth.exchange_device_code(URL, ODD),
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": ODD,
                "client_id": "client",
            },
        ),
    ]:
        assert request.url == URL
        assert request.headers == [("content-type", kind), ("accept", "application/json")]
        sent = json.loads(request.body) if as_json else parse_qs(request.body.decode(), strict_parsing=True)
        assert sent == (form if as_json else {name: [value] for name, value in form.items()})


ENDPOINTS = Endpoints("https://auth.example/authorize", URL, "client")
SECRET = "code-" + "abcdefgh0123456789" * 2


@pytest.mark.parametrize("before", ["", "this is no good code: ", "x" * 40 + " "])
async def test_what_a_server_says_of_a_code_holds_no_secret(before: str) -> None:
    """Servers quote what they refuse."""

    async def ask(method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        verifier = str(json.loads(body)["code_verifier"])
        return TokenAnswer(400, json.dumps({"error": f"{before}{SECRET} {verifier}"}).encode())

    with pytest.raises(LoginFailed) as failed:
        await ClaudeLogin(ENDPOINTS, ask, SystemClock()).finish(SECRET)
    assert SECRET[:8] not in str(failed.value)
    assert "[redacted]" in str(failed.value)


async def test_what_a_server_says_of_a_device_code_holds_no_secret() -> None:
    device_code = "device-" + SECRET

    async def ask(method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        if url == URL:
            return TokenAnswer(200, json.dumps({"error": f"no such code {device_code}"}).encode())
        return TokenAnswer(200, json.dumps({"device_code": device_code, "interval": 0.01}).encode())

    login = DeviceLogin("https://auth.example/device", ENDPOINTS, ask, SystemClock())
    await login.start()
    with pytest.raises(LoginFailed) as failed:
        await login.finish()
    assert "no such code" in str(failed.value)
    assert device_code[:16] not in str(failed.value)
