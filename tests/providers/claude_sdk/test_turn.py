"""What an agent says, as one message: any order of events, any cut of it, in every mode."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.formats.anthropic_messages.stream_parser import StreamParser
from ccproxy_tui.core.formats.canonical import BlockStarted, Done
from ccproxy_tui.core.text import sse
from ccproxy_tui.providers.claude_sdk.turn import Form, Turn, assembled

Object = dict[str, Any]
FORMS = [
    Form(mode, pretty=pretty, foreign=foreign, thinking=thinking)  # type: ignore[arg-type]
    for mode in ("forward", "formatted", "ignore")
    for pretty in (True, False)
    for foreign in (True, False)
    for thinking in (True, False)
]


def event(**values: Any) -> Object:
    return {"type": "stream_event", "event": values, "parent_tool_use_id": None}


def block(index: int, kind: str, text: str) -> list[Object]:
    field = "thinking" if kind == "thinking" else "text"
    sign = [event(type="content_block_delta", index=index, delta={"type": "signature_delta", "signature": 's"g'})]
    return [
        event(type="content_block_start", index=index, content_block={"type": kind, field: ""}),
        event(type="content_block_delta", index=index, delta={"type": f"{kind}_delta", field: text}),
        *(sign if kind == "thinking" else []),
        event(type="content_block_stop", index=index),
    ]


def message(*parts: list[Object], stop: str = "end_turn") -> list[Object]:
    start = {"id": "msg_1", "model": "m", "usage": {"input_tokens": 7}}
    return [
        event(type="message_start", message=start),
        *(one for part in parts for one in part),
        event(type="message_delta", delta={"stop_reason": stop}, usage={"output_tokens": 2}),
        event(type="message_stop"),
    ]


INIT: Object = {"type": "system", "subtype": "init", "cwd": "/w", "model": "m", "tools": ["Bash"]}
CALL: Object = {
    "type": "assistant",
    "message": {"id": "msg_1", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"a": "<b>"}}]},
}
OUTCOME: Object = {
    "type": "user",
    "message": {"content": [{"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True}]},
}
RESULT: Object = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "num_turns": 2,
    "session_id": "s1",
    "total_cost_usd": 0.25,
    "usage": {"input_tokens": 14, "output_tokens": 4, "cache_read_input_tokens": 3},
    "duration_ms": 5,
    "duration_api_ms": 4,
    "result": "Done.",
}
WHOLE = [
    INIT,
    *message(block(0, "thinking", "hm < m"), block(1, "text", "A & B"), stop="tool_use"),
    CALL,
    OUTCOME,
    *message(block(0, "text", "Done.")),
    RESULT,
]


def run(messages: list[Object], form: Form) -> tuple[list[Object], Turn]:
    turn = Turn(form, "asked")
    return [made for one in messages for made in turn.feed(one)], turn


def contents(messages: list[Object], form: Form) -> list[Object]:
    return list(assembled(run(messages, form)[0])["content"])


def test_forward_has_a_block_of_its_own_for_each_thing() -> None:
    blocks = contents(WHOLE, Form())
    assert [one["type"] for one in blocks] == [
        *("system_message", "thinking", "text", "tool_use_sdk", "tool_result_sdk", "text", "result_message")
    ]
    assert blocks[0]["data"]["tools"] == ["Bash"]
    assert blocks[1] == {"type": "thinking", "thinking": "hm < m", "signature": 's"g'}
    assert blocks[3] | {"source": ""} == {
        "type": "tool_use_sdk",
        "id": "t1",
        "name": "Bash",
        "input": {"a": "<b>"},
        "source": "",
    }
    assert (blocks[4]["tool_use_id"], blocks[4]["is_error"]) == ("t1", True)
    assert (blocks[6]["total_cost_usd"], blocks[6]["num_turns"], blocks[6]["session_id"]) == (0.25, 2, "s1")
    assert {one.get("source", "claude_code_sdk") for one in blocks} == {"claude_code_sdk"}


def test_forward_tells_another_dialect_in_lines() -> None:
    text = "".join(one.get("text", "") for one in contents(WHOLE, Form(foreign=True)))
    assert '[claude_code_sdk tool_use t1]: Bash {"a": "<b>"}\n' in text
    assert "[claude_code_sdk tool_result t1 (ERROR)]: no\n" in text
    assert "[claude_code_sdk result s1]: success, 2 turns\n" in text


def test_formatted_wraps_everything() -> None:
    pretty = "".join(one["text"] for one in contents(WHOLE, Form("formatted")))
    assert '<thinking signature="s&quot;g">\nhm < m\n</thinking>\n<text>\nA & B\n</text>\n<tool_use_sdk>\n{\n' in pretty
    assert '"type": "tool_result"' in pretty
    assert pretty.endswith("</result_message>\n")
    compact = "".join(one["text"] for one in contents(WHOLE, Form("formatted", pretty=False)))
    assert "<text>A &amp; B</text><tool_use_sdk>{&quot;type&quot;:&quot;tool_use&quot;," in compact
    assert "\n" not in compact


def test_ignore_leaves_text_and_the_thinking_that_was_asked_for() -> None:
    assert [one["type"] for one in contents(WHOLE, Form("ignore"))] == ["text", "text"]
    assert [one["type"] for one in contents(WHOLE, Form("ignore", thinking=True))] == ["thinking", "text", "text"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_a_stream_that_parsers_take(form: Form) -> None:
    events, turn = run(WHOLE, form)
    assert turn.done
    indexes = [one["index"] for one in events if one["type"] == "content_block_start"]
    assert indexes == list(range(len(indexes)))
    parser = StreamParser()
    parsed = parser.feed(b"".join(sse.encode(json.dumps(one).encode(), one["type"]) for one in events))
    assert isinstance(parsed[-1], Done)
    assert not any(isinstance(one, BlockStarted) and one.kind == "tool_call" for one in parsed)
    whole = assembled(events)
    assert whole["usage"] == {
        "input_tokens": 14,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 4,
    }
    assert (whole["stop_reason"], whole["model"]) == ("end_turn", "m")


def test_silence_belongs_to_a_tool_while_one_runs() -> None:
    turn = Turn(Form(), "m")
    turn.feed(CALL)
    assert turn.running_tools
    turn.feed(OUTCOME)
    assert not turn.running_tools


def test_an_attempt_that_broke_off_leaves_no_block_open() -> None:
    half = message(block(0, "text", "half"))[:3]
    events, _ = run([*half, *message(block(0, "text", "whole")), RESULT], Form("ignore"))
    opened = [one["index"] for one in events if one["type"] == "content_block_start"]
    closed = [one["index"] for one in events if one["type"] == "content_block_stop"]
    assert opened == closed == [0, 1]


def test_a_sub_agent_s_talk_is_its_own() -> None:
    inner = [{**one, "parent_tool_use_id": "t1"} for one in message(block(0, "text", "secretly"))]
    assert "secretly" not in json.dumps(contents([*WHOLE[:-1], *inner, RESULT], Form()))


@pytest.mark.parametrize(
    ("messages", "status", "words"),
    [
        (
            [
                {
                    "type": "assistant",
                    "message": {"content": [{"type": "text", "text": "API Error: 529 busy"}]},
                    "is_api_error_message": True,
                    "api_error_status": 529,
                },
                {**RESULT, "is_error": True},
            ],
            529,
            "busy",
        ),
        ([{**RESULT, "is_error": True, "subtype": "error_during_execution", "errors": ["boom"]}], 502, "boom"),
        ([{**RESULT, "is_error": True, "result": None, "api_error_status": "x"}], 502, "success"),
    ],
)
def test_a_failed_turn_says_how(messages: list[Object], status: int, words: str) -> None:
    events, turn = run(messages, Form())
    assert events == []
    assert turn.failure is not None
    assert turn.failure.status == status
    assert words in turn.failure.message


def test_a_limit_of_the_person_s_ends_an_answer_and_is_no_error() -> None:
    events, turn = run([*WHOLE[:-1], {**RESULT, "is_error": True, "subtype": "error_max_turns"}], Form())
    assert turn.failure is None
    assert assembled(events)["stop_reason"] == "pause_turn"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "text"]), inner),
    max_leaves=6,
)
KINDS = st.sampled_from(["system", "stream_event", "assistant", "user", "result", "rate_limit_event", "x"])
ODD = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "event": JSON | st.fixed_dictionaries({"type": st.sampled_from(["message_start", "content_block_start"])}),
        "message": JSON | st.fixed_dictionaries({"content": JSON}),
        "usage": JSON,
        "errors": JSON,
        "is_error": JSON,
        "subtype": JSON,
    },
)


@given(st.lists(ODD | st.sampled_from(WHOLE), max_size=12), st.sampled_from(FORMS))
def test_whatever_it_says_no_block_is_left_open(messages: list[Object], form: Form) -> None:
    turn = Turn(form, "m")
    opened: list[int] = []
    for one in messages:
        if turn.done:
            break
        for made in turn.feed(one):
            assert turn.started
            if made["type"] == "content_block_start":
                opened.append(made["index"])
            if made["type"] == "content_block_stop":
                opened.remove(made["index"])
    assert not turn.done or turn.failure or not opened
