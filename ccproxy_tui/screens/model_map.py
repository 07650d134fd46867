"""What becomes of a model's name: the table, and who serves the name that is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ccproxy_tui.core.control.frames import ModelRoute
from ccproxy_tui.core.control.protocol import Control, ControlError
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line

HINT = "esc closes; rules are set in [[models.rules]] of the settings file"


class ModelMap(ModalScreen[None]):
    """Empty input shows the table; a name shows its way on the bare /v1 and on each provider's own path."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "close", id="models.close", show=False),
    ]

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog"):
            yield Static("Which provider and model serve a name?", markup=False, classes="dialog-text")
            yield Input(placeholder="o3-mini, claude-sonnet-4-5, ...", id="model-name", compact=True)
            yield DetailView(id="model-routes", empty="reading…")
            yield Static(HINT, markup=False, classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._ask("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._ask(event.value.strip())

    def _ask(self, name: str) -> None:
        self.run_worker(self._show(name), exclusive=True)

    async def _show(self, name: str) -> None:
        try:
            lines = route_lines(await self._control.model_routes(name))
        except ControlError as error:
            lines = [(str(error), "error")]
        self.query_one(DetailView).show_lines(lines)


def route_lines(routes: list[ModelRoute]) -> list[Line]:
    """One line a way, in columns."""
    if not routes:
        return [("no rules", "dim")]
    widths = [max(len(value) for value in column) for column in zip(*map(_cells, routes), strict=True)]
    return [
        (escape_line("  ".join(map(str.ljust, _cells(route), widths)).rstrip()), "" if route.certain else "dim")
        for route in routes
    ]


def _cells(route: ModelRoute) -> tuple[str, ...]:
    return (route.path, "->", route.provider, route.model, route.rule)
