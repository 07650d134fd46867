"""The list of changes to a request's body: which are made, in which order, and what is noted of each."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ccproxy_tui
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.exchange.history import ResponseHistory
from ccproxy_tui.core.exchange.preparing import Plan, Preparer
from ccproxy_tui.core.formats import Format, Misfit, Profile, Report
from ccproxy_tui.core.formats.memory import recall_nothing
from ccproxy_tui.core.formats.seal import Seal, wrap
from ccproxy_tui.core.provider import Call, Patch
from ccproxy_tui.core.routing import DIALECTS, Operation
from ccproxy_tui.core.settings import load
from tests.fakes.clock import FakeClock

LIMITED = {"MODELS__LIMIT_MAX_TOKENS": "true"}
FOREIGN = wrap(Seal("openai", {"type": "reasoning", "encrypted_content": "x"}))


class Provider:
    """A provider whose upstream speaks `profile.format`, and needs `change` in a request."""

    name = "up"
    prefixes: tuple[str, ...] = ()
    lists = None
    detector = None
    paths: Sequence[str] = ()

    def __init__(self, profile: Profile, change: Patch | None = None) -> None:
        self._profile, self._change = profile, change
        self.patched: list[Call] = []

    def profile(self, model: str, dialect: Format) -> Profile:
        return self._profile

    def patch(self, call: Call) -> Patch | None:
        self.patched.append(call)
        return self._change


class Runner(Provider):
    """One that serves calls itself."""

    async def run(self) -> None:
        raise NotImplementedError


def speaks(dialect: Format, change: Patch | None = None, **more: Any) -> Provider:
    return Provider(Profile(dialect, "anthropic" if dialect == "anthropic_messages" else "openai", **more), change)


def call(operation: Operation, body: dict[str, Any] | bytes, model: str = "asked") -> Call:
    raw = body if isinstance(body, bytes) else json.dumps({"model": model, **body}).encode()
    headers = [("x-stainless-os", "Linux"), ("user-agent", "a-client")]
    return Call("x", operation, "POST", operation, "a=b", headers, raw, DIALECTS.get(operation), model, session="s")


async def prepare(
    asked: Call, provider: Provider, model: str = "asked", history: ResponseHistory | None = None, **settings: str
) -> Plan:
    loaded = load(environ=settings).settings
    preparer = Preparer(lambda: loaded, FakeClock(), history or ResponseHistory(), recall_nothing)
    return await preparer.prepare(asked, provider, model)  # type: ignore[arg-type]


def notes(plan: Plan) -> list[tuple[str, str]]:
    return [(note.action, note.field) for note in plan.report]


HI = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("operation", "dialect"),
    [
        ("messages", "anthropic_messages"),
        ("chat", "openai_chat"),
        ("responses", "openai_responses"),
        ("count_tokens", "anthropic_messages"),
        ("compact", "openai_responses"),
        ("embeddings", "openai_chat"),
        ("other", "openai_chat"),
    ],
)
async def test_what_needs_no_change_is_the_clients_own_value(operation: Operation, dialect: Format) -> None:
    asked = call(operation, b' {"model": "asked", "messages": [],  "input": [], "x": 1.50} ')
    plan = await prepare(asked, speaks(dialect))
    assert plan.call is asked
    assert (plan.conversion, notes(plan), plan.shown_model) == (None, [], "")


async def test_changes_in_the_clients_dialect_are_made_in_order_and_each_is_noted() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": FOREIGN}
    turns = [*HI["messages"], {"role": "assistant", "content": [thinking, {"type": "text", "text": "x"}]}]
    asked = call("messages", {"max_tokens": 99_000, "messages": turns, "n": 1})
    plan = await prepare(asked, speaks("anthropic_messages"), "claude-3-opus-x", **LIMITED)
    body = json.loads(plan.call.body)
    assert list(body) == ["model", "max_tokens", "messages", "n"]
    assert (body["model"], body["max_tokens"]) == ("claude-3-opus-x", 4096)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "x"}]
    assert notes(plan) == [
        ("changed", "model"),
        ("changed", "max_tokens"),
        ("dropped", "messages[].content[] (thinking)"),
    ]
    assert (plan.call.model, plan.shown_model) == ("claude-3-opus-x", "asked")


async def test_a_new_name_keeps_every_other_byte() -> None:
    asked = call("messages", b'{"model":"asked","x":1.50,"messages":[ ]}')
    plan = await prepare(asked, speaks("anthropic_messages"), "b")
    assert plan.call.body == b'{"model":"b","x":1.50,"messages":[ ]}'


async def test_a_limit_that_is_kept_changes_nothing() -> None:
    asked = call("messages", {"max_tokens": 4096, **HI}, "claude-3-opus-x")
    plan = await prepare(asked, speaks("anthropic_messages"), "claude-3-opus-x", **LIMITED)
    assert plan.call is asked


async def test_a_conversion_has_the_name_and_the_limit_in_it() -> None:
    asked = call("chat", {"max_tokens": 99_000, **HI})
    plan = await prepare(asked, speaks("anthropic_messages"), "claude-3-opus-x", **LIMITED)
    body = json.loads(plan.call.body)
    assert (body["model"], body["max_tokens"]) == ("claude-3-opus-x", 4096)
    assert (plan.call.operation, plan.call.path, plan.call.query) == ("messages", "v1/messages", "")
    assert (plan.call.format, plan.call.converted) == ("anthropic_messages", True)
    assert "x-stainless-os" not in dict(plan.call.headers), "the client's SDK is none of the other vendor's"
    assert plan.conversion is not None
    assert plan.report is plan.conversion.report
    assert {"model", "max_tokens"} <= {field for _, field in notes(plan)}


async def test_earlier_turns_come_before_the_conversion() -> None:
    history = ResponseHistory()
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]}
    history.remember(call("responses", {"input": "one"}).body, {"id": "r1", "output": [item]})
    asked = call("responses", {"previous_response_id": "r1", "input": "three"})
    plan = await prepare(asked, speaks("anthropic_messages"), history=history)
    said = [message["content"][0]["text"] for message in json.loads(plan.call.body)["messages"]]
    assert (said, plan.turns, plan.keeps_history) == (["one", "two", "three"], 1, True)


@pytest.mark.parametrize(
    ("dialect", "stream_only", "local_history", "keeps"),
    [
        ("openai_responses", False, "true", False),
        ("openai_responses", True, "true", True),
        ("openai_chat", False, "true", True),
        ("openai_chat", False, "false", False),
    ],
)
async def test_answers_are_kept_where_the_upstream_keeps_none(
    dialect: Format, stream_only: bool, local_history: str, keeps: bool
) -> None:
    asked = call("responses", {"input": "hi"})
    plan = await prepare(asked, speaks(dialect, stream_only=stream_only), CODEX__LOCAL_HISTORY=local_history)
    assert plan.keeps_history is keeps


def shout(asked: Call, report: Report) -> Call:
    """The change that an upstream needs."""
    report.changed("text", "the upstream is deaf")
    return replace(asked, body=asked.body.upper())


async def test_the_providers_own_change_is_the_last_and_noted_with_the_call() -> None:
    provider = speaks("openai_chat", shout)
    plan = await prepare(call("messages", {"max_tokens": 5, **HI}), provider, "b")
    [seen] = provider.patched
    assert (seen.format, seen.converted, json.loads(seen.body)["model"]) == ("openai_chat", True, "b")
    assert plan.call.body == seen.body.upper()
    assert [note.field for note in plan.call.notes] == ["text"]
    assert "text" not in {field for _, field in notes(plan)}


async def test_a_large_body_is_changed_beside_the_loop() -> None:
    threads: set[str] = set()

    def change(asked: Call, report: Report) -> Call:
        import threading

        threads.add(threading.current_thread().name)
        return asked

    provider = speaks("openai_chat", change)
    await prepare(call("chat", HI), provider)
    assert threads == {"MainThread"}
    threads.clear()
    await prepare(call("chat", {**HI, "x": "y" * 200_000}), provider)
    assert "MainThread" not in threads


async def test_a_provider_that_serves_calls_itself_gets_them_without_a_patch() -> None:
    plan = await prepare(call("messages", HI), runner := Runner(Profile("anthropic_messages", "anthropic")))
    assert (plan.call.notes, runner.patched) == ((), [])


def fails(asked: Call, report: Report) -> Call:
    raise Misfit("This is too loud.", "input", 2)


@pytest.mark.parametrize(
    ("asked", "provider", "text", "field"),
    [
        (call("messages", {"messages": 5}), speaks("openai_chat"), "messages: ", "messages"),
        (call("chat", {"messages": 5}), speaks("anthropic_messages"), "", "messages"),
        (call("chat", HI), speaks("openai_responses", fails), "This is too loud.", "input[2]"),
        (call("chat", HI), speaks("anthropic_messages", fails), "input.2: This is too loud.", "input.2"),
    ],
)
async def test_what_can_not_be_changed_is_named_in_the_words_of_its_dialect(
    asked: Call, provider: Provider, text: str, field: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await prepare(asked, provider)
    assert raised.value.message.startswith(text)
    assert raised.value.field == field


async def test_only_responses_can_be_compacted() -> None:
    with pytest.raises(RouteNotFound, match="up can't compact"):
        await prepare(call("compact", {"input": []}), speaks("openai_chat"))


# What writes a request's body again, and where it may be called from.
WRITERS = {
    "convert_request": {"core/exchange/preparing.py"},
    "expand": {"core/exchange/preparing.py"},
    "without_foreign_thinking": {"core/exchange/preparing.py"},
    "with_fields": {"core/exchange/preparing.py", "core/exchange/delivery.py"},  # there, of answers
    "with_identity": {"providers/claude_api/prepare.py"},
    "inject_into": {"providers/codex/prepare.py"},
    "patch_request": {"providers/codex/prepare.py", "providers/copilot/prepare.py"},
    "patch": {"core/exchange/preparing.py"},
}


@pytest.mark.parametrize("writer", WRITERS)
def test_no_other_module_changes_a_body(writer: str) -> None:
    root = Path(ccproxy_tui.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in (*root.glob("core/**/*.py"), *root.glob("providers/**/*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Name) and node.id == writer and writer not in ("patch", "expand"))
        or (isinstance(node, ast.Attribute) and node.attr == "patch" and writer == "patch")
        or (isinstance(node, ast.ImportFrom) and writer == "expand" and writer in {one.name for one in node.names})
    }
    assert found == WRITERS[writer]
