"""Lines of several styles, and how a long one goes on below. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from ccproxy_tui.core.text.escape import SPACE
from ccproxy_tui.screens.ui.highlight import Span

Piece = tuple[str, str]  # text, style name
JOINED = "↳ "  # stands before what goes on below without a space between


@dataclass(frozen=True, slots=True)
class PieceLine:
    """A line on the screen; `ground` names what lies behind all of it."""

    pieces: tuple[Piece, ...]
    ground: str = ""

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line of any length: `lead` stands before it, `follow` before what goes on below, `spans` stand out in it.

    `breaks` are the places after which it goes on below when it does not fit as it is. Where `follow` ends in two
    spaces it says whether the line was broken at its one space, or where there is none: two different lines never look
    alike.
    """

    text: str
    style: str = ""
    lead: Piece = ("", "")
    follow: Piece = ("", "")
    spans: Sequence[Span] = ()
    breaks: Sequence[int] = ()
    ground: str = ""


def wrapped(line: LongLine, width: int) -> list[PieceLine]:
    """Return lines of at most `width` cells (two, where a wide sign must fit), with nothing left out."""
    text, spans, lead, follow = line.text, line.spans, line.lead, line.follow
    if cell_len(lead[0]) > width // 2:  # it leaves no room: then it is the beginning of the text
        text, spans, lead, follow = lead[0] + text, (), ("", ""), ("", "")
    first, further = (max(width - cell_len(before[0]), 1) for before in (lead, follow))
    lines: list[PieceLine] = []
    slices = list(_slices(text, first, further, line.breaks))
    if follow[0].endswith("  ") and len(slices) > 1:
        text = "".join(_with_spaces_seen(text, start, end) for start, end in slices)
    for start, end in slices:
        before = follow if lines else lead
        if lines and follow[0].endswith("  ") and text[start - 1] != " ":
            before = (f"{follow[0][:-2]}{JOINED}", "dim")
        pieces = (before, *_pieces(text, start, end, line.style, spans))
        lines.append(PieceLine(tuple(piece for piece in pieces if piece[0]), line.ground))
    return lines


def _with_spaces_seen(text: str, start: int, end: int) -> str:
    """A part of a line, with spaces at its ends drawn that would not be seen there, but for the one that it ends in."""
    part = text[start:end]
    kept = part[:-1] if end < len(text) and part.endswith(" ") else part
    if end < len(text):
        bare = kept.rstrip(" ")
        kept = bare + SPACE * (len(kept) - len(bare))
    if start:
        bare = kept.lstrip(" ")
        kept = SPACE * (len(kept) - len(bare)) + bare
    return kept + part[len(kept) :]


def _slices(text: str, first: int, further: int, breaks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Parts of `first` cells and then `further`: after each of `breaks`, else after a space, else anywhere."""
    if len(text) <= first and cell_len(text) <= first:
        yield 0, len(text)
        return
    start, room = 0, first
    for limit in (*(place for place in breaks if place < len(text)), len(text)):
        while start < limit:
            found = chop_cells(text[start : min(start + room, limit)], room)  # none where no sign has a width
            end = start + max(len(found[0]), 1) if found else min(start + room, limit)
            space = text.rfind(" ", start + room // 2, end)
            if end < limit and space > 0:
                end = space + 1
            elif end == limit and text[end : end + 1] == " " and cell_len(text[start:end]) < room:
                end += 1
            yield start, end
            start, room = end, further


def _pieces(text: str, start: int, end: int, style: str, spans: Sequence[Span]) -> Iterator[Piece]:
    for first, last, name in spans:
        if last <= start or first >= end:
            continue
        yield text[start : max(first, start)], style
        yield text[max(first, start) : min(last, end)], name
        start = min(last, end)
    yield text[start:end], style
