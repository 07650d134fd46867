"""The live text of one answer as wrapped lines. Appending re-wraps the last line only."""

from __future__ import annotations

from typing import NamedTuple

from ccproxy_tui.core.control.frames import Segment, SegmentKind
from ccproxy_tui.core.text.escape import escape_block
from ccproxy_tui.screens.ui.words import wrap

MAX_LINES = 5000
_INDENT = {"arguments": "  "}


class Line(NamedTuple):
    kind: SegmentKind
    text: str


class TextModel:
    """Feed it segments; read `lines`. `first_changed` says from which line on a view must repaint."""

    def __init__(self, width: int = 80) -> None:
        self._width = max(width, 1)
        self._paragraphs: list[tuple[SegmentKind, str]] = []  # one per hard line
        self._starts: list[int] = []  # the first wrapped line of each hard line
        self._block: int | None = None
        self._kind: SegmentKind | None = None
        self.lines: list[Line] = []
        self.trimmed = 0

    def clear(self) -> None:
        self._paragraphs, self._starts, self.lines = [], [], []
        self._block = self._kind = None
        self.trimmed = 0

    def append(self, segments: list[Segment]) -> int:
        """Take more text. The first wrapped line that changed."""
        first = len(self.lines)
        for segment in segments:
            first = min(first, self._take(segment))
        self._trim()
        return max(min(first, len(self.lines)), 0)

    def _take(self, segment: Segment) -> int:
        first = len(self.lines)
        opens = (segment.block, segment.kind) != (self._block, self._kind)
        text = segment.title if segment.kind == "tool" else segment.text
        if opens or segment.kind in ("tool", "note", "error"):
            if not text:
                return first
            # A call's arguments belong to its name; everything else stands apart.
            if self._paragraphs and segment.kind != "arguments":
                self._push(segment.kind, "")
            self._block, self._kind = segment.block, segment.kind
            fresh = True
        else:
            fresh = False
        pieces = escape_block(text.replace("\r\n", "\n")).expandtabs(4).split("\n")
        if fresh:
            self._push(segment.kind, pieces[0])
        else:
            first = min(first, self._extend(pieces[0]))
        for piece in pieces[1:]:
            self._push(segment.kind, piece)
        return first

    def _push(self, kind: SegmentKind, text: str) -> None:
        self._starts.append(len(self.lines))
        self._paragraphs.append((kind, text))
        self._lay_out(kind, text)

    def _extend(self, text: str) -> int:
        """Add to the last hard line; the first wrapped line of it that changed."""
        kind, before = self._paragraphs[-1]
        start = self._starts[-1]
        self._paragraphs[-1] = (kind, before + text)
        old = self.lines[start:]
        del self.lines[start:]
        self._lay_out(kind, before + text)
        same = 0
        while same < len(old) and start + same < len(self.lines) and old[same] == self.lines[start + same]:
            same += 1
        return start + same

    def _lay_out(self, kind: SegmentKind, text: str) -> None:
        indent = _INDENT.get(kind, "")
        self.lines += [Line(kind, indent + piece) for piece in wrap(text, max(self._width - len(indent), 1))]

    def set_width(self, width: int) -> bool:
        """Re-wrap everything for a new width. Whether anything changed."""
        width = max(width, 1)
        if width == self._width:
            return False
        self._width = width
        paragraphs, self._paragraphs, self._starts, self.lines = self._paragraphs, [], [], []
        for kind, text in paragraphs:
            self._push(kind, text)
        return True

    def _trim(self) -> None:
        """Keep the last lines only; a day-long stream must not grow without end."""
        if len(self.lines) <= MAX_LINES * 2:
            return
        cut = next((i for i, start in enumerate(self._starts) if start >= len(self.lines) - MAX_LINES), None)
        if not cut:
            return
        offset = self._starts[cut]
        self.trimmed += offset
        self.lines = self.lines[offset:]
        self._paragraphs = self._paragraphs[cut:]
        self._starts = [start - offset for start in self._starts[cut:]]

    @property
    def plain(self) -> str:
        """The text as it was written, for the clipboard."""
        return "\n".join(text for _, text in self._paragraphs)
