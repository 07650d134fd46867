"""Streams: the live list of exchanges, with the selected one's timeline and text below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget

from ccproxy_tui.core.control.frames import Row, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text import filters
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import NARROW, TALL, WIDE, BaseScreen
from ccproxy_tui.screens.confirm import Confirm
from ccproxy_tui.screens.copy_menu import CopyMenu
from ccproxy_tui.screens.ui import row_view, words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.detail_view import DetailView
from ccproxy_tui.screens.widgets.filter_bar import FilterBar
from ccproxy_tui.screens.widgets.live_list import LiveList
from ccproxy_tui.screens.widgets.stream_text import StreamText

# (live rows at most, seconds between repaints of their figures)
_PACE = ((4, 0.25), (10, 0.5), (16, 1.0))
_SLOWEST = 1.5

EMPTY = (
    "",
    "No requests yet.",
    "",
    "Point a tool at this proxy: press w for the lines to paste.",
    "Or try the demo: `ccproxy-tui demo`.",
)


class StreamsScreen(BaseScreen):
    """Home. The mirror's rows in a live list; figures are repainted at a pace that the number of live rows sets."""

    TAB = "streams"
    HELP = (
        "Every request through the proxy, newest first. While the cursor is on the top row, it follows new requests. "
        "States: wait, live, tool (waiting for your decision), stall (no data for a while), a status number, 499 (the "
        "client disconnected), STOP (you stopped it), ERR."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="streams.filter"),
        Binding("escape", "clear_filter", "clear filter", id="streams.clear_filter", show=False),
        Binding("s", "sort", "sort", id="streams.sort"),
        Binding("p", "pin", "pin", id="streams.pin"),
        Binding("x", "stop", "stop", id="streams.stop"),
        Binding("y", "copy", "copy", id="streams.copy"),
        Binding("v", "split", "split view", id="streams.split"),
        Binding("z", "zoom", "zoom", id="streams.zoom"),
        Binding("tab", "app.focus_next", "next panel", id="streams.next", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._filter_text = ""
        self._filter = filters.Filter()
        self._sort = "new"
        self._dirty: set[str] = set()
        self._flush: Timer | None = None
        self._ticker: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield StreamsBody(id="streams-body")

    @property
    def list(self) -> LiveList[Row]:
        return self.query_one("#streams-list", LiveList)

    @property
    def text(self) -> StreamText:
        return self.query_one("#dock-text", StreamText)

    # --- life ---

    def on_mount(self) -> None:
        super().on_mount()
        self._restore()
        self._lay_out()
        self.list.set_items(self.mirror.rows)
        self._order()
        self.list.focus()

    def _restore(self) -> None:
        """Sort and filter as they were left. What no longer fits is forgotten."""
        remembered = self.proxy_app.remembered
        if self.proxy_app.is_demo:
            return
        if remembered.sort in row_view.SORTS:
            self._sort = remembered.sort
        try:
            self._filter = filters.parse(remembered.filter, row_view.FILTER_FIELDS)
        except filters.FilterError:
            return
        self._filter_text = remembered.filter

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        """Columns by width, docks by height."""
        width, height = self.size.width, self.size.height
        self.list.sort_column = "" if self._sort == "new" else self._sort
        self.list.set_columns(row_view.columns(width, self._age))
        docked = height >= TALL and width >= NARROW
        self.query_one("#docks").display = docked
        self.query_one("#dock-detail").display = docked and width >= WIDE
        self._title()
        self.watch_anew()

    def _age(self, row: Row) -> str:
        return words.duration(self.mirror.age(row))

    def watching(self) -> Watch:
        key = self.list.model.cursor_key if self.is_mounted else None
        if key is None or not self.query_one("#docks").display:
            return Watch()
        detail = key if self.query_one("#dock-detail").display else ""
        return Watch(texts=[key], detail=detail)

    # --- changes ---

    def take(self, changes: Changes) -> None:
        if changes.reset or changes.added or changes.gone:
            self.list.rebuild()
            self._dirty.clear()
        else:
            self._repaint(changes.rows)
        if changes.texts or changes.reset:
            self._show_text()
        if changes.detail or changes.reset:
            self._show_detail()
        if changes.rows or changes.status or changes.reset:
            self._title()
            self._tick_while_live()

    def _repaint(self, rows: set[str]) -> None:
        """New states at once; mere figures at the pace of `_interval`."""
        urgent = {key for key in rows if self._state_changed(key)}
        self.list.update_items(urgent)
        self._dirty |= rows - urgent
        if self._dirty and self._flush is None:
            self._flush = self.set_timer(self._interval(), self._flush_figures)

    def _state_changed(self, key: str) -> bool:
        cells = self.list.drawn(key)
        row = self.mirror.rows.get(key)
        return cells is None or row is None or cells[0].strip() != row.state

    def _interval(self) -> float:
        """Seconds between repaints of figures: many live rows change slowly, so that a slow line stays quiet."""
        live = self.mirror.status.live
        return next((seconds for most, seconds in _PACE if live <= most), _SLOWEST)

    def _flush_figures(self) -> None:
        self._flush = None
        dirty, self._dirty = self._dirty, set()
        if self._sort in ("out", "rate", "ttft"):
            self.list.rebuild()
        else:
            self.list.update_items(dirty)

    def _tick_while_live(self) -> None:
        """Ages of live rows go on; without live rows nothing does."""
        live = any(row.live for row in self.mirror.rows.values())
        if live and self._ticker is None:
            self._ticker = self.set_interval(1.0, self._tick)
        elif not live and self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def _tick(self) -> None:
        """Rows that get frames are repainted with them; the silent ones only grow older."""
        silent = {row.id for row in self.mirror.rows.values() if row.live} - self._dirty
        if self._interval() <= 1.0:
            self.list.update_items(silent)
        else:
            self._dirty |= silent
        self._tick_while_live()

    def _show_text(self) -> None:
        key = self.list.model.cursor_key
        self.text.follow(self.mirror.texts.get(key) if key else None)

    def _show_detail(self) -> None:
        key = self.list.model.cursor_key
        detail = self.mirror.detail
        self.query_one("#dock-detail", DetailView).show(detail if detail is not None and detail.row.id == key else None)

    def _title(self) -> None:
        status, model = self.mirror.status, self.list.model
        parts = [f"streams  {status.live} live, {status.total} in all"]
        if status.total > len(self.mirror.rows):
            parts[0] += f", {len(self.mirror.rows)} kept"
        if status.errors:
            parts.append(f"{status.errors} failed")
        if model.following or not model.follow:
            parts.append("following" if model.follow else "paused")
        if model.unseen:
            parts.append(f"{model.unseen} new above")
        if self._filter_text:
            parts.append(f"filter: {self._filter_text} ({len(model.order)} shown)")
        if self._sort != "new":
            parts.append(f"by {self._sort}")
        if status.refused:
            parts.append(f"{status.refused} refused, last: {escape_line(status.refusal)}")
        title = words.crop("  ".join(parts), max(self.size.width - 6, 10))
        box = self.query_one("#list-box")
        if str(box.border_title) != title.replace("[", r"\["):
            box.border_title = title.replace("[", r"\[")

    # --- moving ---

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._title()
        self.refresh_keys()
        self.watch_anew()
        self._show_text()
        self._show_detail()

    def on_live_list_follow_changed(self, event: LiveList.FollowChanged) -> None:
        self._title()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        if event.key is not None:
            self.proxy_app.inspect(event.key)

    def keys(self) -> Sequence[tuple[str, str]]:
        if isinstance(self.focused, StreamText):
            return (("f", "freeze"), ("j/k", "scroll"), ("z", "zoom"), ("tab", "list"), ("?", "help"), ("q", "quit"))
        row = self.list.selected if self.is_mounted else None
        stop = (("x", "stop"),) if row is not None and row.live else ()
        return (
            ("?", "help"),
            ("enter", "open"),
            ("/", "filter"),
            *stop,
            ("y", "copy"),
            ("v", "split"),
            ("space", "pause"),
            ("s", "sort"),
            ("p", "pin"),
            ("w", "connect a tool"),
            ("q", "quit"),
        )

    # --- verbs ---

    def action_filter(self) -> None:
        self.query_one(FilterBar).open(self._filter_text, "model:opus status:>=400 client:aider !demo text")

    def action_clear_filter(self) -> None:
        if self._filter_text:
            self._set_filter("")
        elif self.query_one("#streams-body").has_class("-zoomed"):
            self.action_zoom()

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self._set_filter(event.text)

    def on_filter_bar_closed(self) -> None:
        self.list.focus()

    def _set_filter(self, text: str) -> None:
        bar = self.query_one(FilterBar)
        try:
            self._filter = filters.parse(text, row_view.FILTER_FIELDS)
        except filters.FilterError as error:
            bar.fail(str(error))
            return
        bar.fail("")
        self._filter_text = self.proxy_app.remembered.filter = text
        self._order()
        self._title()

    def action_sort(self) -> None:
        self._sort = row_view.SORTS[(row_view.SORTS.index(self._sort) + 1) % len(row_view.SORTS)]
        self.proxy_app.remembered.sort = self._sort
        self.list.sort_column = "" if self._sort == "new" else self._sort
        self._order()
        self._title()

    def _order(self) -> None:
        reverse = self._sort not in ("model", "client")
        self.list.empty = (
            list(EMPTY) if not self._filter else ["", "No stream matches the filter. Press esc to clear it."]
        )
        self.list.set_order(
            lambda row: row_view.sort_key(self._sort, row),
            reverse=reverse,
            keep=lambda row: self._filter.matches(row_view.fields(row)),
        )

    def action_pin(self) -> None:
        key = self.list.model.cursor_key
        if key is not None:
            pinned = self.list.model.toggle_pin(key)
            self.list.rebuild()
            self.proxy_app.say(f"{'pinned' if pinned else 'unpinned'} {short_id(key)}")

    def action_stop(self) -> None:
        row = self.list.selected
        if row is None or not row.live:
            self.proxy_app.say("Nothing to stop: this request has ended", "warning")
            return
        self.background(partial(self._stop, row))

    async def _stop(self, row: Row) -> None:
        question = f"Stop {short_id(row.id)} ({row.client}, {row_view.model(row)})? The client gets an error."
        if not await self.app.push_screen_wait(Confirm(question, "Stop it")):
            return
        try:
            await self.control.stop_exchange(row.id)
            self.proxy_app.say(f"stopped {short_id(row.id)}")
        except ControlError as error:
            self.proxy_app.say(str(error), "error")

    def action_copy(self) -> None:
        row = self.list.selected
        if row is not None:
            self.app.push_screen(CopyMenu(row.id))

    def action_split(self) -> None:
        pinned = [key for key in self.list.model.order if key in self.list.model.pinned]
        self.proxy_app.open_split(pinned)

    def action_zoom(self) -> None:
        """The focused panel alone, or all of them again."""
        body = self.query_one("#streams-body")
        on_text = isinstance(self.focused, StreamText)
        zoomed = not body.has_class("-zoomed")
        body.set_class(zoomed, "-zoomed")
        self.query_one("#list-box").display = not (zoomed and on_text)
        self.query_one("#docks").display = on_text if zoomed else self.size.height >= TALL and self.size.width >= NARROW


class StreamsBody(Vertical):
    """The list with its docks."""

    def compose(self) -> ComposeResult:
        with Vertical(id="list-box", classes="box"):
            yield FilterBar(id="streams-filter")
            yield LiveList[Row]([], id="streams-list", empty=EMPTY)
        with Horizontal(id="docks"):
            with Vertical(id="detail-box", classes="box"):
                yield DetailView(id="dock-detail")
            with Vertical(id="text-box", classes="box"):
                yield StreamText(id="dock-text", empty="select a stream to see its text")
