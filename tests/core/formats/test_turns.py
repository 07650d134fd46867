"""Conversations over several turns: what was sealed comes back intact, and the start of a prompt never changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.formats import FORMATS, Conversion, Format, Misfit, Profile
from ccproxy_tui.core.formats.anthropic_messages.native import without_foreign_thinking
from ccproxy_tui.core.formats.openai_chat.native import patch_request as patch_chat
from ccproxy_tui.core.formats.openai_responses.native import patch_request as patch_responses
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import Seal, is_wrapped, unwrap, wrap
from ccproxy_tui.core.server.memory import Memory
from tests.core.formats.tools import CACHING, CLAUDE, CODEX, COPILOT, SCHEMA, convert
from tests.fakes.streams import called, chat_events, message_events, response_events, said, thought

PROFILES: dict[Format, Profile] = {
    "anthropic_messages": CLAUDE,
    "openai_chat": COPILOT,
    "openai_responses": CODEX,
}
SIGNED = {"type": "thinking", "thinking": "Let me look.", "signature": "c2lnbmVk"}
REDACTED = {"type": "redacted_thinking", "data": "c2VjcmV0"}
USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}}
REASONING = thought("Let me", "look.")


def first_request(client: Format) -> dict[str, Any]:
    """A question with a tool and thinking, in the client's dialect."""
    match client:
        case "anthropic_messages":
            return {
                "model": "m",
                "max_tokens": 20_000,
                "messages": [{"role": "user", "content": "weather?"}],
                "tools": [{"name": "weather", "input_schema": SCHEMA}],
                "thinking": {"type": "enabled", "budget_tokens": 4000},
            }
        case "openai_chat":
            return {
                "model": "m",
                "messages": [{"role": "user", "content": "weather?"}],
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
                "reasoning_effort": "medium",
            }
        case "openai_responses":
            return {
                "model": "m",
                "input": [{"role": "user", "content": "weather?"}],
                "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}],
                "reasoning": {"effort": "medium", "summary": "auto"},
            }


def answered(client: Format, request: dict[str, Any], answer: dict[str, Any], result: str) -> dict[str, Any]:
    """The next request of a client that sends back all that it got, with the tool's result."""
    match client:
        case "anthropic_messages":
            call = next(block for block in answer["content"] if block["type"] == "tool_use")
            outcome = {"type": "tool_result", "tool_use_id": call["id"], "content": result}
            more = [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [outcome]}]
            return {**request, "messages": [*request["messages"], *more]}
        case "openai_chat":
            message = answer["choices"][0]["message"]
            outcome = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": result}
            return {**request, "messages": [*request["messages"], message, outcome]}
        case "openai_responses":
            call = next(item for item in answer["output"] if item["type"] == "function_call")
            outcome = {"type": "function_call_output", "call_id": call["call_id"], "output": result}
            return {**request, "input": [*request["input"], *answer["output"], outcome]}


def whole(made: Conversion, events: list[bytes]) -> dict[str, Any]:
    answer = made.whole()
    for event in events:
        answer.feed(event)
    body: dict[str, Any] = json.loads(answer.render())
    return body


@pytest.mark.parametrize("client", ["openai_chat", "openai_responses"])
@pytest.mark.parametrize("sealed", [[SIGNED], [REDACTED], [SIGNED, REDACTED]])
def test_what_claude_signed_comes_back_to_it(client: Format, sealed: list[dict[str, Any]]) -> None:
    request = first_request(client)
    made = convert(client, CLAUDE, request)
    answer = whole(made, message_events(*sealed, USE, stop="tool_use"))
    second = json.loads(convert(client, CLAUDE, answered(client, request, answer, "rain")).body)
    assert second["messages"][1]["content"] == [*sealed, USE]
    assert second["thinking"]["type"] == "enabled"


@pytest.mark.parametrize("client", ["openai_chat", "anthropic_messages"])
@pytest.mark.parametrize("item", [REASONING, thought(id="rs_2")])
def test_what_openai_encrypted_comes_back_to_it(client: Format, item: dict[str, Any]) -> None:
    request = first_request(client)
    answer = whole(convert(client, CODEX, request), response_events(item, called("weather", {"city": "Bern"})))
    second = json.loads(convert(client, CODEX, answered(client, request, answer, "rain")).body)
    assert second["input"][1] == item
    assert second["input"][2]["call_id"] == "call_1"


