"""Logs: what the proxy says, followed live, filtered by level and words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from ccproxy_tui.core.control.frames import LogView, Watch
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text import filters
from ccproxy_tui.core.text.escape import cut, escape_line
from ccproxy_tui.screens.base import WIDE, BaseScreen
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.filter_bar import FilterBar
from ccproxy_tui.screens.widgets.live_list import Column, LiveList

LEVELS = ("debug", "info", "warning", "error")
WHOLE_LINES = 4  # of a message below the list
FIELDS = frozenset({"level", "logger", "message", "exchange"})
_STYLES = {"warning": "warning", "error": "error", "critical": "error", "debug": "dim"}


class LogsScreen(BaseScreen):
    """Newest first. Enter opens the exchange that a line belongs to."""

    TAB = "logs"
    HELP = "Log lines of the proxy, newest first. l changes the lowest level shown, enter opens the exchange of a line."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="logs.filter"),
        Binding("escape", "clear_filter", "clear filter", id="logs.clear_filter", show=False),
        Binding("l", "level", "level", id="logs.level"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._level = "info"
        self._filter = filters.Filter()
        self._filter_text = ""
        self._lines: dict[str, LogView] = {}

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="logs-box", classes="box"):
            yield FilterBar()
            yield LiveList[LogView]([], id="logs-list", empty=("", "No log lines at this level."))
            yield Static("", markup=False, id="logs-line")

    @property
    def list(self) -> LiveList[LogView]:
        return self.query_one("#logs-list", LiveList)

    def on_mount(self) -> None:
        super().on_mount()
        self._lay_out()
        self.list.set_items(self._lines)
        self._order()
        self.list.focus()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        level = Column[LogView](
            "level", "level", 7, lambda line: line.level, style=lambda line: _STYLES.get(line.level, "")
        )
        at = Column[LogView]("time", "time", 8, lambda line: words.clock_seconds(line.time))
        message = Column[LogView]("message", "message", 0, lambda line: line.message)
        logger = Column[LogView]("logger", "from", 18, _origin)
        exchange = Column[LogView]("exchange", "stream", 6, _stream)
        is_wide = self.size.width >= WIDE
        self.list.set_columns([level, at, message, logger, exchange] if is_wide else [level, at, message])
        self._show_whole()
        self._title()

    def on_live_list_moved(self) -> None:
        self._show_whole()

    def _show_whole(self) -> None:
        """Below the list, the line under the cursor as far as it fits there, and where it is from."""
        line = self.list.selected
        whole = self.query_one("#logs-line", Static)
        whole.display = line is not None
        if line is not None:
            origin = "  ".join(part for part in (_origin(line), _stream(line)) if part)
            room = WHOLE_LINES * max(self.size.width - 4, 1) - len(origin) - 2
            whole.update(f"{escape_line(origin)}\n{escape_line(cut(line.message, max(room, 1)))}")

    def watching(self) -> Watch:
        return Watch(logs=True)

    def take(self, changes: Changes) -> None:
        if not changes.logs and not changes.reset:
            return
        self._lines.clear()
        self._lines.update({f"{line.seq:012d}": line for line in self.mirror.logs})
        self.list.rebuild()
        self._show_whole()
        self._title()

    def _order(self) -> None:
        least = LEVELS.index(self._level)
        self.list.set_order(
            lambda line: line.seq,
            reverse=True,
            keep=lambda line: _rank(line.level) >= least and self._filter.matches(_fields(line)),
        )

    def _title(self) -> None:
        count = len(self.list.model.order)
        parts = [f"logs  {self._level} and above", f"{count} line{'s' * (count != 1)}"]
        if self._filter_text:
            parts.append(f"filter: {self._filter_text}")
        self.query_one("#logs-box").border_title = "  ".join(parts).replace("[", r"\[")

    def action_level(self) -> None:
        self._level = LEVELS[(LEVELS.index(self._level) + 1) % len(LEVELS)]
        self._order()
        self._title()

    def action_filter(self) -> None:
        self.query_one(FilterBar).open(self._filter_text, "level:error logger:serve text")

    def action_clear_filter(self) -> None:
        self._set_filter("")

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self._set_filter(event.text)

    def on_filter_bar_closed(self) -> None:
        self.list.focus()

    def _set_filter(self, text: str) -> None:
        bar = self.query_one(FilterBar)
        try:
            self._filter = filters.parse(text, FIELDS)
        except filters.FilterError as error:
            bar.fail(str(error))
            return
        bar.fail("")
        self._filter_text = text
        self._order()
        self._title()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        line = self._lines.get(event.key or "")
        if line is not None and line.exchange in self.mirror.rows:
            self.proxy_app.inspect(line.exchange)
        elif line is not None:
            self.proxy_app.say(line.message)

    def keys(self) -> Sequence[tuple[str, str]]:
        return (
            ("?", "help"),
            ("l", "level"),
            ("/", "filter"),
            ("enter", "open stream"),
            ("space", "pause"),
            ("q", "quit"),
        )


def _origin(line: LogView) -> str:
    return line.logger.removeprefix("ccproxy_tui.")


def _stream(line: LogView) -> str:
    return short_id(line.exchange) if line.exchange else ""


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def _fields(line: LogView) -> dict[str, filters.Value]:
    return {"level": line.level, "logger": line.logger, "message": line.message, "exchange": line.exchange}
