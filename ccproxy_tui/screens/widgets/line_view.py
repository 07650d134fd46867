"""The base of everything that scrolls: lines drawn on demand, repainted one by one, with no layout and no scrollbar."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class LineView(Widget, can_focus=True):
    """Subclasses say how many lines there are and draw one. `top` is the first line on screen below the header."""

    DEFAULT_CSS = "LineView { width: 1fr; height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", id="list.up", show=False),
        Binding("down,j", "move(1)", "down", id="list.down", show=False),
        Binding("pageup,ctrl+u", "page(-1)", "page up", id="list.page_up", show=False),
        Binding("pagedown,ctrl+d", "page(1)", "page down", id="list.page_down", show=False),
        Binding("home,g", "home", "top", id="list.top", show=False),
        Binding("end,G", "end", "bottom", id="list.bottom", show=False),
    ]
    header_lines = 0

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.top = 0
        self._styles_by_name: dict[str, Style] = {}

    # --- for subclasses ---

    def line_count(self) -> int:
        raise NotImplementedError

    def draw_line(self, index: int, width: int) -> Strip:
        raise NotImplementedError

    def draw_header(self, width: int) -> Strip:
        return Strip.blank(width, self.rich_style)

    def named_style(self, name: str) -> Style:
        """The style of a component class, kept until the theme changes."""
        style = self._styles_by_name.get(name)
        if style is None:
            style = self._styles_by_name[name] = self.get_component_rich_style(name)
        return style

    def notify_style_update(self) -> None:
        self._styles_by_name.clear()
        super().notify_style_update()

    # --- drawing ---

    @property
    def page(self) -> int:
        """Lines that fit below the header."""
        return max(self.size.height - self.header_lines, 1)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < self.header_lines:
            return self.draw_header(width)
        index = self.top + y - self.header_lines
        if index >= self.line_count():
            return Strip.blank(width, self.rich_style)
        return self.draw_line(index, width)

    def text_strip(self, parts: list[tuple[str, Style]], width: int) -> Strip:
        """Parts side by side, cut or filled to `width`."""
        strip = Strip([Segment(text, style) for text, style in parts])
        return strip.adjust_cell_length(width, parts[-1][1] if parts else self.rich_style)

    def repaint_line(self, index: int) -> None:
        """Repaint one line, if it is on screen. Part of a line would cost more: Textual repaints from its start."""
        self.repaint_lines(index, index + 1)

    def repaint_lines(self, start: int, end: int) -> None:
        """Repaint the lines from `start` up to `end` that are on screen."""
        first = max(start - self.top, 0) + self.header_lines
        last = min(end - self.top + self.header_lines, self.size.height)
        if first < last:
            self.refresh(Region(0, first, self.size.width, last - first))

    # --- scrolling ---

    @property
    def last_top(self) -> int:
        """The top at which the last line is the lowest one on screen."""
        return max(self.line_count() - self.page, 0)

    def scroll_lines_to(self, top: int) -> bool:
        """Show `top` as the first line. Whether that changed anything."""
        top = max(0, min(top, self.last_top))
        if top == self.top:
            return False
        self.top = top
        self.refresh()
        return True

    def show_line(self, index: int) -> bool:
        """Scroll as little as needed to have a line on screen."""
        if index < self.top:
            return self.scroll_lines_to(index)
        if index >= self.top + self.page:
            return self.scroll_lines_to(index - self.page + 1)
        return False

    def action_move(self, steps: int) -> None:
        self.scroll_lines_to(self.top + steps)

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(self.page - 1, 1))

    def action_home(self) -> None:
        self.scroll_lines_to(0)

    def action_end(self) -> None:
        self.scroll_lines_to(self.last_top)

    def _on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(3)

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)

    def on_resize(self) -> None:
        self.top = max(0, min(self.top, self.last_top))