@pytest.mark.parametrize("client", ["openai_responses", "anthropic_messages"])
def test_what_copilot_made_opaque_comes_back_to_it(client: Format) -> None:
    events = chat_events("", [("call_1", "weather", {"city": "Bern"})])
    opaque = {"id": "c", "choices": [{"index": 0, "delta": {"reasoning_text": "Hm.", "reasoning_opaque": "OPQ"}}]}
    events.insert(1, b"data: " + msgspec.json.encode(opaque) + b"\n\n")
    request = first_request(client)
    answer = whole(convert(client, COPILOT, request), events)
    second = json.loads(convert(client, COPILOT, answered(client, request, answer, "rain")).body)
    assistant = second["messages"][1]
    assert (assistant["reasoning_text"], assistant["reasoning_opaque"]) == ("Hm.", "OPQ")


def test_a_seal_never_goes_to_another_vendor() -> None:
    request = first_request("openai_responses")
    made = convert("openai_responses", CLAUDE, request)
    answer = whole(made, message_events(SIGNED, USE, stop="tool_use"))
    moved = answered("openai_responses", request, answer, "rain")
    patched = patch_responses(msgspec.json.encode(moved), model="gpt", report=Report())
    assert b"ccproxy1." not in patched
    assert b"c2lnbmVk" not in patched
    assert [item.get("type") for item in json.loads(patched)["input"]][1:] == ["function_call", "function_call_output"]
    other = first_request("anthropic_messages")
    answer = whole(convert("anthropic_messages", CODEX, other), response_events(REASONING, called("weather", {})))
    moved = answered("anthropic_messages", other, answer, "rain")
    relayed = without_foreign_thinking(msgspec.json.encode(moved))
    assert b"ccproxy1." not in relayed
    assert [block["type"] for block in json.loads(relayed)["messages"][1]["content"]] == ["tool_use"]


def test_thinking_that_a_client_forgets_is_remembered_even_after_a_restart(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "data" / "memory.sqlite3")
    request = first_request("openai_chat")
    answer = convert("openai_chat", CLAUDE, request).whole()
    for event in message_events(SIGNED, USE, stop="tool_use"):
        answer.feed(event)
    memory.remember(answer.reader.learned)
    message = json.loads(answer.render())["choices"][0]["message"]
    memory.close()
    kept = {key: message[key] for key in ("role", "content", "tool_calls")}  # all that aider and opencode send back
    outcome = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    later = {**request, "messages": [*request["messages"], kept, outcome]}
    again = Memory(tmp_path / "data" / "memory.sqlite3")
    body = json.loads(convert("openai_chat", CLAUDE, later, recall=again.recall).body)
    assert body["messages"][1]["content"] == [SIGNED, USE]
    again.close()
    forgotten = json.loads(convert("openai_chat", CLAUDE, later).body)
    assert "thinking" not in forgotten, "Claude refuses a tool loop that has lost its signed thinking"
    assert (tmp_path / "data" / "memory.sqlite3").stat().st_mode & 0o077 == 0


def test_the_phase_of_a_message_is_remembered(tmp_path: Path) -> None:
    memory = Memory(None)
    request = first_request("anthropic_messages")
    answer = convert("anthropic_messages", CODEX, request).whole()
    for event in response_events(said("First I look.", phase="commentary"), called("weather", {})):
        answer.feed(event)
    memory.remember(answer.reader.learned)
    second = answered("anthropic_messages", request, json.loads(answer.render()), "rain")
    body = json.loads(convert("anthropic_messages", CODEX, second, recall=memory.recall).body)
    assert (body["input"][1]["content"][0]["text"], body["input"][1]["phase"]) == ("First I look.", "commentary")


def test_memory_forgets_the_oldest_and_survives_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    memory = Memory(path)
    memory.remember({"call:a": "x"})
    assert memory.recall(["call:a", "call:b"]) == {"call:a": "x"}
    memory.close()


@pytest.mark.parametrize(
    ("client", "profile"),
    [(client, profile) for client in FORMATS for profile in (CACHING, CODEX, COPILOT) if client != profile.format],
)
def test_the_start_of_a_conversation_becomes_the_same_bytes_every_turn(client: Format, profile: Profile) -> None:
    request = first_request(client)
    before: dict[str, Any] | None = None
    field = "input" if profile.format == "openai_responses" else "messages"
    for turn in range(4):
        made = convert(client, profile, request)
        body = json.loads(made.body)
        if before is not None:
            assert msgspec.json.encode(body[field][: len(before[field])]) == msgspec.json.encode(before[field])
            same = set(before) - {field, "cache_control"}
            assert {key: body[key] for key in same} == {key: before[key] for key in same}
            assert list(body) == list(before)
        before = body
        match profile.format:
            case "anthropic_messages":
                use = {**USE, "id": f"call_{turn}"}
                events = message_events(SIGNED, {"type": "text", "text": f"Turn {turn}"}, use, stop="tool_use")
            case "openai_chat":
                events = chat_events(f"Turn {turn}", [(f"call_{turn}", "weather", {"n": turn})])
            case "openai_responses":
                items = (thought("Hm.", id=f"rs_{turn}"), said(f"Turn {turn}"))
                events = response_events(*items, called("weather", {"n": turn}, f"call_{turn}"))
        request = answered(client, request, whole(made, events), f"result {turn}")


