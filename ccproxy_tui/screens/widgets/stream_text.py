"""The text of one answer as it comes: append-only, follows its end, thinking dimmed, tool calls marked."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.strip import Strip

from ccproxy_tui.core.control.frames import Segment
from ccproxy_tui.screens.ui.mirror import TextLog
from ccproxy_tui.screens.ui.text_model import TextModel
from ccproxy_tui.screens.ui.words import fit
from ccproxy_tui.screens.widgets.line_view import LineView


class StreamText(LineView):
    """Give it a `TextLog` again and again; it takes what is new and repaints the lines that changed.

    At its end it does not scroll line by line, which would repaint everything for each line, but by a third of its
    height at a time.
    """

    DEFAULT_CSS = """
    StreamText > .stream-text--thinking { color: $text-muted; text-style: italic; }
    StreamText > .stream-text--tool { color: $accent; text-style: bold; }
    StreamText > .stream-text--arguments { color: $text-muted; }
    StreamText > .stream-text--note { color: $text-muted; }
    StreamText > .stream-text--error { color: $text-error; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "stream-text--thinking",
        "stream-text--tool",
        "stream-text--arguments",
        "stream-text--note",
        "stream-text--error",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "toggle_follow", "freeze", id="text.freeze"),
    ]

    def __init__(self, *, id: str | None = None, empty: str = "no text yet") -> None:
        super().__init__(id=id)
        self.text_model = TextModel()
        self.following = True
        self.empty = empty
        self._log: TextLog | None = None
        self._version = 0
        self._taken = 0

    def follow(self, log: TextLog | None) -> None:
        """Show `log`, taking what it gained since the last call. None clears."""
        if log is not self._log or (log is not None and log.version != self._version):
            self._log = log
            self._version = log.version if log is not None else 0
            self._taken = 0
            self.text_model.clear()
            self.top = 0
            self.refresh()
        if log is None:
            return
        new = log.segments[max(self._taken - log.start, 0) :]
        self._taken = log.start + len(log.segments)
        if new:
            self._append(new)

    def _append(self, segments: list[Segment]) -> None:
        trimmed = self.text_model.trimmed
        before = len(self.text_model.lines)
        first = self.text_model.append(segments)
        if self.text_model.trimmed != trimmed:
            self.top = max(self.top - (self.text_model.trimmed - trimmed), 0)
            self.refresh()
        if not (self.following and self._follow_end()):
            self.repaint_lines(first, max(before, len(self.text_model.lines)))

    def _follow_end(self) -> bool:
        """Have the last line on screen. Whether that scrolled."""
        if self.line_count() <= self.top + self.page:
            return False
        spare = min(self.page // 3, 8)
        self.top = max(self.line_count() - self.page + spare, 0)
        self.refresh()
        return True

    @property
    def last_top(self) -> int:
        return max(self.line_count() - 1, 0)

    def line_count(self) -> int:
        return len(self.text_model.lines)

    def render_line(self, y: int) -> Strip:
        if not self.text_model.lines and y == 0:
            style = self.named_style("stream-text--note")
            return self.text_strip([(fit(self.empty, self.size.width), style)], self.size.width)
        return super().render_line(y)

    def draw_line(self, index: int, width: int) -> Strip:
        line = self.text_model.lines[index]
        return self.text_strip([(fit(line.text, width), self._style_of(line.kind))], width)

    def _style_of(self, kind: str) -> Style:
        return self.rich_style if kind == "text" else self.named_style(f"stream-text--{kind}")

    def on_resize(self) -> None:
        at_end = self.top + self.page >= self.line_count()
        if self.text_model.set_width(self.size.width):
            self.refresh()
        if self.following and at_end:
            self._follow_end()
        else:
            self.top = max(0, min(self.top, self.last_top))

    def action_move(self, steps: int) -> None:
        self.following = False
        super().action_move(steps)
        if self.top + self.page >= self.line_count():
            self.following = True

    def action_home(self) -> None:
        self.following = False
        super().action_home()

    def action_end(self) -> None:
        self.following = True
        self.scroll_lines_to(max(self.line_count() - self.page, 0))

    def action_toggle_follow(self) -> None:
        self.following = not self.following
        if self.following:
            self._follow_end()
