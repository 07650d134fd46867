"""No text can act on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.escape import escape_block, escape_line, has_hidden


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("tab\there", "tab\\there"),
        ("héllo 漢字 🎉", "héllo 漢字 🎉"),
    ],
)
def test_what_can_not_be_seen_is_spelled_out(text: str, escaped: str) -> None:
    assert escape_line(text) == escaped


def test_a_block_keeps_its_newlines_and_tabs() -> None:
    assert escape_block("a\n\tb\x00") == "a\n\tb\\x00"


@given(st.text())
def test_nothing_that_is_left_can_control_a_terminal(text: str) -> None:
    line = escape_line(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in line)
    assert not has_hidden(line)
    assert escape_line(line) == line
