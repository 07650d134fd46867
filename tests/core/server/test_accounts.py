"""Logins over real sockets and real files: renewed once, shared safely, and said plainly when they can't be used."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.formats.anthropic_messages.native import IDENTITY
from ccproxy_tui.core.system.files import replace_file
from tests.conftest import FAR_FUTURE, Proxy, StartProxy, until, write_claude_login
from tests.fakes.streams import chat_events, response_events, said
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Seen, Wait, json_reply, sse_reply

REQUEST = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
PATH = "/api/v1/messages"
LONG_AGO = 1_600_000_000_000


def claude_file() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((Path.home() / ".claude" / ".credentials.json").read_text())
    return document


class TokenServer:
    """Anthropic's token endpoint and API in one: a token that it has renewed is good, everything else is a 401."""

    def __init__(self, upstream: ScriptedUpstream, *, pause: float = 0.0) -> None:
        self.upstream = upstream
        self.renewals: list[str] = []
        self.good = {"fresh-1"}
        self.pause = pause
        upstream.default = self.answer

    def answer(self, seen: Seen) -> Reply:
        if seen.target == "/token":
            refresh = seen.json["refresh_token"]
            self.renewals.append(refresh)
            number = len(self.renewals)
            self.good.add(f"fresh-{number}")
            body = {"access_token": f"fresh-{number}", "refresh_token": f"refresh-{number}", "expires_in": 28_800}
            reply = json_reply(body)
            reply.before_head = [Wait(self.pause)]
            return reply
        if seen.header("authorization").removeprefix("Bearer ") not in self.good:
            return json_reply({"type": "error", "error": {"type": "authentication_error", "message": "no"}}, 401)
        return json_reply({"ok": True})


def token_settings(upstream: ScriptedUpstream) -> dict[str, str]:
    return {
        "PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": f"{upstream.url}/token",
        "PROVIDERS__CODEX__OAUTH__TOKEN_URL": f"{upstream.url}/codex-token",
        "PROVIDERS__COPILOT__OAUTH__COPILOT_TOKEN_URL": f"{upstream.url}/copilot-token",
    }


