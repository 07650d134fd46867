"""Several Claude logins: no client sees an error while any of them can serve, and the reasons are on record."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.control import ControlError
from tests.conftest import FAR_FUTURE, Proxy, StartProxy, write_claude_login
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, json_reply

PATH = "/api/v1/messages"


def request(session: str = "") -> dict[str, Any]:
    body: dict[str, Any] = {"model": "claude-x", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    return {**body, "metadata": {"session_id": session}} if session else body


def login(label: str) -> Path:
    path = Path.home() / f"{label}.json"
    oauth = {"accessToken": f"token-{label}", "refreshToken": "", "expiresAt": FAR_FUTURE}
    path.write_text(json.dumps({"claudeAiOauth": oauth}))
    return path


@pytest.fixture
def accounts() -> dict[str, str]:
    write_claude_login(accessToken="token-first")
    return {f"PROVIDERS__CLAUDE_API__ACCOUNTS__{name.upper()}": str(login(name)) for name in ("work", "spare")}


def served_by(upstream: ScriptedUpstream) -> list[str]:
    asked = [seen for seen in upstream.seen if seen.target == "/v1/messages"]
    return [seen.header("authorization").removeprefix("Bearer token-") for seen in asked]


def refusing(statuses: dict[str, tuple[int, list[tuple[str, str]]]]) -> Any:
    """An upstream that refuses some tokens, each with its status and headers."""

    def answer(seen: Seen) -> Reply:
        status, headers = statuses.get(seen.header("authorization").removeprefix("Bearer token-"), (200, []))
        return json_reply({"ok": status}, status, headers)

    return answer


def states(proxy: Proxy) -> dict[str, str]:
    return {account.provider: account.view().state for account in proxy.hub.accounts() if "claude" in account.provider}


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (429, [("retry-after", "38")], "too fast"),
        (
            429,
            [
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-reset", str(int(time.time()) + 7300)),
            ],
            "plan used up",
        ),
        (401, [], "login refused"),
        (403, [], "login refused"),
        (529, [], "overloaded"),
    ],
)
async def test_the_next_account_serves_and_the_first_one_rests(
    start_proxy: StartProxy,
    upstream: ScriptedUpstream,
    accounts: dict[str, str],
    status: int,
    headers: list[tuple[str, str]],
    reason: str,
) -> None:
    proxy = await start_proxy(**accounts)
    upstream.default = refusing({"first": (status, headers)})
    assert (await proxy.client.post(PATH, json=request())).status_code == 200
    assert served_by(upstream) == ["first", "work"]
    marks = [(mark.name, mark.detail) for mark in (await proxy.ended()).marks if mark.name == "next account"]
    assert len(marks) == 1
    assert marks[0][1].startswith("claude: cooling")
    state = states(proxy)["claude"]
    assert state.startswith("cooling ")
    assert state.endswith(f"({reason})")
    assert (await proxy.client.post(PATH, json=request())).status_code == 200
    assert served_by(upstream)[2:] == ["work"], "one that rests is not asked"


async def test_when_all_are_refused_the_client_hears_the_upstreams_own_words(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    limit = (429, [("retry-after", "60")])
    upstream.default = refusing(dict.fromkeys(("first", "work", "spare"), limit))
    response = await proxy.client.post(PATH, json=request())
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")
    assert sorted(served_by(upstream)) == ["first", "spare", "work"]
    upstream.default = refusing({})
    assert (await proxy.client.post(PATH, json=request())).status_code == 200, "somebody is always asked"


async def test_a_session_stays_with_the_account_that_served_it(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts, PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL=f"{upstream.url}/token")
    upstream.default = refusing({"first": (529, [])})
    await proxy.client.post(PATH, json=request("s1"))
    upstream.default = refusing({})
    control = proxy.control()
    with pytest.raises(ControlError):
        await control.renew_account("claude")  # nothing can be renewed here, but the person lets it serve again
    await control.close()
    await proxy.client.post(PATH, json=request("s1"))
    await proxy.client.post(PATH, json=request("s2"))
    assert served_by(upstream) == ["first", "work", "work", "first"]


async def test_in_turn(start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]) -> None:
    proxy = await start_proxy(**accounts, PROVIDERS__CLAUDE_API__STRATEGY="round_robin")
    upstream.default = refusing({})
    for _ in range(6):
        await proxy.client.post(PATH, json=request())
    assert sorted(served_by(upstream)) == ["first", "first", "spare", "spare", "work", "work"]


async def test_a_login_that_is_missing_is_passed_over(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    (Path.home() / ".claude" / ".credentials.json").unlink()
    (Path.home() / "work.json").write_text("{")
    proxy = await start_proxy(**accounts)
    upstream.default = refusing({})
    assert (await proxy.client.post(PATH, json=request())).status_code == 200
    assert served_by(upstream) == ["spare"]


async def test_one_that_rests_is_asked_before_the_client_hears_of_missing_logins(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    (Path.home() / "work.json").unlink()
    (Path.home() / "spare.json").unlink()
    proxy = await start_proxy(**accounts)
    upstream.default = refusing({"first": (429, [("retry-after", "60")])})
    assert (await proxy.client.post(PATH, json=request())).status_code == 429
    upstream.default = refusing({})
    assert (await proxy.client.post(PATH, json=request())).status_code == 200
    assert served_by(upstream) == ["first", "first"]