def test_copilots_own_thinking_is_put_back_where_it_takes_it() -> None:
    token = wrap(Seal("copilot", {"reasoning_text": "Hm.", "reasoning_opaque": "OPQ"}))
    foreign = wrap(Seal("anthropic", SIGNED))
    details = [{"type": "reasoning.encrypted", "data": data} for data in (token, foreign)]
    message = {"role": "assistant", "content": "x", "reasoning_details": details, "reasoning_content": "Hm."}
    body = patch_chat(json.dumps({"model": "m", "messages": [message]}).encode(), model="m", report=Report())
    assert json.loads(body)["messages"][0] == {
        "role": "assistant",
        "content": "x",
        "reasoning_text": "Hm.",
        "reasoning_opaque": "OPQ",
    }


@given(st.text(), st.text())
def test_seals_survive_their_envelope_and_nothing_else_opens(signature: str, junk: str) -> None:
    seal = Seal("anthropic", {"type": "thinking", "signature": signature})
    assert unwrap(wrap(seal)) == seal
    assert is_wrapped(wrap(seal))
    assert unwrap(wrap(seal)[:-3] + junk) != seal or junk == wrap(seal)[-3:]
    assert unwrap(junk) is None


def test_a_damaged_envelope_is_dropped_and_said() -> None:
    request = first_request("anthropic_messages")
    damaged = {"type": "thinking", "thinking": "x", "signature": wrap(Seal("openai", REASONING))[:-9] + "!"}
    message = {"role": "assistant", "content": [damaged, {"type": "text", "text": "hello"}]}
    made = convert("anthropic_messages", CODEX, {**request, "messages": [*request["messages"], message]})
    assert [item["type"] for item in json.loads(made.body)["input"]] == ["message", "message"]
    assert any("damaged" in note.reason for note in made.report)


# --- anything a stranger may send ---

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [place for key, inner in value.items() for place in _places(inner, (*path, key))]
    elif isinstance(value, list):
        found += [place for index, inner in enumerate(value) for place in _places(inner, (*path, index))]
    return found


def _rich(client: Format) -> dict[str, Any]:
    """A second turn with a bit of everything."""
    request = first_request(client)
    profile = CODEX if client == "anthropic_messages" else CLAUDE
    events = (
        response_events(REASONING, said("x"), called("weather", {}))
        if profile is CODEX
        else message_events(SIGNED, {"type": "text", "text": "x"}, USE, stop="tool_use")
    )
    return answered(client, request, whole(convert(client, profile, request), events), "rain")


RICH = {client: _rich(client) for client in FORMATS}


@given(st.data(), st.sampled_from(FORMATS), st.sampled_from([CLAUDE, CODEX, COPILOT]), _JSON)
def test_whatever_stands_in_a_field_is_converted_or_refused_by_name(
    data: Any, client: Format, profile: Profile, junk: Any
) -> None:
    if client == profile.format:
        return
    request = json.loads(json.dumps(RICH[client]))
    *way, last = data.draw(st.sampled_from(_places(request)))
    holder = request
    for step in way:
        holder = holder[step]
    holder[last] = junk
    try:
        made = convert(client, profile, request)
    except Misfit:
        return
    assert isinstance(json.loads(made.body), dict)


@pytest.mark.parametrize("client", FORMATS)
def test_a_very_long_history_and_a_very_deep_schema(client: Format) -> None:
    request = first_request(client)
    field = "input" if client == "openai_responses" else "messages"
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"a": deep}}
    tool = request["tools"][0]
    (tool.get("function") or tool)["input_schema" if client == "anthropic_messages" else "parameters"] = deep
    request[field] = [{"role": ("user", "assistant")[n % 2], "content": f"m{n}"} for n in range(100_000)]
    for profile in PROFILES.values():
        if profile.format != client:
            body = json.loads(convert(client, profile, request).body)
            assert len(body.get("messages") or body["input"]) == 100_000


def test_a_body_that_is_nested_without_end_is_refused() -> None:
    raw = '{"model":"m","messages":' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(Misfit):
        convert_raw(raw.encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"5"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Misfit):
        convert_raw(raw)


def convert_raw(raw: bytes) -> Conversion:
    from ccproxy_tui.core.formats import convert_request

    return convert_request(raw, "openai_chat", CLAUDE, model="m", created=1)