async def test_an_expired_login_is_renewed_once_for_everybody(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    path = write_claude_login(expiresAt=LONG_AGO, rateLimitTier="kept")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "mcpOAuth": {"also": "kept"}}))
    path.chmod(0o640)
    server = TokenServer(upstream, pause=0.2)
    proxies = [await start_proxy(**token_settings(upstream)) for _ in range(2)]
    answers = await asyncio.gather(
        *(proxies[n % 2].client.post(PATH, json=REQUEST) for n in range(20)),
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(server.renewals) == 1
    written = claude_file()
    assert written["mcpOAuth"] == {"also": "kept"}
    oauth = written["claudeAiOauth"]
    assert (oauth["accessToken"], oauth["refreshToken"], oauth["rateLimitTier"]) == ("fresh-1", "refresh-1", "kept")
    assert oauth["expiresAt"] > time.time() * 1000
    assert path.stat().st_mode & 0o777 == 0o640, "the mode is its owner's choice"


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.renewal import ClaudeRenewal
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.providers.login import make_ask
paths, clock = Paths.of_user(), SystemClock()
renewal = ClaudeRenewal(make_ask("x", Http, clock), lambda: {url!r}, lambda: "id", clock)
account = Account("claude", "Claude", ClaudeFile(paths, clock), renewal, clock, paths.state / "locks", "")
print(asyncio.run(account.credential()).secret)
"""


async def test_processes_that_share_a_file_renew_it_once(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    server = TokenServer(upstream, pause=0.3)
    proxy = await start_proxy(**token_settings(upstream))
    code = OTHER_PROCESS.format(root=str(Path(__file__).parents[3]), url=f"{upstream.url}/token")
    environ = {"HOME": str(Path.home()), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]}
    others = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE, env=environ)
        for _ in range(3)
    ]
    answers = await asyncio.gather(*(proxy.client.post(PATH, json=REQUEST) for _ in range(5)))
    secrets = {(await other.communicate())[0].decode().strip() for other in others}
    assert {answer.status_code for answer in answers} == {200}
    assert secrets == {"fresh-1"}
    assert len(server.renewals) == 1


async def test_a_token_that_the_upstream_refuses_is_renewed_and_the_request_goes_again(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    write_claude_login()
    server = TokenServer(upstream)
    proxy = await start_proxy(**token_settings(upstream))
    assert (await proxy.client.post(PATH, json=REQUEST)).json() == {"ok": True}
    assert len(server.renewals) == 1
    record = await proxy.ended()
    assert (record.calls, record.ended) == (2, "done")
    assert "token renewed" in [mark.name for mark in record.marks]


async def test_a_token_that_somebody_else_has_renewed_is_taken_over(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    write_claude_login(accessToken="old")
    server = TokenServer(upstream)
    proxy = await start_proxy(**token_settings(upstream))
    server.good = {"from-the-cli"}

    def refuse_then_rotate(seen: Seen) -> Reply:
        if seen.header("authorization") == "Bearer old":
            write_claude_login(accessToken="from-the-cli")
        return server.answer(seen)

    upstream.default = refuse_then_rotate
    assert (await proxy.client.post(PATH, json=REQUEST)).status_code == 200
    assert server.renewals == []


@pytest.mark.parametrize(
    "broken",
    [
        json_reply({"error": "invalid_grant"}, 400),
        json_reply({"error": "rate_limited"}, 429),
        Reply(502, [("content-type", "text/html")], [b"<html>Bad gateway</html>"]),
        Reply(200, [("content-type", "text/html")], [b"<html>challenge</html>"]),
        json_reply({"access_token": 7}),
        Reply(200, [], [b"{"], False, None, [Cut]),
    ],
)
async def test_a_broken_token_endpoint_spares_a_token_that_lives_and_explains_one_that_does_not(
    start_proxy: StartProxy, upstream: ScriptedUpstream, broken: Reply
) -> None:
    def answer(seen: Seen) -> Reply:
        return broken if seen.target == "/token" else json_reply({"ok": True})

    upstream.default = answer
    soon = int(time.time() * 1000) + 60_000  # it lives, and is due for renewal
    write_claude_login(expiresAt=soon)
    before = claude_file()
    proxy = await start_proxy(**token_settings(upstream))
    assert (await proxy.client.post(PATH, json=REQUEST)).json() == {"ok": True}
    assert (await proxy.client.post(PATH, json=REQUEST)).json() == {"ok": True}
    assert sum(seen.target == "/token" for seen in upstream.seen) == 1, "it waits before it tries again"
    assert claude_file() == before
    write_claude_login(expiresAt=LONG_AGO)
    proxy = await start_proxy(**token_settings(upstream))
    refused = await proxy.client.post(PATH, json=REQUEST)
    assert refused.status_code == 401
    message = refused.json()["error"]["message"]
    assert "Log in with `claude`" in message
    assert "test-refresh-token" not in message
    assert "renewal failed" in proxy.hub.accounts()[0].view().state


async def test_a_codex_login_is_renewed_by_form(
    start_proxy: StartProxy, upstream: ScriptedUpstream, other_logins: None
) -> None:
    path = Path.home() / ".codex" / "auth.json"
    document = json.loads(path.read_text())
    document["tokens"]["access_token"] = token(1_600_000_000)
    path.write_text(json.dumps(document))
    fresh = token(FAR_FUTURE // 1000)

    def answer(seen: Seen) -> Reply:
        if seen.target == "/codex-token":
            assert b"grant_type=refresh_token" in seen.body
            return json_reply({"access_token": fresh, "refresh_token": "rt-2", "id_token": fresh})
        assert seen.header("authorization") == f"Bearer {fresh}"
        return sse_reply(*response_events(said("x")))

    upstream.default = answer
    proxy = await start_proxy(**token_settings(upstream))
    assert (await proxy.client.post("/codex/v1/messages", json=REQUEST)).status_code == 200
    written = json.loads(path.read_text())
    assert (written["tokens"]["refresh_token"], written["tokens"]["account_id"]) == ("rt-2", "acct-1")
    assert written["OPENAI_API_KEY"] is None
    assert written["last_refresh"].endswith("Z")


def token(expires: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
    return f"e30.{claims}.sig"


async def test_a_copilot_token_comes_from_githubs(
    start_proxy: StartProxy, upstream: ScriptedUpstream, other_logins: None
) -> None:
    path = Path.home() / ".config" / "copilot" / "credentials.json"
    path.write_text(json.dumps({"oauth_token": {"access_token": "gho_1"}, "account_type": "business"}))

    def answer(seen: Seen) -> Reply:
        if seen.target == "/copilot-token":
            assert seen.header("authorization") == "token gho_1"
            return json_reply({"token": "tid=1", "expires_at": FAR_FUTURE // 1000, "endpoints": {"api": "https://x"}})
        assert seen.header("authorization") == "Bearer tid=1"
        return sse_reply(*chat_events("x"))

    upstream.default = answer
    proxy = await start_proxy(**token_settings(upstream))
    assert (await proxy.client.post("/copilot/v1/messages", json=REQUEST)).status_code == 200
    assert json.loads(path.read_text())["oauth_token"] == {"access_token": "gho_1"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"claudeAiOauth": 5}', b"\xff\xfe", b'{"claudeAiOauth":{}}'])
async def test_a_broken_file_is_said_and_nothing_breaks(
    start_proxy: StartProxy, upstream: ScriptedUpstream, content: bytes
) -> None:
    write_claude_login().write_bytes(content)
    proxy = await start_proxy()
    response = await proxy.client.post(PATH, json=REQUEST)
    assert response.status_code == 401
    assert ".credentials.json" in response.json()["error"]["message"]
    assert (await proxy.client.get("/health")).status_code == 200


async def test_a_login_in_use_is_renewed_before_a_request_needs_it(
    start_proxy: StartProxy, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccproxy_tui.core.server.hub.UPKEEP", 0.05)
    write_claude_login(accessToken="fresh-1")
    server = TokenServer(upstream)
    proxy = await start_proxy(**token_settings(upstream))
    await proxy.client.post(PATH, json=REQUEST)
    write_claude_login(accessToken="fresh-1", expiresAt=int(time.time() * 1000) + 100_000)
    await until(lambda: len(server.renewals) == 1)


SAVER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from ccproxy_tui.core.system import files
count = 0
def die(*_):
    global count
    count += 1
    if count == {point}:
        os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(die)
files.replace_file(Path({path!r}), b'{{"new": true}}' * 1000)
"""


@pytest.mark.parametrize("point", range(1, 60, 3))
def test_a_save_that_is_killed_anywhere_leaves_a_whole_file(tmp_path: Path, point: int) -> None:
    path = tmp_path / "credentials.json"
    replace_file(path, b'{"old": true}')
    root = str(Path(__file__).parents[3])
    subprocess.run([sys.executable, "-c", SAVER.format(root=root, path=str(path), point=point)], check=False)
    assert path.read_bytes() in (b'{"old": true}', b'{"new": true}' * 1000)


async def test_accounts_are_shown_without_their_secrets(proxy: Proxy) -> None:
    details = json.dumps([str(account.detail()) for account in proxy.hub.accounts()])
    assert "test-access-token" not in details
    assert "test-refresh-token" not in details


@pytest.mark.usefixtures("login_ports")
async def test_a_login_from_the_screens_ends_by_paste(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    path = write_claude_login(accessToken="old")
    upstream.default = lambda seen: json_reply({"access_token": "new-one", "refresh_token": "r", "expires_in": 3600})
    proxy = await start_proxy(**token_settings(upstream))
    control = proxy.control()
    view = await control.start_login("claude")
    assert (view.state, view.port) == ("waiting", 54545)
    await control.answer_login("claude", "some-code")

    async def state() -> str:
        [one] = [detail for detail in await control.accounts() if detail.view.provider == "claude"]
        return one.login.state if one.login is not None else ""

    while await state() == "waiting":
        await asyncio.sleep(0.01)
    assert await state() == "done"
    assert json.loads(path.read_text())["claudeAiOauth"]["accessToken"] == "new-one"
    with pytest.raises(ControlError):
        await control.answer_login("claude", "again")
    with pytest.raises(ControlError):
        await control.start_login("nobody")
    await control.renew_account("claude")
    await control.start_login("claude")
    await control.cancel_login("claude")
    await control.close()


async def test_what_is_used_of_a_plan_is_read_from_the_answers(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    resets = int(time.time()) + 3600
    headers = [
        ("anthropic-ratelimit-unified-5h-utilization", "0.41"),
        ("anthropic-ratelimit-unified-5h-reset", str(resets)),
        ("anthropic-ratelimit-unified-7d-utilization", "0.123"),
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("anthropic-ratelimit-unified-odd-utilization", "much"),
    ]
    upstream.replies.append(json_reply({}, 200, headers))
    await proxy.client.post(PATH, json=REQUEST)
    [view] = [account.view() for account in proxy.hub.accounts() if account.provider == "claude"]
    assert [(window.name, window.used) for window in view.windows] == [("5h", 41), ("7d", 12)]
    assert view.windows[0].resets == resets


@pytest.mark.parametrize("system", [None, "Be brief.", [{"type": "text", "text": "Be brief."}]])
async def test_the_identity_is_added_when_it_is_asked_for_and_never_doubled(
    start_proxy: StartProxy, upstream: ScriptedUpstream, system: Any
) -> None:
    upstream.default = lambda seen: json_reply({})
    proxy = await start_proxy(PROVIDERS__CLAUDE_API__SYSTEM_PROMPT_INJECTION_MODE="minimal")
    body = REQUEST if system is None else {**REQUEST, "system": system}
    await proxy.client.post(PATH, json=body)
    sent = upstream.seen[0].json
    assert sent["system"][0] == {"type": "text", "text": IDENTITY}
    assert [block["text"] for block in sent["system"][1:]] == ([] if system is None else ["Be brief."])
    assert "system[0]" in {note.field for note in (await proxy.ended()).notes}
    await proxy.client.post(PATH, json=sent)
    assert upstream.seen[1].json == sent
    await proxy.client.post("/api/v1/chat/completions", json={"model": "m", "messages": REQUEST["messages"]})
    assert upstream.seen[2].json["system"][0]["text"] == IDENTITY


async def test_a_providers_status_says_how_its_accounts_are(proxy: Proxy) -> None:
    status = (await proxy.client.get("/api/status")).json()
    assert (status["provider"], status["accounts"][0]["ok"]) == ("claude_api", True)
    assert (await proxy.client.get("/codex/status")).json()["accounts"][0]["state"] == "missing"
    assert "token" not in json.dumps(status)


async def test_a_wrong_clock_does_not_renew_for_every_request(
    start_proxy: StartProxy, upstream: ScriptedUpstream, other_logins: None
) -> None:
    path = Path.home() / ".codex" / "auth.json"
    document = json.loads(path.read_text())
    document["tokens"]["access_token"] = token(1_600_000_000)
    path.write_text(json.dumps(document))
    fresh = token(1_600_003_600)  # by the server's clock it lives; ours is years ahead

    def answer(seen: Seen) -> Reply:
        if seen.target == "/codex-token":
            return json_reply({"access_token": fresh, "refresh_token": "rt-2"})
        return sse_reply(*response_events(said("x")))

    upstream.default = answer
    proxy = await start_proxy(**token_settings(upstream))
    for _ in range(3):
        assert (await proxy.client.post("/codex/v1/messages", json=REQUEST)).status_code == 200
    assert sum(seen.target == "/codex-token" for seen in upstream.seen) == 1
    [detail] = [one.detail() for one in proxy.hub.accounts() if one.provider == "codex"]
    assert detail.view.ok
    assert any("clock of this machine" in text for _, text in detail.history)


async def test_an_api_key_of_the_codex_file_goes_to_openais_api(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    path = Path.home() / ".codex" / "auth.json"
    path.parent.mkdir()
    path.write_text('{"OPENAI_API_KEY": "sk-key"}')
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    proxy = await start_proxy(PROVIDERS__CODEX__API_BASE_URL=f"{upstream.url}/openai/v1")
    assert (await proxy.client.post("/codex/v1/messages", json=REQUEST)).status_code == 200
    assert upstream.seen[0].target == "/openai/v1/responses"
    assert upstream.seen[0].header("authorization") == "Bearer sk-key"
    assert (await proxy.ended()).billing == "API key"


async def test_a_provider_tells_how_a_plan_is_when_it_is_asked(
    start_proxy: StartProxy, upstream: ScriptedUpstream, other_logins: None
) -> None:
    write_claude_login()

    def answer(seen: Seen) -> Reply:
        match seen.target:
            case "/api/oauth/usage":
                return json_reply({"five_hour": {"utilization": 37.0, "resets_at": None}})
            case "/wham/usage":
                assert seen.header("chatgpt-account-id") == "acct-1"
                window = {"used_percent": 4, "limit_window_seconds": 18_000}
                return json_reply({"rate_limit": {"primary_window": window}})
            case _:
                return json_reply({"message": "Bad credentials"}, 401)

    upstream.default = answer
    proxy = await start_proxy(PROVIDERS__COPILOT__OAUTH__USER_URL=f"{upstream.url}/user", **token_settings(upstream))
    control = proxy.control()
    assert await control.check_account("claude") == "the login works; used: 5h 37%"
    with pytest.raises(ControlError, match="login was refused"):
        await control.check_account("copilot")
    await control.close()
    usage = (await proxy.client.get("/codex/usage")).json()
    assert usage["accounts"][0]["windows"] == [["5h", 4, None, None]]
    refused = (await proxy.client.get("/copilot/usage")).json()
    assert "Log in with" in refused["failures"]["copilot"]


@pytest.mark.usefixtures("login_ports")
async def test_a_browser_may_come_back_to_the_proxy_itself(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    path = write_claude_login(accessToken="old")
    upstream.default = lambda seen: json_reply({"access_token": "new-one", "refresh_token": "r", "expires_in": 3600})
    proxy = await start_proxy(**token_settings(upstream))
    control = proxy.control()
    view = await control.start_login("claude")
    state = parse_qs(urlsplit(view.url).query)["state"][0]
    wrong = await proxy.client.get("/oauth/callback", params={"code": "c", "state": "<script>"})
    assert (wrong.status_code, "<script>" in wrong.text) == (400, False)
    right = await proxy.client.get("/oauth/callback", params={"code": "c", "state": state})
    assert (right.status_code, "go back to the terminal" in right.text) == (200, True)
    await until(lambda: json.loads(path.read_text())["claudeAiOauth"]["accessToken"] == "new-one")
    assert (await control.log_out("claude")) == str(path)
    assert json.loads(path.read_text()) == {}
    await control.close()
