"""Differences that are right for any texts, and made in time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.permissions.difference import difference, lines_of

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def patched(old: str, found: list[str]) -> list[str]:
    """What `patch` makes of the old text: every line that stays or goes must be there, at the place that is named."""
    before, after, place = lines_of(old), [], 0
    left = [0, 0]
    for line in found:
        if left == [0, 0]:
            match = _HUNK.fullmatch(line)
            assert match is not None, line
            start, many, new, much = (int(group) if group is not None else 1 for group in match.groups())
            start -= many > 0
            after += before[place:start]
            place = start
            assert len(after) == new - (much > 0)
            left = [many, much]
            continue
        kind, text = line[0], line[1:]
        if kind in " -":
            assert before[place] == text
            place += 1
            left[0] -= 1
        if kind in " +":
            after.append(text)
            left[1] -= 1
    assert left == [0, 0]
    return after + before[place:]


TEXT = st.lists(st.sampled_from(("a", "b", "", "c d", "\u2028", "\r"))).map("\n".join) | st.text("ab\n")


@given(TEXT, TEXT)
def test_a_difference_makes_the_new_text_of_the_old_one(old: str, new: str) -> None:
    assert patched(old, difference(old, new)) == lines_of(new)


def test_changes_stand_with_three_lines_around_them() -> None:
    old = "\n".join(map(str, range(1, 31)))
    new = old.replace("\n5\n", "\nfive\n").replace("\n25\n", "\n")
    assert difference(old, new) == [
        *("@@ -2,7 +2,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"),
        *("@@ -22,7 +22,6 @@", " 22", " 23", " 24", "-25", " 26", " 27", " 28"),
    ]
    assert difference("", "a\nb") == ["@@ -0,0 +1,2 @@", "+a", "+b"]
    assert difference("a", "a") == []


def test_two_changes_far_apart_in_a_long_file_are_two_changes() -> None:
    lines = [f"line {number}" if number % 3 else "" for number in range(20_000)]
    new = [*lines]
    new[4], new[19_990] = "four", "the last but some"
    found = difference("\n".join(lines), "\n".join(new))
    assert [line for line in found if line[0] in "-+"] == ["-line 4", "+four", "-line 19990", "+the last but some"]


@pytest.mark.parametrize("many", [2_000, 4_400, 50_000])
def test_texts_that_are_hard_to_compare_are_compared_in_time(many: int) -> None:
    """By the guard of the test's own time-out: difflib alone would take hours."""
    old = "\n".join(f"{number * 7 % 101}" for number in range(many))
    new = "\n".join(f"{number * 11 % 101}" for number in range(many))
    assert patched(old, difference(old, new)) == lines_of(new)
