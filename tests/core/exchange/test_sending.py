"""Both ladders: what is asked next when a candidate or an account fails, what cools down, what the client gets."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ccproxy_tui
from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.pool import Pool, Turns
from ccproxy_tui.core.auth.reach import Reach
from ccproxy_tui.core.auth.renewal import ClaudeRenewal
from ccproxy_tui.core.errors import (
    InvalidRequest,
    NoAccountServes,
    NoCredentials,
    ProxyError,
    RouteNotFound,
    UpstreamCut,
    UpstreamGarbled,
    UpstreamUnreachable,
)
from ccproxy_tui.core.exchange.history import ResponseHistory
from ccproxy_tui.core.exchange.preparing import Preparer
from ccproxy_tui.core.exchange.sending import Sender
from ccproxy_tui.core.formats import Profile
from ccproxy_tui.core.formats.memory import recall_nothing
from ccproxy_tui.core.formats.report import Note
from ccproxy_tui.core.model_map import Candidate
from ccproxy_tui.core.provider import Answer, Call, Mark, Patch, Recorder, UpstreamRequest
from ccproxy_tui.core.records.events import Converted, Event, Marked, Routed, UpstreamAnswered, UpstreamAsked
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import FAR_FUTURE
from tests.core.auth.test_renewer import TokenEndpoint

BODY = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
KEY = Credential("api_key", "key")
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'


class Reply:
    """One answer of an upstream, and whether it was closed."""

    def __init__(self, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        self.status = status
        self.body = body
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.closed = 0

    def answer(self) -> Answer:
        return Answer(self.status, self.headers, self._chunks(), self._close)

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    def _close(self) -> None:
        self.closed += 1


class Upstream:
    """A provider that prepares, and the connection to its upstream, which answers by the secret that it is given."""

    prefixes: tuple[str, ...] = ()
    lists = None
    detector = None
    paths: Sequence[str] = ()

    def __init__(self, name: str, access: Credential | Turns | ProxyError = KEY, **replies: Reply | ProxyError) -> None:
        self.name = name
        self._access = access
        self.replies = replies
        self.refuses: ProxyError | None = None  # in place of a patch
        self.asked: list[str] = []
        self.requests: list[UpstreamRequest] = []
        self.connection = self

    def profile(self, model: str, dialect: str) -> Profile:
        return Profile("anthropic_messages", "anthropic")

    def access(self) -> Credential | Turns:
        if isinstance(self._access, ProxyError):
            raise self._access
        return self._access

    def patch(self, call: Call) -> Patch | None:
        if self.refuses is not None:
            raise self.refuses
        return None

    def prepare(self, call: Call, credential: Credential) -> UpstreamRequest:
        headers = (("authorization", f"Bearer {credential.secret}"),)
        return UpstreamRequest(call.method, "http://up/v1", headers, call.body, "someone", "plan", call.notes)

    async def carry(self, request: UpstreamRequest, mark: Mark) -> Answer:
        secret = dict(request.headers)["authorization"].removeprefix("Bearer ")
        self.asked.append(secret)
        self.requests.append(request)
        reply = self.replies.get(secret.replace("-", "_"), Reply())
        if isinstance(reply, ProxyError):
            raise reply
        return reply.answer()

    async def models(self) -> list[Any]:
        return []

    def accounts(self) -> list[Any]:
        return []

    async def close(self) -> None:
        """Nothing is held."""


class Room:
    """A sender, and all that it published."""

    def __init__(self, *providers: Any) -> None:
        settings = load(environ={}).settings
        preparer = Preparer(lambda: settings, SystemClock(), ResponseHistory(), recall_nothing)
        self.sender = Sender({one.name: one for one in providers}, preparer, Reach(SystemClock()))
        self.events: list[Event] = []

    async def ask(self, *candidates: str) -> Answer:
        call = Call("x", "messages", "POST", "v1/messages", "", [], BODY, "anthropic_messages", "m", session="s")
        chosen = [Candidate(name, "m") for name in candidates or ("a",)]
        answer, _ = await self.sender.begin(call, chosen, self.events.append, "/a/v1/messages").run()
        return answer

    def marks(self) -> list[str]:
        return [event.name for event in self.events if isinstance(event, Marked)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def account(name: str, *, secret: str | None = None, endpoint: TokenEndpoint | None = None) -> Account:
    """A login in a file of its own; renewable with an endpoint, and without a file when the secret is empty."""
    clock, paths = SystemClock(), Paths.of_user()
    place = Path.home() / f"{name.replace(':', '-')}.json"
    secret = name.partition(":")[2] if secret is None else secret
    if secret:
        oauth = {"accessToken": secret, "refreshToken": "r" if endpoint else "", "expiresAt": FAR_FUTURE}
        place.write_text(json.dumps({"claudeAiOauth": oauth}))
    own = ClaudeFile(paths, clock, {})
    file = JsonFile([place], place, own.parse, clock, keys=("claudeAiOauth",))
    renewal = ClaudeRenewal(endpoint or TokenEndpoint(), lambda: "http://127.0.0.1/t", lambda: "id", clock)
    return Account(name, name, file, renewal, clock, paths.state / "logins", "Log in.")


def pool(*accounts: Account) -> Pool:
    return Pool(accounts, SystemClock())


LIMIT = {"retry_after": "38"}
STREAM = {"content_type": "text/event-stream"}


@pytest.mark.parametrize(
    ("reply", "asked", "cooldown", "status"),
    [
        (Reply(200), ["one"], "", 200),
        (Reply(429, **LIMIT), ["one", "two"], "too fast", 200),
        (Reply(402), ["one", "two"], "plan used up", 200),
        (Reply(401), ["one", "two"], "login refused", 200),
        (Reply(403), ["one", "two"], "not allowed", 200),
        (Reply(503), ["one", "two"], "overloaded", 200),
        (Reply(529), ["one", "two"], "overloaded", 200),
        (Reply(200, OVERLOADED, **STREAM), ["one", "two"], "overloaded", 200),
        (Reply(200, b'event: message_start\ndata: {"type":"message_start"}\n\n', **STREAM), ["one"], "", 200),
        *((Reply(status), ["one"], "", status) for status in (400, 404, 408, 413, 422, 500, 502, 504)),
    ],
)
async def test_the_next_account_is_asked_when_it_may_serve_better(
    reply: Reply, asked: list[str], cooldown: str, status: int
) -> None:
    first = account("up:one")
    accounts = pool(first, account("up:two"))
    up = Upstream("a", Turns(accounts, "failover"), one=reply)
    room = Room(up)
    answer = await room.ask()
    assert (answer.status, up.asked) == (status, asked)
    rest = accounts.rest_of(first, "m")
    assert (rest.why if rest is not None else "") == cooldown
    assert room.marks()[-1:] == (["account refused"] if cooldown else [])
    assert [event.account for event in room.of(Routed)] == asked
    assert len(room.of(UpstreamAsked)) == len(asked)
    assert reply.closed == (reply.status >= 400 or reply.body == OVERLOADED)
    assert b"".join([chunk async for chunk in answer.body]) == (b"{}" if len(asked) == 2 else reply.body)


async def test_the_last_refusal_is_the_clients_to_know() -> None:
    accounts = pool(account("up:one"), account("up:two"))
    last = Reply(429, b'{"error":"slow"}', retry_after="9")
    room = Room(Upstream("a", Turns(accounts, "failover"), one=Reply(403), two=last))
    answer = await room.ask()
    assert (answer.status, answer.header("retry-after")) == (429, "9")
    assert [chunk async for chunk in answer.body] == [b'{"error":"slow"}']
    assert room.marks() == ["account refused", "account refused"]


async def test_accounts_in_cooldown_are_asked_last_and_none_twice() -> None:
    accounts = pool(account("up:one"), account("up:two"), account("up:three"))
    up = Upstream("a", Turns(accounts, "failover"), one=Reply(529), two=Reply(529), three=Reply(529))
    room = Room(up)
    assert (await room.ask()).status == 529
    assert up.asked == ["one", "two", "three"]
    up.asked.clear()
    assert (await room.ask()).status == 529
    assert up.asked == ["one"], "all are in cooldown: one answer is enough"


async def test_an_account_without_a_login_is_left_out_and_the_others_serve() -> None:
    room = Room(up := Upstream("a", Turns(pool(account("up:one", secret=""), account("up:two")), "failover")))
    assert (await room.ask()).status == 200
    assert (up.asked, room.marks()) == (["two"], ["account unusable"])


async def test_without_any_login_the_client_is_told_the_next_step() -> None:
    room = Room(up := Upstream("a", Turns(pool(account("up:one", secret="")), "failover")))
    with pytest.raises(NoCredentials, match=r"No up:one credentials were found\.") as raised:
        await room.ask()
    assert (raised.value.hint, up.asked, room.of(UpstreamAsked)) == ("Log in.", [], [])


async def test_accounts_that_you_have_set_aside_are_never_asked() -> None:
    one, two = account("up:one"), account("up:two")
    one.set_aside(aside=True)
    room = Room(up := Upstream("a", Turns(pool(one, two), "failover"), two=Reply(429)))
    assert (await room.ask()).status == 429
    two.set_aside(aside=True)
    with pytest.raises(NoAccountServes, match="up:one disabled; up:two disabled"):
        await room.ask()
    assert up.asked == ["two"]


async def test_a_connection_that_fails_says_nothing_of_the_account() -> None:
    one = account("up:one")
    accounts = pool(one, account("up:two"))
    room = Room(up := Upstream("a", Turns(accounts, "failover"), one=UpstreamUnreachable("gone")))
    with pytest.raises(UpstreamUnreachable):
        await room.ask()
    assert (up.asked, accounts.rest_of(one, "m")) == (["one"], None)


async def test_a_refused_token_is_renewed_and_asked_with_once() -> None:
    endpoint, refused = TokenEndpoint(), Reply(401)
    accounts = pool(account("up:one", secret="stale", endpoint=endpoint), account("up:two"))
    room = Room(up := Upstream("a", Turns(accounts, "failover"), stale=refused))
    assert (await room.ask()).status == 200
    assert (up.asked, len(endpoint.asked), refused.closed) == (["stale", "fresh-1"], 1, 1)
    assert room.marks() == ["token renewed"]
    assert len(room.of(UpstreamAsked)) == 2


async def test_a_renewed_token_that_is_refused_too_goes_to_the_next_account() -> None:
    endpoint = TokenEndpoint()
    accounts = pool(account("up:one", secret="stale", endpoint=endpoint), account("up:two"))
    room = Room(up := Upstream("a", Turns(accounts, "failover"), stale=Reply(401), fresh_1=Reply(401)))
    assert (await room.ask()).status == 200
    assert up.asked == ["stale", "fresh-1", "two"]
    assert room.marks() == ["token renewed", "account refused"]


async def test_a_login_that_can_not_be_renewed_goes_to_the_next_account() -> None:
    endpoint = TokenEndpoint()
    endpoint.status = 400
    accounts = pool(account("up:one", secret="stale", endpoint=endpoint), account("up:two"))
    room = Room(up := Upstream("a", Turns(accounts, "failover"), stale=Reply(401)))
    assert (await room.ask()).status == 200
    assert up.asked == ["stale", "two"]
    assert room.marks() == ["login refused", "account refused"]


async def test_paid_use_is_on_record_and_only_of_an_answer() -> None:
    said = {"status": "allowed", "overage_status": "allowed", "representative_claim": "overage"}
    headers = {f"anthropic_ratelimit_unified_{name}": value for name, value in said.items()}
    for status, billed in ((200, ["Billed"]), (400, [])):
        turns = Turns(pool(account("up:one")), "failover")
        room = Room(Upstream("a", turns, one=Reply(status, **headers)))
        await room.ask()
        assert [type(event).__name__ for event in room.events] == ["Routed", "UpstreamAsked", *billed]


# --- candidates ---


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529])
async def test_the_next_candidate_is_asked_after_a_refusal(status: int) -> None:
    reply = Reply(status)
    room = Room(Upstream("a", key=reply), other := Upstream("b"))
    assert (await room.ask("a", "b")).status == 200
    assert (other.asked, reply.closed, room.marks()) == (["key"], 1, ["fell back"])


@pytest.mark.parametrize("status", [200, 400, 405, 409, 413, 422, 501])
async def test_an_answer_about_the_request_itself_is_the_clients(status: int) -> None:
    room = Room(Upstream("a", key=Reply(status)), other := Upstream("b"))
    assert (await room.ask("a", "b")).status == status
    assert (other.asked, room.marks()) == ([], [])


@pytest.mark.parametrize(
    "problem", [UpstreamUnreachable("gone"), UpstreamCut("cut"), NoCredentials("no key"), NoAccountServes("none")]
)
async def test_the_next_candidate_is_asked_when_none_could_be(problem: ProxyError) -> None:
    room = Room(Upstream("a", problem), other := Upstream("b"))
    assert (await room.ask("a", "b")).status == 200
    assert (other.asked, room.marks()) == (["key"], ["fell back"])


async def test_what_a_provider_does_not_serve_another_one_may() -> None:
    first = Upstream("a")
    first.refuses = RouteNotFound("a has no such thing.")
    room = Room(first, other := Upstream("b"))
    assert (await room.ask("unknown", "a", "b")).status == 200
    assert (first.asked, other.asked, room.marks()) == ([], ["key"], ["fell back", "fell back"])
    with pytest.raises(RouteNotFound, match="No provider 'unknown' serves '/a/v1/messages'"):
        await room.ask("unknown")


async def test_a_request_that_is_wrong_is_wrong_everywhere() -> None:
    first = Upstream("a")
    first.refuses = InvalidRequest("no")
    room = Room(first, other := Upstream("b"))
    with pytest.raises(InvalidRequest):
        await room.ask("a", "b")
    assert other.asked == []


async def test_a_redirect_is_not_followed_and_the_next_candidate_asked() -> None:
    reply = Reply(302, location="http://elsewhere")
    room = Room(Upstream("a", key=reply), Upstream("b"))
    assert (await room.ask("a", "b")).status == 200
    assert (reply.closed, [event.status for event in room.of(UpstreamAnswered)]) == (1, [302])
    with pytest.raises(UpstreamGarbled, match="a answered 302: redirects are not followed"):
        await room.ask("a")


# --- the hook, and the second kind ---


async def test_the_hook_has_the_last_word_on_each_request() -> None:
    seen: list[str] = []

    async def hook(call: Call, request: UpstreamRequest) -> UpstreamRequest:
        seen.append(dict(request.headers)["authorization"])
        notes = (*request.notes, Note("changed", "all", "by a hook"))
        return UpstreamRequest(request.method, f"{request.url}/x", request.headers, b'{"changed":1}', notes=notes)

    accounts = pool(account("up:one"), account("up:two"))
    room = Room(up := Upstream("a", Turns(accounts, "failover"), one=Reply(529)))
    room.sender.hook = hook
    assert (await room.ask()).status == 200
    assert seen == ["Bearer one", "Bearer two"]
    assert [(one.url, one.body) for one in up.requests] == [("http://up/v1/x", b'{"changed":1}')] * 2
    assert [(event.url, event.body) for event in room.of(UpstreamAsked)] == [("http://up/v1/x", b'{"changed":1}')] * 2
    assert [note.field for event in room.of(Converted) for note in event.notes] == ["all", "all"]


class Agent(Upstream):
    """A provider that serves calls itself."""

    async def run(self, call: Call, record: Recorder) -> Answer:
        record.routed("an agent", "free")
        record.asked("POST", "agent:///1", [("authorization", "secret")], call.body)
        reply = self.replies.get("run", Reply())
        if isinstance(reply, ProxyError):
            raise reply
        return reply.answer()


async def test_a_provider_that_runs_calls_is_a_candidate_like_any_other() -> None:
    room = Room(Agent("a", run=UpstreamCut("no agent")), Agent("b"))
    assert (await room.ask("a", "b")).status == 200
    assert [event.provider for event in room.of(Routed)] == ["a", "b"]
    assert [event.url for event in room.of(UpstreamAsked)] == ["agent:///1"] * 2
    assert room.of(UpstreamAsked)[0].headers != (("authorization", "secret"),)


# --- there is no other sender ---

SENDS: dict[str, Callable[[ast.Call], bool]] = {
    "publishes UpstreamAsked": lambda call: isinstance(call.func, ast.Name) and call.func.id == "UpstreamAsked",
    "uses a connection": lambda call: isinstance(call.func, ast.Attribute) and call.func.attr == "carry",
    "runs a call": lambda call: (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "run"
        and [ast.unparse(one) for one in call.args] == ["call", "record"]
    ),
    "takes an account's credential after a refusal": lambda call: (
        isinstance(call.func, ast.Attribute) and call.func.attr == "credential_after_refusal"
    ),
}
ALSO_CARRY = {"providers/upstream.py", "providers/codex/connection.py"}  # connections that are made of connections


@pytest.mark.parametrize("what", SENDS)
def test_no_other_module_sends(what: str) -> None:
    root = Path(ccproxy_tui.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and SENDS[what](node)
    }
    assert found - (ALSO_CARRY if what == "uses a connection" else set()) == {"core/exchange/sending.py"}
