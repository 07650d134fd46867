"""Several Claude logins: no client sees an error while any of them can serve, and the reasons are on record."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.control.protocol import ControlError
from tests.conftest import FAR_FUTURE, Proxy, StartProxy, until, write_claude_login
from tests.fakes.streams import response_events, said
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, anthropic_stream, json_reply, sse_reply

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
        (429, [("retry-after", "38")], "too fast: claude-x"),
        (
            429,
            [
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-reset", str(int(time.time()) + 7300)),
            ],
            "plan used up",
        ),
        (401, [], "login refused"),
        (403, [], "not allowed: claude-x"),
        (529, [], "overloaded: claude-x"),
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
    marks = [(mark.name, mark.detail) for mark in (await proxy.ended()).marks if mark.name == "account refused"]
    assert len(marks) == 1
    assert marks[0][1].startswith("claude: cooling")
    state = states(proxy)["claude"]
    assert state.startswith("cooling ")
    assert reason in state
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


async def test_two_in_turn(start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]) -> None:
    """As many as divide any count of looks that one request may take."""
    del accounts["PROVIDERS__CLAUDE_API__ACCOUNTS__SPARE"]
    proxy = await start_proxy(**accounts, PROVIDERS__CLAUDE_API__STRATEGY="round_robin", ACCOUNTS__HOLD_SECONDS="9")
    upstream.default = refusing({})
    for _ in range(4):
        await proxy.client.post(PATH, json=request())
    assert sorted(served_by(upstream)) == ["first", "first", "work", "work"]


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


OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


def streaming(behaviours: dict[str, list[bytes]]) -> Any:
    """An upstream that streams: what it says to some tokens, and a whole answer to the others."""

    def answer(seen: Seen) -> Reply:
        token = seen.header("authorization").removeprefix("Bearer token-")
        return sse_reply(*behaviours.get(token, anthropic_stream("from " + token)))

    return answer


async def test_an_overload_behind_status_200_is_seen_before_the_first_byte(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    start = anthropic_stream("x")[0]
    upstream.default = streaming({"first": [OVERLOADED], "work": [start, OVERLOADED]})
    answer = await proxy.client.post(PATH, json={**request(), "stream": True})
    assert answer.status_code == 200
    assert answer.content == b"".join(anthropic_stream("from spare"))
    assert served_by(upstream) == ["first", "work", "spare"]
    refused = [mark.detail for mark in (await proxy.ended()).marks if mark.name == "account refused"]
    assert [detail.split(": ")[0] for detail in refused] == ["claude", "claude:work"]
    assert all("overloaded: claude-x" in detail for detail in refused)


async def test_an_error_after_the_first_words_is_the_clients_and_nobody_else_is_asked(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    upstream.default = streaming({"first": [*anthropic_stream("words")[:4], OVERLOADED]})
    answer = await proxy.client.post(PATH, json={**request(), "stream": True})
    assert "words" in answer.text
    assert "overloaded_error" in answer.text
    assert served_by(upstream) == ["first"]


async def test_all_kinds_of_refusal_in_a_row_never_reach_a_client_while_one_can_serve(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    quota = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", str(int(time.time()) + 600)),
    ]
    for first, second in [
        ((429, [("retry-after", "1")]), (429, quota)),
        ((401, []), (529, [])),
        ((529, []), (429, quota)),
    ]:
        upstream.default = refusing({"first": first, "work": second})
        answers = await asyncio.gather(*(proxy.client.post(PATH, json=request()) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        for account in proxy.hub.accounts():
            if isinstance(account, Account):
                account.wake()


async def test_a_burst_on_one_model_leaves_the_others_alone(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    upstream.default = refusing({"first": (429, [("retry-after", "60")])})
    await proxy.client.post(PATH, json=request())
    upstream.default = refusing({})
    await proxy.client.post(PATH, json={**request(), "model": "claude-y"})
    await proxy.client.post(PATH, json=request())
    assert served_by(upstream) == ["first", "work", "first", "work"]


async def test_a_full_opus_window_rests_opus_alone(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    headers = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-representative-claim", "seven_day_opus"),
        ("anthropic-ratelimit-unified-reset", str(int(time.time()) + 600)),
    ]
    upstream.default = refusing({"first": (429, headers)})
    await proxy.client.post(PATH, json={**request(), "model": "claude-opus-4-6"})
    upstream.default = refusing({})
    await proxy.client.post(PATH, json={**request(), "model": "claude-sonnet-5"})
    await proxy.client.post(PATH, json={**request(), "model": "claude-opus-5"})
    assert served_by(upstream) == ["first", "work", "first", "work"]


def is_holding(proxy: Proxy) -> bool:
    return any(mark.name == "holding" for record in proxy.hub.store.live for mark in record.marks)


async def test_a_request_is_held_until_an_account_is_back(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts, ACCOUNTS__HOLD_SECONDS="30")
    upstream.default = refusing(dict.fromkeys(("first", "work", "spare"), (429, [("retry-after", "20")])))
    waiting = asyncio.create_task(proxy.client.post(PATH, json=request()))
    await until(lambda: is_holding(proxy))
    upstream.default = refusing({})
    control = proxy.control()
    await control.set_account_aside("claude:work", aside=False)
    await control.close()
    assert (await waiting).status_code == 200
    assert served_by(upstream)[-1] == "work"


async def test_a_held_stream_is_kept_alive_by_pings(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts, ACCOUNTS__HOLD_SECONDS="30", SERVER__KEEPALIVE_SECONDS="1")
    upstream.default = refusing(dict.fromkeys(("first", "work", "spare"), (429, [("retry-after", "20")])))
    waiting = asyncio.create_task(proxy.client.post(PATH, json={**request(), "stream": True}))
    await until(lambda: is_holding(proxy) and proxy.last.pings > 0, seconds=15)
    upstream.default = streaming({})
    control = proxy.control()
    await control.set_account_aside("claude:work", aside=False)
    await control.close()
    answer = await waiting
    assert answer.text.startswith("event: ping")
    assert answer.content.endswith(b"".join(anthropic_stream("from work")))


async def test_a_held_request_can_be_stopped(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts, ACCOUNTS__HOLD_SECONDS="30")
    upstream.default = refusing(dict.fromkeys(("first", "work", "spare"), (429, [("retry-after", "20")])))
    waiting = asyncio.create_task(proxy.client.post(PATH, json=request()))
    await until(lambda: is_holding(proxy))
    control = proxy.control()
    await control.stop_exchange(proxy.last.id)
    await control.close()
    assert (await waiting).status_code == 499


async def test_an_account_that_is_set_aside_serves_nothing(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts)
    upstream.default = refusing({})
    control = proxy.control()
    await control.set_account_aside("claude", aside=True)
    await proxy.client.post(PATH, json=request())
    assert served_by(upstream) == ["work"]
    for name in ("claude:work", "claude:spare"):
        await control.set_account_aside(name, aside=True)
    refused = await proxy.client.post(PATH, json=request())
    assert refused.status_code == 429
    assert "claude:work disabled" in refused.json()["error"]["message"]
    await control.set_account_aside("claude:spare", aside=False)
    await control.close()
    await proxy.client.post(PATH, json=request())
    assert served_by(upstream) == ["work", "spare"]


def full() -> list[tuple[str, str]]:
    """Headers of a window that is used up, and starts anew in well over an hour."""
    return [
        ("anthropic-ratelimit-unified-5h-utilization", "1.0"),
        ("anthropic-ratelimit-unified-5h-reset", str(int(time.time()) + 5400)),
        ("anthropic-ratelimit-unified-overage-status", "allowed"),
    ]


async def test_plan_only_stops_before_paid_use(
    start_proxy: StartProxy, upstream: ScriptedUpstream, accounts: dict[str, str]
) -> None:
    proxy = await start_proxy(**accounts, ACCOUNTS__PLAN_ONLY="claude,claude:work")
    upstream.default = refusing(dict.fromkeys(("first", "work", "spare"), (200, full())))
    for _ in range(5):
        assert (await proxy.client.post(PATH, json=request())).status_code == 200
    assert served_by(upstream) == ["first", "work", "spare", "spare", "spare"], "the third one may be paid"
    assert re.fullmatch(r"plan used up 1h(29|30)m, plan only", states(proxy)["claude"])


async def test_paid_use_is_on_the_record_and_in_the_account(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    write_claude_login(accessToken="token-first")
    proxy = await start_proxy()
    claim = ("anthropic-ratelimit-unified-representative-claim", "overage")
    upstream.default = refusing({"first": (200, [*full(), claim])})
    await proxy.client.post(PATH, json=request())
    record = await proxy.ended()
    assert record.billing == "extra usage"
    assert proxy.hub.accounts()[0].detail().extra == "paid"


async def test_a_full_window_is_warned_of_once(
    start_proxy: StartProxy, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    write_claude_login(accessToken="token-first")
    proxy = await start_proxy()
    for used in ("0.5", "0.82", "0.9", "0.96"):
        upstream.default = refusing({"first": (200, [("anthropic-ratelimit-unified-5h-utilization", used)])})
        await proxy.client.post(PATH, json=request())
    warned = [record.getMessage() for record in caplog.records if "window" in record.getMessage()]
    assert warned == ["claude has used 82 % of its 5h window", "claude has used 96 % of its 5h window"]


async def test_codex_logins_fail_over_by_the_code_in_the_body(
    start_proxy: StartProxy, upstream: ScriptedUpstream, other_logins: None
) -> None:
    path = Path.home() / "second.json"
    path.write_text(json.dumps({"tokens": {"access_token": "second", "account_id": "acct-2", "refresh_token": "r"}}))

    def answer(seen: Seen) -> Reply:
        if seen.header("authorization") == "Bearer second":
            assert seen.header("chatgpt-account-id") == "acct-2"
            return sse_reply(*response_events(said("hello")))
        limit = {
            "type": "usage_limit_reached",
            "message": "The usage limit has been reached",
            "resets_in_seconds": 5000,
        }
        return json_reply({"error": limit}, 429)

    upstream.default = answer
    proxy = await start_proxy(PROVIDERS__CODEX__ACCOUNTS__SECOND=str(path))
    response = await proxy.client.post("/codex/v1/messages", json=request())
    assert response.status_code == 200
    assert response.json()["content"][0]["text"] == "hello"
    state = next(one.view().state for one in proxy.hub.accounts() if one.provider == "codex")
    assert state == "cooling 1h23m (plan used up)"
    assert (await proxy.ended()).account == "second"
