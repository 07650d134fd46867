"""What was asked, and what became of it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.control.protocol import Control, ControlError
from ccproxy_tui.core.text.escape import escape_line, spell
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.card_view import headline_of
from ccproxy_tui.screens.widgets.live_list import Column, LiveList


class HistoryDialog(ModalScreen[None]):
    """Who asked for what, and what became of it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", show=False, id="history.close")]

    def __init__(self, control: Control, problem: str = "") -> None:
        """`problem` is why rows are not kept, if they are not."""
        super().__init__()
        self._problem = f"History: {escape_line(problem)}" if problem else ""
        self._history_control = control
        self._rows: dict[str, AuditRow] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog rules-dialog"):
            yield LiveList[AuditRow]([], id="history-list", empty=("", "No permission requests yet"))
            if self._problem:
                yield Static(self._problem, markup=False, id="history-problem")
            yield Static("", markup=False, id="history-told")

    @property
    def list(self) -> LiveList[AuditRow]:
        return self.query_one(LiveList)

    def on_mount(self) -> None:
        when = Column[AuditRow]("when", "when", 13, lambda one: words.moment(one.asked))
        status = Column[AuditRow]("status", "", 9, lambda one: escape_line(one.status), style=_status_style)
        tool = Column[AuditRow]("tool", "tool", 12, lambda one: escape_line(one.tool))
        what = Column[AuditRow]("what", "what", 0, lambda one: headline_of(one.input))
        took = Column[AuditRow]("took", "took", 6, lambda one: words.duration(one.seconds), right=True)
        narrow = self.app.size.width < 72
        self.list.set_columns([status, tool, what] if narrow else [when, status, tool, what, took])
        self.list.set_items(self._rows)
        self.list.set_order(lambda one: one.asked, reverse=True, keep=lambda _: True)
        self.list.focus()
        self.run_worker(self._load())

    async def _load(self) -> None:
        try:
            found = await self._history_control.permission_history(1000)
        except ControlError as error:
            self.query_one("#history-told", Static).update(escape_line(str(error)))
            return
        self._rows.update({one.id: one for one in found})
        self.list.rebuild()
        self._tell()

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._tell()

    def _tell(self) -> None:
        """The whole of the row under the cursor."""
        row = self.list.selected
        if row is None:
            return
        who = f"{row.client or row.source} in {row.cwd}" if row.cwd else row.client or row.source
        said = f": {row.message}" if row.message else ""
        facts = f" ({row.decider})" if row.decider else ""
        edited = f"; edited by you, the original was {row.original}" if row.original else ""
        told = f"{row.status} by {row.by}{facts}{said}, requested by {who}{edited}"
        self.query_one("#history-told", Static).update(spell(told, inline=True))


def _status_style(row: AuditRow) -> str:
    return {"allowed": "ok", "denied": "error"}.get(row.status, "warning")
