"""A live list of keyed rows: columns by width, a cursor that stays with its row, repaints row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui.list_model import ListModel
from ccproxy_tui.screens.ui.words import fit
from ccproxy_tui.screens.widgets.line_view import LineView

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column: its heading, its width in cells (0 takes what is left), its text, and a style by row."""

    key: str
    title: str
    width: int
    text: Callable[[T], str]
    right: bool = False
    style: Callable[[T], str] | None = None
    sort: Callable[[T], Any] | None = None


class LiveList(LineView, Generic[T]):
    """Rows are given whole (`set_items`) or one by one (`update_items`); only rows whose text changed are painted."""

    DEFAULT_CSS = """
    LiveList { height: 1fr; }
    LiveList > .live-list--header { color: $text-muted; }
    LiveList > .live-list--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    LiveList > .live-list--cursor-blurred { background: $surface-lighten-1; }
    LiveList > .live-list--ok { color: $text-success; }
    LiveList > .live-list--live { color: $accent; text-style: bold; }
    LiveList > .live-list--warning { color: $text-warning; }
    LiveList > .live-list--error { color: $text-error; text-style: bold; }
    LiveList > .live-list--dim { color: $text-muted; }
    LiveList > .live-list--empty { color: $text-muted; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "live-list--header",
        "live-list--cursor",
        "live-list--cursor-blurred",
        "live-list--ok",
        "live-list--live",
        "live-list--warning",
        "live-list--error",
        "live-list--dim",
        "live-list--empty",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open", id="list.open"),
        Binding("space", "toggle_follow", "pause", id="list.follow"),
    ]
    header_lines = 1

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, live_list: LiveList[Any], key: str | None) -> None:
            super().__init__()
            self.live_list = live_list
            self.key = key

        @property
        def control(self) -> LiveList[Any]:
            return self.live_list

    class Opened(Moved):
        """Enter, or a click on the row under the cursor."""

    class FollowChanged(Moved):
        """Following was paused or resumed, or new rows came while it was."""

    def __init__(self, columns: Sequence[Column[T]], *, id: str | None = None, empty: Sequence[str] = ()) -> None:
        super().__init__(id=id)
        self.model = ListModel()
        self.columns = list(columns)
        self.items: Mapping[str, T] = {}
        self.sort_column = ""
        self.reverse = True
        self.empty = list(empty)
        self._sort_key: Callable[[T], Any] = lambda item: 0
        self._keep: Callable[[T], bool] = lambda item: True
        self._cells: dict[str, list[str]] = {}

    # --- contents ---

    def set_columns(self, columns: Sequence[Column[T]]) -> None:
        self.columns = list(columns)
        self._cells.clear()
        self.refresh()

    def drawn(self, key: str) -> Sequence[str] | None:
        """The cells of a row as they were last painted, padding included; None when it was not painted."""
        return self._cells.get(key)

    def set_order(self, sort_key: Callable[[T], Any], *, reverse: bool, keep: Callable[[T], bool]) -> None:
        """How rows are sorted and which are kept out."""
        self._sort_key, self.reverse, self._keep = sort_key, reverse, keep
        self.rebuild()

    def set_items(self, items: Mapping[str, T]) -> None:
        """Show `items`, which may go on changing; call `rebuild` or `update_items` when it does."""
        self.items = items
        self.rebuild()

    def rebuild(self) -> None:
        """Sort and filter anew, and repaint everything."""
        before = self.model.cursor_key
        offset = self.model.cursor - self.top
        keys = [key for key, item in self.items.items() if self._keep(item)]
        self.model.set_keys(
            keys, lambda key: self._sort_key(self.items[key]), reverse=self.reverse, everything=self.items
        )
        self._cells.clear()  # items may say something else now; only those on screen are put into words again
        # A row that is looked at keeps its place on the screen while others come above it.
        self.top = 0 if self.model.cursor == 0 else max(0, min(self.model.cursor - offset, self.last_top))
        self.show_line(self.model.cursor)
        self.refresh()
        if self.model.cursor_key != before:
            self.post_message(self.Moved(self, self.model.cursor_key))
        if self.model.unseen:
            self.post_message(self.FollowChanged(self, self.model.cursor_key))

    def update_items(self, keys: Iterable[str]) -> None:
        """Repaint the rows of these items whose text is not what is on screen."""
        for key in keys:
            place = self.model.place(key)
            item = self.items.get(key)
            if place is None or item is None:
                continue
            if self._cells.get(key) != self._texts(item):
                self._cells.pop(key, None)
                self.repaint_line(place)

    @property
    def selected(self) -> T | None:
        key = self.model.cursor_key
        return self.items.get(key) if key is not None else None

    # --- drawing ---

    def line_count(self) -> int:
        return len(self.model.order) or len(self.empty)

    def _widths(self) -> list[int]:
        """The columns' widths; the flexible ones share what is left."""
        space = self.size.width - 1 - sum(column.width + 1 for column in self.columns)
        flexible = [column for column in self.columns if column.width == 0]
        share = max(space // len(flexible), 1) if flexible else 0
        return [column.width or share for column in self.columns]

    def _texts(self, item: T) -> list[str]:
        return [
            fit(escape_line(column.text(item)), width, right=column.right)
            for column, width in zip(self.columns, self._widths(), strict=True)
        ]

    def draw_header(self, width: int) -> Strip:
        style = self.named_style("live-list--header")
        parts = []
        for column, cells in zip(self.columns, self._widths(), strict=True):
            mark = ("v" if self.reverse else "^") if column.key == self.sort_column else ""
            parts.append(fit(column.title + mark, cells, right=column.right))
        return self.text_strip([(" " + " ".join(parts), style)], width)

    def draw_line(self, index: int, width: int) -> Strip:
        if not self.model.order:
            return self.text_strip([(" " + self.empty[index], self.named_style("live-list--empty"))], width)
        key = self.model.order[index]
        item = self.items.get(key)
        if item is None:  # it left since the last `rebuild`: the list of a screen below another takes no changes
            return Strip.blank(width, self.rich_style)
        cells = self._cells.get(key)
        if cells is None or sum(map(len, cells)) == 0:
            cells = self._cells[key] = self._texts(item)
        base = self._row_style(key)
        mark = "*" if key in self.model.pinned else (">" if key == self.model.cursor_key else " ")
        segments = [Segment(mark, base)]
        on_cursor = key == self.model.cursor_key and self.has_focus
        for column, text in zip(self.columns, cells, strict=True):
            style = base
            if column.style is not None and not on_cursor and (name := column.style(item)):
                style = base + _ink(self.named_style(f"live-list--{name}"))
            segments += [Segment(text, style), Segment(" ", base)]
        # Fewer pieces, fewer escape sequences: a row costs a third of the bytes.
        return Strip(segments).adjust_cell_length(width, base).simplify()

    def _row_style(self, key: str) -> Style:
        if key != self.model.cursor_key:
            return self.rich_style
        return self.named_style("live-list--cursor" if self.has_focus else "live-list--cursor-blurred")

    def on_focus(self) -> None:
        self.repaint_line(self.model.cursor)

    def on_blur(self) -> None:
        self.repaint_line(self.model.cursor)

    def on_resize(self) -> None:
        self._cells.clear()
        self.top = max(0, min(self.top, self.last_top))
        self.show_line(self.model.cursor)

    # --- moving ---

    def select(self, key: str) -> None:
        place = self.model.place(key)
        if place is not None:
            self._move_to(place)

    def _move_to(self, place: int) -> None:
        before = self.model.cursor
        self.model.move_to(place)
        if not self.show_line(self.model.cursor):
            self.repaint_line(before)
            self.repaint_line(self.model.cursor)
        if self.model.cursor != before:
            self.post_message(self.Moved(self, self.model.cursor_key))

    def action_move(self, steps: int) -> None:
        self._move_to(self.model.cursor + steps)

    def action_home(self) -> None:
        self._move_to(0)

    def action_end(self) -> None:
        self._move_to(len(self.model.order) - 1)

    def action_open(self) -> None:
        if self.model.cursor_key is not None:
            self.post_message(self.Opened(self, self.model.cursor_key))

    def action_toggle_follow(self) -> None:
        self.model.follow = not self.model.following
        if self.model.follow:
            self._move_to(0)
        self.post_message(self.FollowChanged(self, self.model.cursor_key))

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y - self.header_lines
        if event.y < self.header_lines or index >= len(self.model.order):
            return
        if index == self.model.cursor and event.chain > 1:
            self.action_open()
        else:
            self._move_to(index)


def _ink(style: Style) -> Style:
    """Colour and weight of a style, without its background."""
    return Style(color=style.color, bold=style.bold, dim=style.dim)
