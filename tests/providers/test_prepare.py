"""What each upstream is asked, as values: no socket is opened, and no file is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound
from ccproxy_tui.core.formats import Format, Misfit, Report
from ccproxy_tui.core.provider import Call, Prepares, UpstreamRequest
from ccproxy_tui.core.routing import DIALECTS, Operation
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.providers.claude_api import ClaudeApi
from ccproxy_tui.providers.codex import Codex
from ccproxy_tui.providers.compatible import Compatible
from ccproxy_tui.providers.copilot import Copilot
from ccproxy_tui.providers.registry import Context
from tests.fakes.clock import FakeClock

LOGIN = Credential("oauth", "secret-token", plan="max", source="/home/x/login.json")
KEY = Credential("api_key", "sk-secret")
NO_KEY = Credential("api_key", "")
MESSAGES = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
IDENTITY = "You are Claude Code, Anthropic's official CLI for Claude."


def context(**settings: str) -> Context:
    values = {name.replace("__C__", "__COMPATIBLE__MINE__"): value for name, value in settings.items()}
    settings_now = load(environ=values).settings
    return Context(lambda: settings_now, FakeClock(), Paths.of_user(), environ=values)


def claude(**settings: str) -> Prepares:
    return ClaudeApi(context(**settings))


def codex(**settings: str) -> Prepares:
    return Codex(context(**settings))


def copilot(**settings: str) -> Prepares:
    return Copilot(context(**settings))


def compatible(dialect: Format) -> Prepares:
    base = "http://local:1" if dialect == "anthropic_messages" else "http://local:1/v1"
    return Compatible("mine", context(PROVIDERS__C__FORMAT=dialect, PROVIDERS__C__BASE_URL=base))


def call(operation: Operation = "messages", path: str = "v1/messages", body: bytes = MESSAGES, **more: Any) -> Call:
    return replace(
        Call("x1", operation, "POST", path, "", [("user-agent", "a-client")], body, DIALECTS.get(operation), "m"),
        **more,
    )


def prepared(provider: Prepares, asked: Call, credential: Credential) -> UpstreamRequest:
    """As `core.exchange.preparing` and `sending` do it."""
    notes = Report()
    if (patch := provider.patch(asked)) is not None:
        asked = replace(patch(asked, notes), notes=tuple(notes))
    return provider.prepare(asked, credential)


def fields(request: UpstreamRequest) -> set[str]:
    """What notes are about."""
    return {note.field for note in request.notes}


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("v1/messages", "", "https://api.anthropic.com/v1/messages"),
        ("messages", "beta=true", "https://api.anthropic.com/v1/messages?beta=true"),
        ("api/oauth/usage", "", "https://api.anthropic.com/api/oauth/usage"),
    ],
)
def test_claude_with_a_login_keeps_the_body_and_adds_to_the_betas(path: str, query: str, url: str) -> None:
    asked = call(path=path, query=query, headers=[("anthropic-beta", "a, b"), ("x-app", "cli")])
    request = prepared(claude(), asked, LOGIN)
    assert (request.method, request.url, request.body, request.notes) == ("POST", url, MESSAGES, ())
    assert request.body is asked.body
    assert request.headers == (
        ("x-app", "cli"),
        ("authorization", "Bearer secret-token"),
        ("anthropic-beta", "a,b,oauth-2025-04-20"),
        ("anthropic-version", "2023-06-01"),
        ("accept-encoding", "identity"),
    )
    assert (request.account, request.billing, request.conversation) == ("max", "plan", ())


def test_claude_with_a_key_adds_no_beta() -> None:
    request = prepared(claude(), call(headers=[("anthropic-version", "2024-01-01")]), KEY)
    assert request.headers == (
        ("anthropic-version", "2024-01-01"),
        ("x-api-key", "sk-secret"),
        ("accept-encoding", "identity"),
    )
    assert (request.account, request.billing) == ("API key", "API key")


@pytest.mark.parametrize(
    ("settings", "operation", "blocks"),
    [
        ({}, "messages", None),
        ({"PROVIDERS__CLAUDE_API__SYSTEM_PROMPT_INJECTION_MODE": "minimal"}, "messages", [IDENTITY]),
        ({"PROVIDERS__CLAUDE_API__SYSTEM_PROMPT_INJECTION_MODE": "minimal"}, "count_tokens", [IDENTITY]),
        ({"PROVIDERS__CLAUDE_API__SYSTEM_PROMPT_INJECTION_MODE": "minimal"}, "other", None),
        (
            {
                "PROVIDERS__CLAUDE_API__SYSTEM_PROMPT_INJECTION_MODE": "minimal",
                "PROVIDERS__CLAUDE_API__API_KEY": "sk-secret",
            },
            "messages",
            None,
        ),
    ],
)
def test_the_identity_goes_with_a_login_where_the_settings_want_it(
    settings: dict[str, str], operation: Operation, blocks: list[str] | None
) -> None:
    request = prepared(claude(**settings), call(operation), LOGIN)
    body = json.loads(request.body)
    if blocks is None:
        assert (request.body, request.notes) == (MESSAGES, ())
    else:
        assert [block["text"] for block in body["system"]] == blocks
        assert [(note.action, note.field) for note in request.notes] == [("injected", "system[0]")]


RESPONSES = b'{"model":"m","input":"hi","temperature":1}'


def test_codex_with_a_login_streams_and_stores_nothing() -> None:
    asked = call("responses", "v1/responses", RESPONSES, session="s-1")
    request = prepared(codex(), asked, replace(LOGIN, account="acct"))
    assert request.url == "https://chatgpt.com/backend-api/codex/responses"
    assert request.headers == (
        ("user-agent", "a-client"),
        ("session-id", "s-1"),
        ("authorization", "Bearer secret-token"),
        ("accept", "text/event-stream"),
        ("chatgpt-account-id", "acct"),
        ("thread-id", "s-1"),
        ("originator", "ccproxy-tui"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
    )
    body = json.loads(request.body)
    assert (body["stream"], body["store"], body["prompt_cache_key"]) == (True, False, "s-1")
    assert "temperature" not in body
    assert fields(request) == {"temperature", "stream", "store", "prompt_cache_key"}
    assert (request.account, request.billing) == ("max", "plan")


def test_codex_with_a_key_asks_openai() -> None:
    request = prepared(codex(), call("responses", "responses", RESPONSES), replace(KEY, plan="API key"))
    assert (request.url, request.billing) == ("https://api.openai.com/v1/responses", "API key")
    assert "chatgpt-account-id" not in dict(request.headers)


@pytest.mark.parametrize(
    ("settings", "wishes", "credential", "operation", "may"),
    [
        ({}, {"socket": "1"}, LOGIN, "responses", True),
        ({}, {}, LOGIN, "responses", False),
        ({}, {"socket": "1"}, KEY, "responses", False),
        ({}, {"socket": "1"}, LOGIN, "compact", False),
        ({"CODEX__UPSTREAM_WEBSOCKET": "off"}, {"socket": "1"}, LOGIN, "responses", False),
    ],
)
def test_codex_may_serve_by_a_socket_only_a_client_of_one(
    settings: dict[str, str], wishes: dict[str, str], credential: Credential, operation: Operation, may: bool
) -> None:
    request = prepared(codex(**settings), call(operation, operation, RESPONSES, wishes=wishes), credential)
    assert request.conversation == (("/home/x/login.json", "", "x1") if may else ())


def test_a_converted_call_is_not_patched_for_codex() -> None:
    body = b'{"model":"m","input":[],"stream":true}'
    request = prepared(codex(), call("responses", "v1/responses", body, converted=True), LOGIN)
    assert (request.body, request.notes) == (body, ())


def test_codex_refuses_what_it_can_not_do_and_names_the_field() -> None:
    with pytest.raises(Misfit, match="Nothing stored"):
        prepared(codex(), call("responses", "responses", b'{"input":"x","previous_response_id":"r"}'), LOGIN)
    with pytest.raises(InvalidRequest, match="x-ccproxy-codex-instructions"):
        codex().patch(call("responses", wishes={"codex-instructions": "loud"}))


CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STEP = b'{"model":"m","messages":[{"role":"assistant","content":""},{"role":"tool","content":"x"}]}'


@pytest.mark.parametrize(
    ("body", "initiator", "billing"),
    [(CHAT, "user", "premium request"), (STEP, "agent", "not billed (agent turn)")],
)
def test_copilot_is_asked_as_an_editor_and_bills_questions_alone(body: bytes, initiator: str, billing: str) -> None:
    asked = call("chat", "v1/chat/completions", body, headers=[("x-initiator", "agent"), ("accept", "*/*")])
    request = prepared(copilot(), asked, replace(LOGIN, base_url="https://api.individual.example"))
    assert request.url == "https://api.individual.example/chat/completions"
    own = [(name, value) for name, value in request.headers if name != "editor-version"]
    assert own == [
        ("accept", "*/*"),
        ("authorization", "Bearer secret-token"),
        ("copilot-integration-id", "vscode-chat"),
        ("x-github-api-version", "2025-05-01"),
        ("openai-intent", "conversation-agent"),
        ("x-initiator", initiator),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
    ]
    assert (request.billing, request.account, request.notes) == (billing, "max", ())


def test_copilot_gets_limits_by_the_name_that_its_model_knows() -> None:
    body = b'{"model":"x","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image_url"}]}]}'
    request = prepared(copilot(), call("chat", "chat/completions", body, model="gpt-5.4"), LOGIN)
    assert json.loads(request.body)["max_completion_tokens"] == 5
    assert json.loads(request.body)["model"] == "gpt-5.4"
    assert [(note.action, note.field) for note in request.notes] == [("renamed", "max_tokens")]
    assert dict(request.headers)["copilot-vision-request"] == "true"
    assert request.url == "https://api.githubcopilot.com/chat/completions"


@pytest.mark.parametrize(
    ("dialect", "path", "url", "header"),
    [
        ("anthropic_messages", "messages", "http://local:1/v1/messages", ("x-api-key", "sk-secret")),
        (
            "openai_chat",
            "v1/chat/completions",
            "http://local:1/v1/chat/completions",
            ("authorization", "Bearer sk-secret"),
        ),
        ("openai_responses", "responses", "http://local:1/v1/responses", ("authorization", "Bearer sk-secret")),
    ],
)
def test_a_compatible_server_gets_the_clients_own_request(
    dialect: Format, path: str, url: str, header: tuple[str, str]
) -> None:
    provider = compatible(dialect)
    asked = call(path=path, query="a=b")
    request = prepared(provider, asked, KEY)
    assert (request.url, request.body, request.notes) == (f"{url}?a=b", MESSAGES, ())
    assert request.headers[-1] == header
    assert ("anthropic-version" in dict(request.headers)) == (dialect == "anthropic_messages")
    assert not {"x-api-key", "authorization"} & dict(prepared(provider, asked, NO_KEY).headers).keys()


@pytest.mark.parametrize("make", [claude, codex, lambda: compatible("anthropic_messages")])
def test_what_an_upstream_does_not_have_is_said_before_an_account_is_asked(make: Callable[[], Prepares]) -> None:
    with pytest.raises(RouteNotFound, match="no embeddings"):
        make().patch(call("embeddings", "v1/embeddings"))


@pytest.mark.parametrize("make", [claude, codex, copilot, lambda: compatible("openai_chat")])
@pytest.mark.parametrize("operation", ["messages", "chat", "responses", "compact", "other"])
def test_a_request_is_the_same_value_each_time_and_shows_no_secret(
    make: Callable[[], Prepares], operation: Operation
) -> None:
    provider = make()
    asked = call(operation, body=b'{"input":[],"messages":[]}')
    before = json.dumps(asked.headers), asked.body
    try:
        first, again = prepared(provider, asked, LOGIN), prepared(provider, asked, LOGIN)
    except ProxyError:
        pytest.fail("every provider prepares every call that it is given")
    assert first == again
    assert (json.dumps(asked.headers), asked.body) == before
    assert "secret" not in repr(first)
