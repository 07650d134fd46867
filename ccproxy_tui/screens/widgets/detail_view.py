"""One exchange in a few lines: from where to where, by whom, and its timeline."""

from __future__ import annotations

from itertools import zip_longest
from typing import ClassVar, Generic, TypeVar

from textual.strip import Strip

from ccproxy_tui.core.control.frames import Detail
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.widgets.line_view import LineView

Line = tuple[str, str]  # text, style name
L = TypeVar("L")


def summary_lines(detail: Detail) -> list[Line]:
    """Who asked for what, and who served it."""
    row = detail.row
    upstream = detail.upstream_url or "not sent yet"
    served = f", served {row.served}" if row.served and row.served != row.model else ""
    lines: list[Line] = [
        (f"{detail.method} {detail.path}  from {row.client} ({detail.peer})", "strong"),
        (f"-> {upstream}", ""),
    ]
    if row.model:
        lines.append((f"requested {row.model}{served}", ""))
    who = "  ".join(
        part for part in (row.provider, row.account, f"billing: {row.billing}" if row.billing else "") if part
    )
    if who:
        lines.append((who, "dim"))
    if row.session:
        lines.append((f"session {row.session}", "dim"))
    usage = f"in {row.tokens_in} ({row.cache_read} cached)  out {row.tokens_out}" if row.tokens_in else ""
    sizes = f"{words.size(row.bytes_in)} up  {words.size(row.bytes_out)} down  {row.events} events"
    lines.append(("  ".join(part for part in (usage, sizes, f"{row.pings} pings" if row.pings else "") if part), "dim"))
    if row.error:
        lines.append((row.error, "error"))
    return [(escape_line(text), style) for text, style in lines]


def timeline_lines(detail: Detail) -> list[Line]:
    """Each step with its time since the start, and since the step before."""
    lines: list[Line] = []
    before = 0.0
    for mark in detail.marks:
        gap = mark.at - before
        before = mark.at
        style = (
            "error" if mark.name in ("ended",) and detail.row.error else "strong" if mark.name == "first token" else ""
        )
        text = f"{mark.at:8.3f}  +{gap * 1000:6.0f} ms  {mark.name}"
        lines.append((escape_line(f"{text}  {mark.detail}" if mark.detail else text), style))
    return lines


class KeptLines(LineView, Generic[L]):
    """Lines that are all there; only those that differ from the last ones are painted again."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[L] = []

    def show_lines(self, lines: list[L]) -> None:
        """Repaint the lines that differ."""
        old, self._lines = self._lines, lines
        if self.scroll_lines_to(self.top) or not lines or not old:
            self.refresh()
            return
        for index, (before, now) in enumerate(zip_longest(old, lines)):
            if before != now:
                self.repaint_line(index)

    def line_count(self) -> int:
        return len(self._lines) or 1


class DetailView(KeptLines[Line]):
    """Lines with named styles; used for docks and for the inspector's Timeline. Any text is safe here."""

    DEFAULT_CSS = """
    DetailView > .detail--strong { text-style: bold; }
    DetailView > .detail--dim { color: $text-muted; }
    DetailView > .detail--error { color: $text-error; }
    DetailView > .detail--added { color: $text-success; }
    DetailView > .detail--removed { color: $text-warning; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "detail--strong",
        "detail--dim",
        "detail--error",
        "detail--added",
        "detail--removed",
    }

    def __init__(self, *, id: str | None = None, empty: str = "no exchange selected") -> None:
        super().__init__(id=id)
        self._empty = empty

    def show(self, detail: Detail | None, *, timeline_first: bool = False) -> None:
        if detail is None:
            self.show_lines([])
            return
        parts = [summary_lines(detail), timeline_lines(detail)]
        first, second = reversed(parts) if timeline_first else parts
        self.show_lines([*first, ("", ""), *second])

    def draw_line(self, index: int, width: int) -> Strip:
        text, name = self._lines[index] if self._lines else (self._empty, "dim")
        style = self.named_style(f"detail--{name}") if name else self.rich_style
        return self.text_strip([(words.fit(escape_line(text), width), style)], width)
