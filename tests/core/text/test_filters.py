"""The `/` language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.text.filters import FilterError, parse

FIELDS = frozenset({"model", "status", "client", "out", "ttft", "error"})
ROW = {"model": "claude-opus-4-1", "status": 429, "client": "aider", "out": 1200, "ttft": None, "error": "Rate limited"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("opus", True),
        ("OPUS", True),
        ("sonnet", False),
        ("!sonnet", True),
        ("model:opus", True),
        ("!model:opus", False),
        ("model:opus client:aider", True),
        ("model:opus client:zed", False),
        ("status:429", True),
        ("status:42", False),
        ("status:>=400", True),
        ("status:<400", False),
        ("out:>1k", True),
        ("out:>1.3k", False),
        ("ttft:>1", False),
        ("!ttft:>1", True),
        ('error:"rate limited"', True),
        ('"rate limited"', True),
        ("http://x", False),
    ],
)
def test_a_filter_matches_what_it_says(text: str, matches: bool) -> None:
    assert parse(text, FIELDS).matches(ROW) is matches


@pytest.mark.parametrize(("text", "words"), [("modle:x", "no field 'modle'"), ("model:", "needs a value")])
def test_a_filter_that_makes_no_sense_says_why(text: str, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        parse(text, FIELDS)


@given(st.text(max_size=40))
def test_no_text_fails_in_another_way(text: str) -> None:
    try:
        parse(text, FIELDS).matches(ROW)
    except FilterError:
        pass
