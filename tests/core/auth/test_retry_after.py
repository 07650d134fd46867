"""A server that asks to be left alone is left alone for that long: token endpoints of each provider, over sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path

import pytest

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.oauth_login import DeviceLogin, Endpoints
from ccproxy_tui.core.auth.refusal import read_refusal
from ccproxy_tui.core.errors import NoCredentials
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.text.http_time import retry_after
from ccproxy_tui.providers.login import make_ask
from ccproxy_tui.providers.registry import Context, load_providers
from tests.conftest import write_claude_login
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import ScriptedUpstream, json_reply

SENT = "Thu, 26 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "9" * 20}, 366 * 86_400.0),
        ({"retry-after": "Thu, 26 Nov 2026 10:02:00 GMT", "date": SENT}, 120.0),
        ({"retry-after": "Thu, 26 Nov 2026 10:02:00 GMT", "date": "yesterday"}, 60.0),
        ({"retry-after": "Thu, 26 Nov 2026 10:02:00 GMT"}, 60.0),
        ({"retry-after": "Thu, 26 Nov 2026 09:00:00 GMT", "date": SENT}, 0.0),
        ({}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 99 Nov 2026 10:02:00 GMT"}, None),
    ],
)
def test_seconds_and_dates_are_read(headers: dict[str, str], seconds: float | None) -> None:
    now = 1_795_687_260.0  # 10:01 on that day
    assert retry_after(headers, now) == seconds


def test_an_accounts_cooldown_takes_a_date_as_well() -> None:
    refusal = read_refusal(429, {"retry-after": "Thu, 26 Nov 2026 10:02:00 GMT", "date": SENT}, b"{}", "m", 0.0)
    assert refusal is not None
    assert refusal.seconds == 120


def write_codex_login() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_600_000_000}).encode()).decode().rstrip("=")
    path = Path.home() / ".codex" / "auth.json"
    path.parent.mkdir()
    token = f"e30.{claims}.sig"
    path.write_text(json.dumps({"tokens": {"access_token": token, "refresh_token": "rt", "account_id": "a"}}))


def write_copilot_login() -> None:
    path = Path.home() / ".config" / "copilot" / "credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"oauth_token": {"access_token": "gho"}, "account_type": "pro"}))


def account_of(name: str, url: str, clock: FakeClock) -> Account:
    write_claude_login(expiresAt=1_600_000_000_000)
    write_codex_login()
    write_copilot_login()
    urls = {
        "PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": url,
        "PROVIDERS__CODEX__OAUTH__TOKEN_URL": url,
        "PROVIDERS__COPILOT__OAUTH__COPILOT_TOKEN_URL": url,
    }
    settings = load(environ={**os.environ, **urls}).settings
    for provider in load_providers(Context(lambda: settings, clock, Paths.of_user())):
        for account in provider.accounts():
            if account.provider == name:
                assert isinstance(account, Account)
                return account
    raise AssertionError(name)


async def refused(account: Account, words: str) -> None:
    with pytest.raises(NoCredentials, match=words):
        await account.credential()


@pytest.mark.parametrize("name", ["claude", "codex", "copilot"])
@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, [("retry-after", "120")], 120),
        (503, [("retry-after", "Thu, 26 Nov 2026 10:02:00 GMT"), ("date", SENT)], 120),
        (429, [("retry-after", "8640000")], 3600),
    ],
)
async def test_a_token_endpoint_is_not_asked_before_the_time_it_named(
    upstream: ScriptedUpstream,
    clock: FakeClock,
    name: str,
    status: int,
    headers: list[tuple[str, str]],
    seconds: int,
) -> None:
    account = account_of(name, f"{upstream.url}/token", clock)
    upstream.default = lambda _: json_reply({"error": "rate_limited"}, status, headers)
    await refused(account, f"the token endpoint answered {status} and asks to wait")
    clock.advance(seconds - 1)
    clock.wall -= 86_400  # the wall clock has no say in it
    await refused(account, "asks to wait")
    assert len(upstream.seen) == 1
    clock.wall += 2 * 86_400
    clock.steady += 2
    await refused(account, "asks to wait")
    assert len(upstream.seen) == 2


async def test_you_may_try_before_that_time(upstream: ScriptedUpstream, clock: FakeClock) -> None:
    account = account_of("claude", f"{upstream.url}/token", clock)
    upstream.replies = [json_reply({}, 429, [("retry-after", "120")])]
    upstream.default = lambda _: json_reply({"access_token": "fresh", "refresh_token": "next", "expires_in": 3600})
    await refused(account, "asks to wait 120 s")
    assert (await account.renew_now()).secret == "fresh"


async def test_a_login_by_device_code_waits_as_long_as_it_is_asked_to(
    upstream: ScriptedUpstream, clock: FakeClock
) -> None:
    ask = make_ask("GitHub", Http, clock)
    login = DeviceLogin(f"{upstream.url}/device", Endpoints("", f"{upstream.url}/token", "id"), ask, clock)
    upstream.replies = [
        json_reply({"device_code": "d", "user_code": "U", "interval": 0.01}),
        json_reply({}, 429, [("retry-after", "0.3")]),
        json_reply({"access_token": "gho"}),
    ]
    await login.start()
    started = asyncio.get_running_loop().time()
    assert (await login.finish())({})["oauth_token"]["access_token"] == "gho"
    assert asyncio.get_running_loop().time() - started >= 0.3
