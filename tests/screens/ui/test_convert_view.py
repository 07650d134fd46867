"""The Convert tab's lines: the report, and the two bodies compared."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.control.frames import NoteView
from ccproxy_tui.screens.ui.convert_view import COMPARED, SIDE_BY_SIDE, UNTOUCHED, diff_lines, note_lines


def body(**values: object) -> bytes:
    return msgspec.json.encode(values)


def test_a_relayed_request_says_so() -> None:
    assert note_lines([], "openai_chat", "openai_chat") == [(UNTOUCHED, "dim")]
    assert diff_lines(body(a=1), body(a=1)) == []


def test_every_note_is_a_line_and_hostile_text_is_spelled_out() -> None:
    notes = [NoteView("dropped", "top_k", "why"), NoteView("renamed", "tools[].name", "short", 3, "\x1b[31mred")]
    lines = note_lines(notes, "anthropic_messages", "openai_responses")
    assert lines[0][0] == "anthropic messages -> openai responses"
    assert "3 times" in lines[2][0]
    assert not any("\x1b" in text for text, _ in lines)


def test_a_narrow_diff_is_below_and_a_wide_one_beside() -> None:
    before, after = body(model="a", x=1), body(model="b", x=1)
    below = [text for text, style in diff_lines(before, after) if style in ("added", "removed")]
    assert below == ['-  "model": "a",', '+  "model": "b",']
    beside = [text for text, style in diff_lines(before, after, SIDE_BY_SIDE) if style == "strong"]
    assert [part.strip() for part in beside[0].split("│")] == ['"model": "a",', '"model": "b",']


def test_huge_bodies_are_compared_in_part_and_say_so() -> None:
    lines = diff_lines(body(a=list(range(5000))), body(a=list(range(1, 5001))))
    assert lines[-1][0].startswith(f"(the first {COMPARED:,} lines")


@given(st.binary(max_size=80), st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes_can_be_compared(before: bytes, after: bytes, width: int) -> None:
    for text, _ in diff_lines(before, after, width):
        assert "\n" not in text
