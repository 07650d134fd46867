"""Answers in every direction: streamed and whole, cut anywhere, with everything that upstreams were seen to do."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.formats import FORMATS, Conversion, Format, Profile, Report
from ccproxy_tui.core.formats.canonical import BlockKind, Finished, StopReason, Usage
from ccproxy_tui.core.formats.dialects import render_answer, stream_renderer
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.reply import Block, Reply
from ccproxy_tui.core.formats.seal import Seal
from ccproxy_tui.core.text import sse
from tests.core.formats.tools import CLAUDE, CODEX, COPILOT, CREATED, calls, convert, read_answer, read_stream, texts
from tests.fakes.streams import called, chat_events, message_events, response_events, said, thought

PROFILES: dict[Format, Profile] = {
    "anthropic_messages": CLAUDE,
    "openai_chat": COPILOT,
    "openai_responses": CODEX,
}
DIRECTIONS = [(source, target) for target in FORMATS for source in FORMATS if source != target]
TEXT = "Grüße 🧪 line\u2028sep\u0085 vt\x0b end"
ARGUMENTS = {"city": "Zürich", "n": [1, 2.5, None, True]}
HI = {"role": "user", "content": "hi"}


def conversion(source: Format, target: Format, **more: Any) -> Conversion:
    bodies: dict[Format, dict[str, Any]] = {
        "anthropic_messages": {"model": "mine", "messages": [HI], "max_tokens": 5, **more},
        "openai_chat": {"model": "mine", "messages": [HI], "stream_options": {"include_usage": True}, **more},
        "openai_responses": {"model": "mine", "input": "hi", **more},
    }
    return convert(source, PROFILES[target], bodies[source])


def upstream_stream(target: Format) -> list[bytes]:
    """Thinking where the dialect has it, text, and two calls."""
    match target:
        case "anthropic_messages":
            return message_events(
                {"type": "thinking", "thinking": "Hm, hm.", "signature": "c2ln"},
                {"type": "text", "text": TEXT},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": ARGUMENTS},
                {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
                stop="tool_use",
            )
        case "openai_chat":
            return chat_events(TEXT, [("call_1", "weather", ARGUMENTS), ("call_2", "time", {})])
        case "openai_responses":
            return response_events(
                thought("Hm,", "hm."), said(TEXT), called("weather", ARGUMENTS), called("time", {}, "call_2")
            )


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_a_stream_keeps_all_that_was_said(source: Format, target: Format) -> None:
    made = conversion(source, target)
    stream = made.stream()
    out = b"".join(stream.feed(event) for event in upstream_stream(target)) + stream.flush()
    reply = read_stream(source, out)
    assert stream.reader.whole
    assert reply.whole
    assert reply.model == "mine"
    assert texts(reply) == TEXT
    assert calls(reply) == [("call_1", "weather", ARGUMENTS), ("call_2", "time", {})]
    assert reply.finished.reason == "tool_use"
    usage = reply.finished.usage
    assert (usage.prompt, usage.cache_read, usage.output) == (112, 100, 42)
    if target != "openai_chat":
        assert texts(reply, "thinking").replace("\n\n", " ") == "Hm, hm."


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_every_cut_of_a_stream_gives_the_same_answer(source: Format, target: Format) -> None:
    made = conversion(source, target)
    data = b"".join(upstream_stream(target))
    whole = made.stream()
    expected = whole.feed(data) + whole.flush()
    for at in range(1, len(data), 7):
        stream = made.stream()
        assert stream.feed(data[:at]) + stream.feed(data[at:]) + stream.flush() == expected


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_line_ends_comments_and_unknown_events_change_nothing(source: Format, target: Format, newline: bytes) -> None:
    made = conversion(source, target)
    events = upstream_stream(target)
    strange = b': hello\n\nevent: from.the.future\ndata: {"type":"from.the.future","delta":7}\n\ndata: not json\n\n'
    plain, odd = made.stream(), made.stream()
    expected = b"".join(map(plain.feed, events)) + plain.flush()
    data = strange.join(events).replace(b"\n", newline)
    assert b"".join(odd.feed(data[at : at + 11]) for at in range(0, len(data), 11)) + odd.flush() == expected


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_an_answer_without_its_end_is_never_whole(source: Format, target: Format) -> None:
    made = conversion(source, target)
    events = upstream_stream(target)
    end = 3 if target == "openai_chat" else 1  # a finish reason ends a Chat answer, with or without the rest
    stream, whole = made.stream(), made.whole()
    out = b"".join(stream.feed(event) for event in events[:-end]) + stream.flush()
    for event in events[:-end]:
        whole.feed(event)
    whole.flush()
    assert not stream.reader.whole
    assert not whole.reader.whole
    assert not read_stream(source, out).whole


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_the_first_event_comes_out_at_once(source: Format, target: Format) -> None:
    stream = conversion(source, target).stream()
    assert stream.feed(upstream_stream(target)[0]) != b""


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_a_whole_answer_is_the_stream_in_one_piece(source: Format, target: Format) -> None:
    made = conversion(source, target)
    whole = made.whole()
    for event in upstream_stream(target):
        whole.feed(event)
    reply = read_answer(source, whole.render())
    assert texts(reply) == TEXT
    assert calls(reply) == [("call_1", "weather", ARGUMENTS), ("call_2", "time", {})]
    assert (reply.finished.reason, reply.finished.usage.prompt) == ("tool_use", 112)


# --- what an upstream says with a whole JSON answer ---


ANSWERS: dict[Format, dict[str, Any]] = {
    "anthropic_messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "text", "text": TEXT},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": ARGUMENTS},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 12, "cache_read_input_tokens": 100, "output_tokens": 42},
    },
    "openai_chat": {
        "id": "chatcmpl-1",
        "model": "x",
        "choices": [
            {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": TEXT}},
            {
                "index": 1,
                "finish_reason": "tool_calls",
                "message": {
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)},
                        }
                    ]
                },
            },
        ],
        "usage": {"prompt_tokens": 112, "completion_tokens": 42, "prompt_tokens_details": {"cached_tokens": 100}},
    },
    "openai_responses": {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "x",
        "output": [thought("Hm."), said(TEXT), called("weather", ARGUMENTS)],
        "usage": {
            "input_tokens": 112,
            "output_tokens": 42,
            "input_tokens_details": {"cached_tokens": 100},
        },
    },
}


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_json_answer_serves_both_kinds_of_clients(source: Format, target: Format, streamed: bool) -> None:
    made = conversion(source, target)
    body = msgspec.json.encode(ANSWERS[target])
    if streamed:
        stream = made.stream()
        reply = read_stream(source, b"".join(stream.render(event) for event in stream.take_answer(body)))
    else:
        whole = made.whole()
        whole.take_answer(body)
        reply = read_answer(source, whole.render())
    assert texts(reply) == TEXT
    assert calls(reply) == [("call_1", "weather", ARGUMENTS)]
    usage = reply.finished.usage
    assert (usage.input, usage.cache_read, usage.output) == (12, 100, 42)


# --- how answers end ---

STOPS = {
    "anthropic_messages": {
        "end_turn": "end_turn",
        "stop_sequence": "end_turn",
        "max_tokens": "max_tokens",
        "model_context_window_exceeded": "max_tokens",
        "refusal": "refusal",
        "pause_turn": "end_turn",
        "something_new": "end_turn",
    },
    "openai_chat": {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"},
}


@pytest.mark.parametrize("client", ["openai_chat", "openai_responses"])
@pytest.mark.parametrize(("reason", "expected"), STOPS["anthropic_messages"].items())
def test_stop_reasons_of_claude(client: Format, reason: str, expected: str) -> None:
    events = message_events({"type": "text", "text": "x"}, stop=reason)
    reply = read_stream(client, conversion(client, "anthropic_messages").stream().feed(b"".join(events)))
    assert reply.finished.reason == expected


@pytest.mark.parametrize("client", ["anthropic_messages", "openai_responses"])
@pytest.mark.parametrize(("reason", "expected"), STOPS["openai_chat"].items())
def test_finish_reasons_of_chat(client: Format, reason: str, expected: str) -> None:
    data = b"".join(chat_events("x")).replace(b'"finish_reason":"stop"', b'"finish_reason":"%b"' % reason.encode())
    assert read_stream(client, conversion(client, "openai_chat").stream().feed(data)).finished.reason == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_output_tokens", "max_tokens"), ("content_filter", "refusal"), ("steered", "end_turn")],
)
@pytest.mark.parametrize("client", ["anthropic_messages", "openai_chat"])
def test_incomplete_responses(client: Format, reason: str, expected: str) -> None:
    events = response_events(said("x"), status="incomplete")
    details = b'"status":"incomplete","incomplete_details":{"reason":"%b"}' % reason.encode()
    data = b"".join(events).replace(b'"status":"incomplete"', details)
    assert read_stream(client, conversion(client, "openai_responses").stream().feed(data)).finished.reason == expected


def test_a_call_that_was_cut_by_the_limit_is_no_finished_call() -> None:
    events = message_events({"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}}, stop="max_tokens")
    out = conversion("openai_chat", "anthropic_messages").stream().feed(b"".join(events))
    assert b'"finish_reason":"length"' in out


def test_a_refusal_in_words_is_a_refusal_for_anthropics_clients() -> None:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"refusal": "I can't."}, "finish_reason": None}]}
    end = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data = sse.encode(msgspec.json.encode(chunk)) + sse.encode(msgspec.json.encode(end)) + b"data: [DONE]\n\n"
    reply = read_stream("anthropic_messages", conversion("anthropic_messages", "openai_chat").stream().feed(data))
    assert (texts(reply), reply.finished.reason) == ("I can't.", "refusal")


# --- errors inside a stream ---

FAILURES: dict[Format, bytes] = {
    "anthropic_messages": (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    ),
    "openai_chat": b'data: {"error":{"message":"busy","code":"server_is_overloaded"}}\n\n',
    "openai_responses": (
        b'data: {"type":"response.failed","response":{"status":"failed",'
        b'"error":{"code":"server_is_overloaded","message":"busy"}}}\n\n'
    ),
}


@pytest.mark.parametrize(("source", "target"), DIRECTIONS)
def test_an_error_in_the_middle_arrives_as_one(source: Format, target: Format) -> None:
    stream = conversion(source, target).stream()
    out = b"".join(stream.feed(event) for event in [*upstream_stream(target)[:3], FAILURES[target]])
    reply = read_stream(source, out)
    assert stream.reader.failed is not None
    assert stream.reader.failed.kind == "overloaded"
    assert reply.failed is not None
    assert reply.failed.message == "busy"
    assert not reply.whole
    for mark in (b"message_stop", b"[DONE]", b"response.completed"):
        assert mark not in out


# --- oddities of upstreams ---


def test_calls_whose_pieces_come_mixed_are_told_one_after_the_other_to_anthropics_clients() -> None:
    a, b = called("weather", {"city": "Bern"}, "a"), called("time", {"zone": "CET"}, "b")
    start = response_events()[0]
    end = response_events(a, b)[-1]

    def event(**values: Any) -> bytes:
        return sse.encode(msgspec.json.encode(values))

    pieces = [
        event(type="response.output_item.added", output_index=place, item={**item, "arguments": ""})
        for place, item in enumerate((a, b))
    ]
    for at in range(0, 18, 3):
        for place, item in enumerate((a, b)):
            delta = item["arguments"][at : at + 3]
            pieces.append(event(type="response.function_call_arguments.delta", output_index=place, delta=delta))
    pieces += [
        event(type="response.output_item.done", output_index=place, item=item) for place, item in enumerate((a, b))
    ]
    stream = conversion("anthropic_messages", "openai_responses").stream()
    out = b"".join(stream.feed(piece) for piece in [start, *pieces, end])
    reply = read_stream("anthropic_messages", out)
    assert calls(reply) == [("a", "weather", {"city": "Bern"}), ("b", "time", {"zone": "CET"})]
    starts = [
        json.loads(block.data)["index"] for block in sse.Decoder().feed(out) if b"content_block_start" in block.data
    ]
    assert starts == [0, 1]


def test_arguments_that_come_only_at_the_end_are_told_once() -> None:
    item = called("weather", {"city": "Bern"})
    data = sse.encode(msgspec.json.encode({"type": "response.output_item.done", "output_index": 0, "item": item}))
    for client in ("anthropic_messages", "openai_chat"):
        stream = conversion(client, "openai_responses").stream()
        out = b"".join(map(stream.feed, [response_events()[0], data, response_events(item)[-1]]))
        assert calls(read_stream(client, out)) == [("call_1", "weather", {"city": "Bern"})]


def test_a_name_that_comes_late_is_waited_for() -> None:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse.encode(msgspec.json.encode({"id": "c", "model": "m", "choices": [choice]}))

    pieces = [
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "t", "arguments": ":1"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        chunk({}, "tool_calls"),
    ]
    stream = conversion("anthropic_messages", "openai_chat").stream()
    reply = read_stream("anthropic_messages", b"".join(map(stream.feed, pieces)) + stream.flush())
    assert calls(reply) == [("call_1", "t", {"a": 1})]
    assert reply.finished.reason == "tool_use"


def test_custom_calls_come_back_as_what_they_were() -> None:
    request = {"tools": [{"type": "custom", "name": "patch"}]}
    stream = conversion("openai_responses", "anthropic_messages", **request).stream()
    block = {"type": "tool_use", "id": "t", "name": "patch", "input": {"input": "*** Begin\n+é"}}
    out = b"".join(map(stream.feed, message_events(block, stop="tool_use")))
    reply = read_stream("openai_responses", out)
    assert [(one.kind, one.name, one.text) for one in reply.blocks] == [("custom_call", "patch", "*** Begin\n+é")]


def test_names_and_namespaces_are_restored() -> None:
    tool = {"type": "function", "name": "lookup", "parameters": {"type": "object"}}
    request = {"tools": [{"type": "namespace", "name": "crm", "tools": [tool]}]}
    made = conversion("openai_responses", "anthropic_messages", **request)
    wire = json.loads(made.body)["tools"][0]["name"]
    block = {"type": "tool_use", "id": "t", "name": wire, "input": {}}
    reply = read_stream("openai_responses", made.stream().feed(b"".join(message_events(block, stop="tool_use"))))
    assert [(one.namespace, one.name) for one in reply.blocks] == [("crm", "lookup")]


def test_web_search_and_its_citations_reach_openais_clients() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_result", "url": "https://e.com", "title": "E", "encrypted_content": "x"}
    citation = {"type": "web_search_result_location", "url": "https://e.com", "title": "E", "cited_text": "foo"}
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        (search, [{"type": "input_json_delta", "partial_json": '{"query":"foo"}'}]),
        ({"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]}, []),
        (
            {"type": "text", "text": ""},
            [{"type": "text_delta", "text": "It is foo."}, {"type": "citations_delta", "citation": citation}],
        ),
    ]
    events: list[dict[str, Any]] = []
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    start, *_, last, stop = message_events()
    data = start + b"".join(sse.encode(msgspec.json.encode(event)) for event in events) + last + stop
    out = conversion("openai_responses", "anthropic_messages").stream().feed(data)
    final = json.loads(sse.Decoder().feed(out)[-1].data)["response"]
    assert [item["type"] for item in final["output"]] == ["web_search_call", "message"]
    assert final["output"][0]["action"] == {
        "type": "search",
        "query": "foo",
        "sources": [{"type": "url", "url": "https://e.com"}],
    }
    assert final["output"][1]["content"][0]["annotations"][0]["url"] == "https://e.com"
    chat = conversion("openai_chat", "anthropic_messages").whole()
    chat.feed(data)
    message = json.loads(chat.render())["choices"][0]["message"]
    assert message["annotations"][0]["url_citation"] == {
        "url": "https://e.com",
        "title": "E",
        "start_index": 0,
        "end_index": 10,
    }
    assert "tool_calls" not in message


# --- any answer, rendered and read again ---

_WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
_IDS = st.text("abcdefghijklmnop0123456789_", min_size=1, max_size=12)
_VALUES = st.dictionaries(_WORDS, st.one_of(st.integers(-(2**53), 2**53), _WORDS, st.none(), st.lists(st.booleans())))


def _block(kind: BlockKind) -> st.SearchStrategy[Block]:
    match kind:
        case "tool_call":
            return st.builds(_call, _IDS, _IDS, _VALUES)
        case "thinking":
            return st.builds(_thinking, _WORDS, _IDS)
        case _:
            return st.builds(lambda text: Block("text", text=text), _WORDS)


def _call(call_id: str, name: str, values: Any) -> Block:
    return Block("tool_call", call_id, name, text=json.dumps(values))


def _thinking(text: str, token: str) -> Block:
    seal = Seal("anthropic", {"type": "thinking", "thinking": text, "signature": token})
    return Block("thinking", text=text, seal=seal)


_BLOCKS = st.lists(st.one_of(_block("text"), _block("thinking"), _block("tool_call")), max_size=6)
_STOPS: st.SearchStrategy[StopReason] = st.sampled_from(("end_turn", "max_tokens", "refusal"))


@given(_BLOCKS, _STOPS, st.sampled_from(FORMATS), st.integers(1, 40))
def test_what_is_rendered_is_read_again(blocks: list[Block], stop: StopReason, dialect: Format, size: int) -> None:
    usage = Usage(input=3, output=5, cache_read=7)
    reply = Reply("id_1", "m", blocks, Finished(stop, usage), None, True)
    options = ReplyOptions("m", CREATED, include_usage=True)
    streamed = stream_renderer(dialect, options, Report()).feed(list(reply.events()))
    answer = msgspec.json.encode(render_answer(reply, dialect, options))
    for read in (read_stream(dialect, streamed, size), read_answer(dialect, answer)):
        assert texts(read) == texts(reply)
        assert [one[1:] for one in calls(read)] == [one[1:] for one in calls(reply)]
        thoughts = [block.text for block in read.blocks if block.kind == "thinking" and block.text]
        assert "".join(thoughts).replace("\n\n", "") == texts(reply, "thinking").replace("\n\n", "")
        assert read.finished.usage.prompt == usage.prompt
        if not calls(reply):
            assert read.finished.reason == stop


@given(st.sampled_from(FORMATS), st.lists(st.binary(max_size=60), max_size=12), st.sampled_from(FORMATS))
def test_garbage_from_an_upstream_is_never_our_crash(source: Format, junk: list[bytes], target: Format) -> None:
    if source == target:
        return
    stream = conversion(source, target).stream()
    for piece in junk:
        stream.feed(b"data: " + piece + b"\n\n")
        stream.feed(piece)
    stream.flush()


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data(), st.sampled_from(DIRECTIONS))
def test_events_with_anything_in_them_are_never_our_crash(
    data: st.DataObject, direction: tuple[Format, Format]
) -> None:
    source, target = direction
    stream = conversion(source, target).stream()
    for event in upstream_stream(target):
        payload = sse.Decoder().feed(event)[0].data
        if payload != b"[DONE]" and data.draw(st.integers(0, 9)) == 0:
            values = json.loads(payload)
            where = values
            while isinstance(where, dict) and where and data.draw(st.booleans()):
                key = data.draw(st.sampled_from(sorted(where)))
                if not isinstance(where[key], dict):
                    break
                where = where[key]
            if isinstance(where, dict) and where:
                where[data.draw(st.sampled_from(sorted(where)))] = data.draw(_JSON)
            event = sse.encode(msgspec.json.encode(values))
        stream.feed(event)
    stream.flush()
