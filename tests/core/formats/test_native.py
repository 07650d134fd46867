"""Requests and answers that stay in their dialect and are put right: the Codex backend's and GitHub Copilot's."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.formats import FORMATS, Format, Misfit, Report
from ccproxy_tui.core.formats.count import estimate_tokens
from ccproxy_tui.core.formats.models import read_models, render_models
from ccproxy_tui.core.formats.openai_chat.native import Normaliser, normalise_answer
from ccproxy_tui.core.formats.openai_chat.native import patch_request as patch_chat
from ccproxy_tui.core.formats.openai_responses.native import Collector
from ccproxy_tui.core.formats.openai_responses.native import patch_request as patch_responses
from ccproxy_tui.core.formats.upstream_error import read_error, retry_seconds
from ccproxy_tui.core.text import sse
from tests.core.formats.tools import calls, read_stream, texts
from tests.fakes.streams import called, chat_events, response_events, said, thought

BASE = {"model": "gpt-5.4", "instructions": "I", "input": [{"role": "user", "content": "x"}], "stream": True}


def patched(**more: Any) -> dict[str, Any]:
    raw = json.dumps({**BASE, **more}).encode()
    body: dict[str, Any] = json.loads(patch_responses(raw, model="gpt-5.4", report=Report()))
    return body


def test_the_backend_gets_what_it_demands_and_nothing_that_it_refuses() -> None:
    body = patched(
        store=True,
        temperature=0.5,
        max_output_tokens=9,
        truncation="auto",
        metadata={"a": "b"},
        service_tier="flex",
        include=["web_search_call.action.sources"],
        tools=[{"type": "web_search_preview_2025_03_11"}],
    )
    assert (body["store"], body["stream"]) == (False, True)
    assert body["include"] == ["web_search_call.action.sources", "reasoning.encrypted_content"]
    assert body["tools"] == [{"type": "web_search"}]
    assert not {"temperature", "max_output_tokens", "truncation", "metadata", "service_tier"} & set(body)


def test_everything_else_stays_as_it_came() -> None:
    more = {
        "reasoning": {"effort": "xhigh", "context": "all_turns"},
        "text": {"verbosity": "low"},
        "prompt_cache_key": "conv-1",
        "service_tier": "priority",
        "client_metadata": {"x": "y"},
        "tools": [{"type": "namespace", "name": "n", "tools": []}, {"type": "custom", "name": "p"}],
        "input": [
            {"type": "additional_tools", "tools": [{"type": "function", "name": "t"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            thought("Hm."),
            {"type": "from_the_future", "id": "f", "x": [1]},
        ],
    }
    body = patched(**more)
    assert {key: body[key] for key in more} == more


def test_a_string_becomes_a_list_and_system_becomes_developer() -> None:
    assert patched(input="hi")["input"][0]["content"] == [{"type": "input_text", "text": "hi"}]
    assert patched(input=[{"role": "system", "content": "s"}])["input"][0]["role"] == "developer"


def test_ids_that_the_backend_would_refuse_are_left_out() -> None:
    items = [
        {"type": "item_reference", "id": "rs_1"},
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {"type": "function_call", "id": "call_9", "call_id": "call_9", "name": "t", "arguments": "{}"},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "t", "arguments": "{}"},
    ]
    assert [item.get("id") for item in patched(input=items)["input"]] == [None, "fc_1"]


def test_a_conversation_keeps_its_cache_key() -> None:
    first = patched()["prompt_cache_key"]
    more = [*BASE["input"], {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}]  # type: ignore[misc]
    assert patched(input=more)["prompt_cache_key"] == first
    assert patched(input=[{"role": "user", "content": "other"}])["prompt_cache_key"] != first


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_nothing_stored_is_silently_forgotten(field: str) -> None:
    with pytest.raises(Misfit) as caught:
        patched(**{field: "x"})
    assert caught.value.bracketed() == field


def collected(*events: bytes) -> Collector:
    collector = Collector()
    for event in events:
        collector.feed(event)
    collector.flush()
    return collector


def test_a_stream_is_collected_even_when_its_end_lists_nothing() -> None:
    items = [thought("Hm."), said("Hi"), called("t", {"a": 1})]
    *events, end = response_events(*items)
    last = json.loads(sse.Decoder().feed(end)[0].data)
    last["response"]["output"] = []
    empty = sse.encode(msgspec.json.encode(last), "response.completed")
    for final in (end, empty):
        collector = collected(*events, final)
        assert collector.whole
        body = json.loads(collector.render())
        assert body["output"] == items
        assert body["usage"]["total_tokens"] == 154
    assert not collected(*events).whole


def test_a_failed_stream_is_no_response() -> None:
    failed = {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}}}
    collector = collected(*response_events()[:1], sse.encode(msgspec.json.encode(failed)))
    assert not collector.whole
    assert collector.failed is not None
    assert (collector.failed.kind, collector.failed.message) == ("rate_limit", "slow")


def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
    return sse.encode(msgspec.json.encode({"choices": list(choices), **more}))


def test_copilots_chunks_become_valid_ones() -> None:
    stream = [
        chunk(id="", created=0, prompt_filter_results=[{}]),
        chunk({"index": 0, "delta": {"role": "assistant", "content": "Hi"}}, id="c1", model="gpt-4.1"),
        chunk({"index": 0, "delta": {"role": "assistant", "content": " there"}}),
        chunk({"index": 0, "delta": {}, "finish_reason": "stop"}),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 2}),
        b"data: [DONE]\n\n",
    ]
    normaliser = Normaliser("gpt-4.1", 1_790_000_000)
    out = b"".join(map(normaliser.feed, stream)) + normaliser.flush()
    events = [event.data for event in sse.Decoder().feed(out)]
    chunks = [json.loads(data) for data in events[:-1]]
    assert events[-1] == b"[DONE]"
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert {one["id"] for one in chunks} == {"c1"}
    assert all(one["created"] for one in chunks)
    assert [one["choices"][0]["finish_reason"] for one in chunks if one["choices"]] == [None, None, "stop"]
    assert chunks[-1]["usage"]["prompt_tokens"] == 3
    assert texts(read_stream("openai_chat", out)) == "Hi there"


def test_copilots_split_answer_becomes_one_choice() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "t", "arguments": "{}"}}
    stream = [
        chunk({"index": 0, "delta": {"content": "Look."}, "finish_reason": "stop"}, id="c1"),
        chunk({"index": 1, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}),
        chunk({"index": 2, "delta": {"tool_calls": [{**call, "id": "b"}]}, "finish_reason": "tool_calls"}),
        b"data: [DONE]\n\n",
    ]
    normaliser = Normaliser("m", 1, shown="mine")
    reply = read_stream("openai_chat", b"".join(map(normaliser.feed, stream)))
    assert (texts(reply), calls(reply)) == ("Look.", [("a", "t", {}), ("b", "t", {})])
    assert (reply.finished.reason, reply.model) == ("tool_use", "mine")


@pytest.mark.parametrize(("model", "field"), [("gpt-4.1", "max_tokens"), ("gpt-5-mini", "max_completion_tokens")])
def test_the_limit_has_the_name_that_the_model_takes(model: str, field: str) -> None:
    raw = json.dumps({"model": model, "messages": [], "max_tokens": 7}).encode()
    body = json.loads(patch_chat(raw, model=model, report=Report()))
    assert {name: value for name, value in body.items() if name.startswith("max")} == {field: 7}


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"detail":"Unsupported parameter: x"}', "invalid_request", "Unsupported parameter: x"),
        (400, b'{"detail":[{"msg":"bad"}]}', "invalid_request", '[{"msg":"bad"}]'),
        (403, b"not authorized for this\n", "permission", "not authorized for this"),
        (502, b"<html><style>p{}</style><h1>Bad   gateway</h1></html>", "api", "Bad gateway"),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', "overloaded", "busy"),
        (500, b"", "api", "The upstream answered 500."),
        (429, b'{"error":"slow down"}', "rate_limit", "slow down"),
    ],
)
def test_every_shape_of_a_refusal_is_read(status: int, body: bytes, kind: str, message: str) -> None:
    failed = read_error(status, body)
    assert (failed.kind, failed.message) == (kind, message)


def test_how_long_to_wait_may_stand_in_the_body() -> None:
    assert retry_seconds(b'{"error":{"type":"usage_limit_reached","resets_in_seconds":61.5}}') == "61"
    assert retry_seconds(b"{}") == ""


def test_model_lists_are_read_and_written_in_either_form() -> None:
    limits = {"max_prompt_tokens": 128_000, "max_output_tokens": 16_384}
    gpt = {"id": "gpt-4.1", "name": "GPT-4.1", "vendor": "Azure", "capabilities": {"limits": limits}}
    raw = json.dumps({"data": [gpt, {"id": "claude-x", "created_at": "2026-01-01T00:00:00Z"}]}).encode()
    cards = read_models(raw, "copilot")
    openai = render_models(cards, "openai_chat")
    assert [(one["id"], one["owned_by"]) for one in openai["data"]] == [("gpt-4.1", "Azure"), ("claude-x", "copilot")]
    anthropic = render_models(cards, "anthropic_messages")
    assert anthropic["data"][0]["max_input_tokens"] == 128_000
    assert anthropic["data"][1]["created_at"] == "2026-01-01T00:00:00Z"
    assert (anthropic["first_id"], anthropic["last_id"], anthropic["has_more"]) == ("gpt-4.1", "claude-x", False)


def test_an_estimate_grows_with_the_prompt() -> None:
    small = estimate_tokens({"messages": [{"role": "user", "content": "hello there"}]})
    tools = estimate_tokens({"messages": [{"role": "user", "content": "hello there"}], "tools": [{"name": "t" * 400}]})
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 90_000}}
    picture = estimate_tokens({"messages": [{"role": "user", "content": [image]}]})
    assert 8 < small < 30
    assert tools > small + 80
    assert 1_000 < picture < 3_000


_KEYS = tuple(
    "model messages input tools content type role id choices delta index usage data tool_calls function message "  # noqa: SIM905
    "response item output_index error system reasoning_details include stream_options encrypted_content source "
    "finish_reason created capabilities limits".split()
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON, st.sampled_from(FORMATS))
def test_anything_at_all_is_mended_or_refused(value: Any, dialect: Format) -> None:
    raw = msgspec.json.encode(value)
    for patch in (patch_chat, patch_responses):
        try:
            patch(raw, model="m", report=Report())
        except Misfit:
            continue
    normalise_answer(raw, "m", 1)
    event = b"data: " + raw + b"\n\n"
    normaliser = Normaliser("m", 1)
    normaliser.feed(event + event)
    normaliser.flush()
    collector = collected(*response_events(said("x"))[:-1], event)
    if collector.whole:
        collector.render()
    render_models(read_models(raw, "x"), dialect)
    read_error(500, raw)
    if isinstance(value, dict):
        assert estimate_tokens(value) > 0


@given(st.sampled_from(["response", "item", "output_index", "error", "type"]), _JSON)
def test_odd_events_do_not_break_the_collector(field: str, value: Any) -> None:
    for event in response_events(said("x")):
        odd = {**json.loads(sse.Decoder().feed(event)[0].data), field: value}
        collector = collected(sse.encode(msgspec.json.encode(odd)))
        if collector.whole:
            collector.render()


@given(st.sampled_from(["choices", "usage", "error", "id"]), _JSON)
def test_odd_chunks_do_not_break_the_normaliser(field: str, value: Any) -> None:
    for event in chat_events("x", [("a", "t", {})])[:-1]:
        odd = {**json.loads(sse.Decoder().feed(event)[0].data), field: value}
        normaliser = Normaliser("m", 1)
        normaliser.feed(sse.encode(msgspec.json.encode(odd)))
        normaliser.flush()
