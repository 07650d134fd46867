"""What changes from one text to another, as a unified difference without its two lines of names. Pure.

Bounded in time for any texts, which difflib alone is not: a card must not wait for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from operator import eq
from typing import NamedTuple

CONTEXT = 3
_MOST = 200_000  # pairs of equal lines; beyond, all of the one text goes and all of the other comes


class _Change(NamedTuple):
    """Lines `i1` up to `i2` of the old text become lines `j1` up to `j2` of the new one."""

    i1: int
    i2: int
    j1: int
    j2: int


def lines_of(text: str) -> list[str]:
    """As an editor numbers them: a newline ends a line, and nothing else does."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def difference(old: str, new: str) -> list[str]:
    before, after = lines_of(old), lines_of(new)
    found: list[str] = []
    for hunk in _hunks(_changes(before, after)):
        found += _written(hunk, before, after)
    return found


def _changes(before: Sequence[str], after: Sequence[str]) -> list[_Change]:
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if not _is_comparable(old, new):
        return [_Change(start, start + len(old), start, start + len(new))]
    matcher = SequenceMatcher(None, old, new)
    return [
        _Change(start + i1, start + i2, start + j1, start + j2)
        for kind, i1, i2, j1, j2 in matcher.get_opcodes()
        if kind != "equal"
    ]


def _is_comparable(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether few lines repeat, which is what difflib's time grows with. (It passes over those that are everywhere.)"""
    counts, others = Counter(old), Counter(new)
    everywhere = max(len(new) // 100, 1) if len(new) >= 200 else len(new)
    return sum(many * counts[line] for line, many in others.items() if many <= everywhere) <= _MOST


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines are the same from the beginning on."""
    return sum(1 for _ in takewhile(bool, map(eq, one, other)))


def _hunks(changes: Sequence[_Change]) -> Iterator[list[_Change]]:
    """Changes whose surroundings touch stand together."""
    hunk: list[_Change] = []
    for change in changes:
        if hunk and change.i1 - hunk[-1].i2 > 2 * CONTEXT:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _written(hunk: Sequence[_Change], before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    first, last = max(hunk[0].i1 - CONTEXT, 0), min(hunk[-1].i2 + CONTEXT, len(before))
    growth = sum((change.j2 - change.j1) - (change.i2 - change.i1) for change in hunk)
    new_first = hunk[0].j1 - (hunk[0].i1 - first)
    yield f"@@ -{_range(first, last - first)} +{_range(new_first, last - first + growth)} @@"
    place = first
    for change in hunk:
        yield from (f" {line}" for line in before[place : change.i1])
        yield from (f"-{line}" for line in before[change.i1 : change.i2])
        yield from (f"+{line}" for line in after[change.j1 : change.j2])
        place = change.i2
    yield from (f" {line}" for line in before[place:last])


def _range(start: int, length: int) -> str:
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
