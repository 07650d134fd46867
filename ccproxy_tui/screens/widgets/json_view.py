"""A folding JSON tree on the line API."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from ccproxy_tui.screens.ui.json_tree import JsonTree
from ccproxy_tui.screens.ui.words import fit
from ccproxy_tui.screens.widgets.line_view import LineView


class JsonView(LineView):
    """`show` gives it a value; a cursor line folds and unfolds."""

    DEFAULT_CSS = """
    JsonView > .json-view--key { color: $text-primary; }
    JsonView > .json-view--string { color: $text-success; }
    JsonView > .json-view--number { color: $text-accent; }
    JsonView > .json-view--word { color: $text-warning; }
    JsonView > .json-view--folded { color: $text-muted; }
    JsonView > .json-view--cursor { background: $surface-lighten-1; }
    JsonView:focus > .json-view--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "json-view--key",
        "json-view--string",
        "json-view--number",
        "json-view--word",
        "json-view--folded",
        "json-view--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,o", "fold_line", "fold", id="json.fold"),
        Binding("left,h", "fold(-1)", "fold all", id="json.fold_all", show=False),
        Binding("right,l", "fold(1)", "unfold all", id="json.unfold_all", show=False),
    ]

    def __init__(self, *, id: str | None = None, empty: str = "nothing to show") -> None:
        super().__init__(id=id)
        self._json: JsonTree | None = None
        self.cursor = 0
        self.empty = empty
        self._depth = 2

    def show(self, value: Any) -> None:
        self._json = JsonTree(value, depth=self._depth)
        self.cursor = min(self.cursor, max(self.line_count() - 1, 0))
        self.top = max(0, min(self.top, self.last_top))
        self.refresh()

    def clear(self, message: str) -> None:
        self._json, self.empty, self.cursor, self.top = None, message, 0, 0
        self.refresh()

    def line_count(self) -> int:
        return len(self._json.lines) if self._json is not None else 1

    def draw_line(self, index: int, width: int) -> Strip:
        if self._json is None:
            return self.text_strip([(fit(self.empty, width), self.named_style("json-view--folded"))], width)
        line = self._json.lines[index]
        style = self.rich_style if line.kind == "text" else self.named_style(f"json-view--{line.kind}")
        if index == self.cursor:
            style = style + self.named_style("json-view--cursor")
        return self.text_strip([(fit(line.text, width), style)], width)

    def _go(self, index: int) -> None:
        before = self.cursor
        self.cursor = max(0, min(index, self.line_count() - 1))
        if not self.show_line(self.cursor):
            self.repaint_line(before)
            self.repaint_line(self.cursor)

    def action_move(self, steps: int) -> None:
        self._go(self.cursor + steps)

    def action_home(self) -> None:
        self._go(0)

    def action_end(self) -> None:
        self._go(self.line_count() - 1)

    def action_fold_line(self) -> None:
        if self._json is not None:
            self._json.toggle(self.cursor)
            self.cursor = min(self.cursor, self.line_count() - 1)
            self.refresh()

    def action_fold(self, step: int) -> None:
        self._depth = max(1, min(self._depth + step, 12))
        if self._json is not None:
            self._json.fold_to(self._depth)
            self.cursor = min(self.cursor, self.line_count() - 1)
            self.show_line(self.cursor)
            self.refresh()

    def find(self, text: str, step: int = 1) -> bool:
        """Go to the next line with `text`. Whether there is one."""
        if self._json is None or not text:
            return False
        found = self._json.find(text, self.cursor, step)
        if found is None:
            return False
        self.cursor = found
        self.show_line(found)
        self.refresh()
        return True

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y
        if self._json is not None and index < self.line_count():
            if index == self.cursor:
                self.action_fold_line()
            else:
                self._go(index)
