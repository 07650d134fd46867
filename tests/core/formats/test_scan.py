"""What is read from the bytes of a relayed answer."""

from __future__ import annotations

import pytest

from ccproxy_tui.core.formats import Format, scan
from ccproxy_tui.core.formats.canonical import Usage
from tests.fakes.upstream import anthropic_stream

CHAT = (
    b'data: {"id":"c","model":"gpt-4.1","choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":9,'
    b'"prompt_tokens_details":{"cached_tokens":80},"completion_tokens_details":{"reasoning_tokens":4}}}\n\n'
    b"data: [DONE]\n\n"
)
RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"r","model":"gpt-5","usage":null}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","model":"gpt-5","usage":'
    b'{"input_tokens":50,"input_tokens_details":{"cached_tokens":20,"cache_write_tokens":5},"output_tokens":6}}}\n\n'
)
ANTHROPIC = b"".join(anthropic_stream("hello world"))
STREAMS: list[tuple[Format, bytes]] = [
    ("anthropic_messages", ANTHROPIC),
    ("openai_chat", CHAT),
    ("openai_responses", RESPONSES),
]


def test_usage_in_neutral_figures() -> None:
    assert scan.find_usage(ANTHROPIC, ANTHROPIC, "anthropic_messages") == Usage(12, 42, 100, 5, None)
    assert scan.find_usage(CHAT, CHAT, "openai_chat") == Usage(20, 9, 80, None, 4)
    assert scan.find_usage(RESPONSES, RESPONSES, "openai_responses") == Usage(25, 6, 20, 5, None)


def test_the_prompt_counts_cached_tokens_once() -> None:
    assert scan.find_usage(CHAT, CHAT, "openai_chat").prompt == 100
    assert scan.find_usage(ANTHROPIC, ANTHROPIC, "anthropic_messages").prompt == 117


@pytest.mark.parametrize(("dialect", "stream"), STREAMS)
def test_an_end_is_seen_only_when_it_is_there(dialect: Format, stream: bytes) -> None:
    assert scan.has_end_mark(stream, dialect)
    last = stream.rstrip().rfind(b"\n\n")
    assert not scan.has_end_mark(stream[:last], dialect)


@pytest.mark.parametrize(("dialect", "stream"), STREAMS)
def test_the_first_token_is_not_seen_too_early(dialect: Format, stream: bytes) -> None:
    events = stream.split(b"\n\n")
    first = next(index for index, event in enumerate(events) if scan.has_first_token(event, dialect))
    assert b"Hi" in events[first] or b"hello" in events[first]


def test_words_of_the_model_can_not_pass_for_marks() -> None:
    words = r"\"usage\":{\"output_tokens\":9} \"message_stop\" \"stop_reason\":\"x\""
    text = '{"type":"content_block_delta","delta":{"text":"' + words + '"}}'
    data = f"data: {text}\n\n".encode()
    assert scan.find_usage(data, data, "anthropic_messages") == Usage()
    assert not scan.has_end_mark(data, "anthropic_messages")
    assert scan.find_stop_reason(data, "anthropic_messages") == ""


def test_models_and_stop_reasons() -> None:
    assert scan.find_model(ANTHROPIC) == "claude-sonnet-4-5-20250929"
    assert scan.find_model(CHAT) == "gpt-4.1"
    assert scan.find_model(b"nothing") == ""
    assert scan.find_stop_reason(ANTHROPIC, "anthropic_messages") == "end_turn"
    assert scan.find_stop_reason(CHAT, "openai_chat") == "stop"
    assert scan.find_stop_reason(RESPONSES, "openai_responses") == "completed"


@pytest.mark.parametrize(
    "broken", [b'"usage":{', b'"usage":{"a":', b'"usage":[1]', b'"usage" : {"output_tokens": "x"}']
)
def test_broken_usage_is_no_usage(broken: bytes) -> None:
    assert scan.find_usage(broken, broken, "anthropic_messages") == Usage()


def test_an_error_in_a_stream_is_found_with_its_message() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Over \\"it\\""}}\n\n'
    assert scan.find_stream_error(ANTHROPIC[:500] + error, "anthropic_messages") == 'Over "it"'
    assert scan.find_stream_error(ANTHROPIC, "anthropic_messages") == ""
    failed = b'data: {"type":"response.failed","response":{"error":{"code":"x","message":"no"}}}\n\n'
    assert scan.find_stream_error(failed, "openai_responses") == "no"
    assert scan.find_stream_error(CHAT, "openai_chat") == ""
