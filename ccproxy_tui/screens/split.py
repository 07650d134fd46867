"""The split view: two to six live streams side by side, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.widget import Widget

from ccproxy_tui.core.control.frames import Row, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import BaseScreen
from ccproxy_tui.screens.confirm import Confirm
from ccproxy_tui.screens.ui import row_view, words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.bars import Bar
from ccproxy_tui.screens.widgets.stream_text import StreamText

MOST = 6


def columns_for(count: int, width: int, height: int) -> int:
    """How many panes stand beside each other: as many as keep about 36 cells, without leaving panes flat."""
    rows = -(-count // max(width // 36, 1))
    while rows > 1 and height // rows < 5:  # better narrow than flat
        rows -= 1
    return -(-count // rows)


class Pane(Vertical):
    """One stream: a head line and its text."""

    def __init__(self, number: int) -> None:
        super().__init__(classes="pane")
        self.number = number
        self.key: str | None = None

    def compose(self) -> ComposeResult:
        yield Bar()
        yield StreamText(empty="waiting for a stream")

    @property
    def text(self) -> StreamText:
        return self.query_one(StreamText)

    def assign(self, key: str | None) -> None:
        if key != self.key:
            self.key = key
            self.text.follow(None)

    def head(self, row: Row | None) -> None:
        bar = self.query_one(Bar)
        if row is None:
            bar.say([(f" {self.number}  free", "dim")])
            return
        frozen = "  FROZEN" if not self.text.following else ""
        right = f"{words.tokens(row.tokens_out)} out{frozen} "
        if self.size.width >= 44:
            right = f"{words.rate(row.rate)} tok/s  {right}"
        bar.say(
            [
                (f" {self.number} ", "key"),
                (f"{row.state} ", _style(row)),
                (escape_line(f"{row.client} {row_view.model(row)}"), "strong"),
            ],
            [(right, "dim")],
        )


def _style(row: Row) -> str:
    return {"live": "ok", "ok": "ok", "error": "error", "warning": "warning"}.get(row_view.state_style(row), "dim")


class SplitScreen(BaseScreen):
    """Pinned streams keep their pane; the other panes take the newest live ones, and keep them until they end."""

    TAB = "streams"
    HELP = (
        "Several live streams at once. Panes show the newest live streams; a stream that you pin in "
        "the list keeps its pane. f freezes a pane, x stops its stream, enter opens the inspector, + and - change the "
        "number of panes."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,v", "app.pop_screen", "back", id="split.back"),
        Binding("plus,equals_sign", "panes(1)", "more panes", id="split.more"),
        Binding("minus", "panes(-1)", "fewer panes", id="split.fewer"),
        Binding("l,tab", "app.focus_next", "next pane", id="split.next", show=False),
        Binding("h,shift+tab", "app.focus_previous", "previous pane", id="split.previous", show=False),
        Binding("enter", "inspect", "open", id="split.open"),
        Binding("x", "stop", "stop", id="split.stop"),
        Binding("z", "zoom", "zoom", id="split.zoom"),
    ]

    def __init__(self, pinned: Sequence[str]) -> None:
        super().__init__()
        self._pinned = list(pinned)[:MOST]
        self._count = max(2, min(len(self._pinned) or 4, MOST))
        self._zoomed = False

    def fresh(self) -> SplitScreen:
        return SplitScreen(self._pinned)

    def compose_body(self) -> Iterable[Widget]:
        yield Grid(*(Pane(number) for number in range(1, self._count + 1)), id="panes")

    @property
    def panes(self) -> list[Pane]:
        return list(self.query(Pane))

    def on_mount(self) -> None:
        super().on_mount()
        self._assign()
        self._lay_out()
        self.panes[0].text.focus()

    def on_resize(self) -> None:
        super().on_resize()
        self._lay_out()

    def _lay_out(self) -> None:
        grid = self.query_one("#panes", Grid)
        shown = [pane for pane in self.panes if pane.display]
        columns = columns_for(max(len(shown), 1), self.size.width, self.size.height - 3)
        grid.styles.grid_size_columns = columns
        grid.styles.grid_size_rows = -(-max(len(shown), 1) // columns)

    def watching(self) -> Watch:
        return Watch(texts=[pane.key for pane in self.panes if pane.key is not None])

    def take(self, changes: Changes) -> None:
        if changes.added or changes.gone or changes.reset or any(self._over(key) for key in changes.rows):
            self._assign()
        for pane in self.panes:
            row = self.mirror.rows.get(pane.key) if pane.key else None
            pane.head(row)
            if pane.key in changes.texts or changes.reset:
                pane.text.follow(self.mirror.texts.get(pane.key) if pane.key else None)
        self.refresh_keys()

    def _over(self, key: str) -> bool:
        row = self.mirror.rows.get(key)
        return row is not None and not row.live

    def _assign(self) -> None:
        """Give free panes to live streams that have none. A pane whose stream ended is free when another waits."""
        rows = self.mirror.rows
        held = {pane.key for pane in self.panes if pane.key is not None and pane.key in rows}
        waiting = [key for key in self._pinned if key in rows and key not in held]
        waiting += [
            row.id for row in reversed(rows.values()) if row.live and row.id not in held and row.id not in waiting
        ]
        for pane in self.panes:
            row = rows.get(pane.key) if pane.key else None
            kept = row is not None and (row.live or row.id in self._pinned)
            if not kept and waiting:
                pane.assign(waiting.pop(0))
        self.watch_anew()

    async def action_panes(self, step: int) -> None:
        count = max(2, min(self._count + step, MOST))
        if count == self._count:
            return
        grid = self.query_one("#panes", Grid)
        if step > 0:
            await grid.mount(Pane(count))
        else:
            await self.panes[-1].remove()
        self._count = count
        self._assign()
        self._lay_out()
        self.take(Changes(reset=True))

    def _focused_pane(self) -> Pane | None:
        return next((pane for pane in self.panes if pane.text.has_focus), None)

    def _focused_row(self) -> Row | None:
        pane = self._focused_pane()
        return self.mirror.rows.get(pane.key) if pane is not None and pane.key else None

    def action_zoom(self) -> None:
        focused = self._focused_pane()
        self._zoomed = not self._zoomed and focused is not None
        for pane in self.panes:
            pane.display = not self._zoomed or pane is focused
        self._lay_out()

    def action_inspect(self) -> None:
        pane = self._focused_pane()
        if pane is not None and pane.key is not None:
            self.proxy_app.inspect(pane.key)

    def action_stop(self) -> None:
        row = self._focused_row()
        if row is not None and row.live:
            self.background(partial(self._stop, row))

    async def _stop(self, row: Row) -> None:
        question = f"Stop the stream of {row.client} ({row_view.model(row)})? The client gets an error."
        if await self.app.push_screen_wait(Confirm(question, "Stop it")):
            try:
                await self.control.stop_exchange(row.id)
            except ControlError as error:
                self.proxy_app.say(str(error), "error")

    def keys(self) -> Sequence[tuple[str, str]]:
        row = self._focused_row()
        stop = (("x", "stop"),) if row is not None and row.live else ()
        return (
            ("esc", "back"),
            ("tab", "next pane"),
            ("f", "freeze"),
            ("enter", "open"),
            *stop,
            ("z", "zoom"),
            ("+ -", "panes"),
            ("?", "help"),
        )
