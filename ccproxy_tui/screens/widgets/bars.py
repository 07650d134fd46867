"""One-line bars. Each repaints only when its text has changed, and never asks for a layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui.words import fit

Part = tuple[str, str]  # text, and the name of its style ("" for plain)


class Bar(Widget):
    """A line of parts on the left and on the right."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; }
    Bar > .bar--strong { text-style: bold; }
    Bar > .bar--ok { color: $text-success; }
    Bar > .bar--warning { color: $text-warning; }
    Bar > .bar--error { color: $text-error; text-style: bold; }
    Bar > .bar--dim { color: $text-muted; }
    Bar > .bar--key { color: $accent; text-style: bold; }
    Bar > .bar--active { text-style: bold reverse; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "bar--strong",
        "bar--ok",
        "bar--warning",
        "bar--error",
        "bar--dim",
        "bar--key",
        "bar--active",
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left: list[Part] = []
        self._right: list[Part] = []

    def say(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """Show these parts. Repaints only if they differ from what is shown."""
        if list(left) == self._left and list(right) == self._right:
            return
        self._left, self._right = list(left), list(right)
        self.refresh()

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"bar--{name}") if name else self.rich_style

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        right = [Segment(text, self._style(name)) for text, name in self._right]
        gap = 1 if right else 0  # also behind what is cut
        space = width - sum(cell_len(segment.text) for segment in right) - gap
        left: list[Segment] = []
        for text, name in self._left:
            cells = cell_len(text)
            if cells > space:
                left.append(Segment(fit(text, space), self._style(name)))
                space = 0
                break
            left.append(Segment(text, self._style(name)))
            space -= cells
        left.append(Segment(" " * (space + gap), self.rich_style))
        return Strip(left + right).adjust_cell_length(width, self.rich_style)


class StatusBar(Bar):
    """The first line: the proxy, its accounts, what needs an answer."""

    DEFAULT_CSS = "StatusBar { background: $panel; color: $foreground; }"


class TabLine(Bar):
    """The screens by number; the one that is open stands in brackets."""

    class Picked(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spans: list[tuple[int, int, str]] = []

    def show(self, tabs: Sequence[tuple[str, str, str]], active: str, right: str) -> None:
        """`tabs` are (name, key, title)."""
        parts: list[Part] = [(" ", "")]
        self._spans = []
        x = 1
        for name, key, title in tabs:
            label = f"[{key} {title}]" if name == active else f" {key} {title} "
            parts.append((label, "strong" if name == active else "dim"))
            self._spans.append((x, x + len(label), name))
            x += len(label)
        self.say(parts, [(right, "dim")] if right and x + len(right) + 1 <= self.size.width else [])

    def on_click(self, event: events.Click) -> None:
        for start, end, name in self._spans:
            if start <= event.x < end:
                self.post_message(self.Picked(name))


class KeyLine(Bar):
    """The last line: the keys that do something where the focus is."""

    def show(self, keys: Sequence[tuple[str, str]]) -> None:
        """`keys` are (key, what it does); what does not fit is left out, whole."""
        parts: list[Part] = [(" ", "")]
        space = self.size.width - 1
        for key, words in keys:
            needed = cell_len(key) + cell_len(words) + 3
            if needed > space:
                break
            parts += [(key, "key"), (f" {words}  ", "")]
            space -= needed
        self.say(parts)


class TrustLine(Bar):
    """Below the first line, on every screen, while a file of a project folder decides something. Else not there."""

    DEFAULT_CSS = "TrustLine { display: none; background: $panel; }"

    def warn(self, text: str) -> None:
        self.display = bool(text)
        where = [("see Settings (8) ", "dim")] if self.app.size.width >= 72 else []
        self.say([(f" {escape_line(text)} ", "warning")] if text else [], where if text else [])


class AskLine(Bar):
    """The oldest question that waits, on every screen but its own. Not there when nothing waits."""

    DEFAULT_CSS = "AskLine { display: none; background: $warning; color: $background; text-style: bold; }"

    def ask(self, text: str) -> None:
        self.display = bool(text)
        self.say([(f" {text}", "")] if text else [], [("ctrl+g to answer ", "")] if text else [])


class NoticeLine(Bar):
    """The line above the keys: the last thing that happened."""

    def notice(self, text: str, style: str = "dim") -> None:
        self.say([(f" last: {text}", style)] if text else [])
