"""No text can act on a terminal."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.text.escape import escape_block, escape_line, has_hidden


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


def test_no_character_that_hides_is_forgotten() -> None:
    seen = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    hiding = ("Cc", "Cf", "Cs", "Zl", "Zp")
    every = [char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) in hiding]
    assert len(every) > 2000
    assert [char for char in every if escape_line(char) == char] == list(seen)
    assert not has_hidden(seen)


@given(st.text())
def test_nothing_that_is_left_can_control_a_terminal(text: str) -> None:
    line = escape_line(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in line)
    assert not has_hidden(line)
    assert escape_line(line) == line
