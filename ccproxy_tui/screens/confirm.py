"""A question with the safe answer under the cursor."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static


class Confirm(ModalScreen[bool]):
    """True only when the person moved to the other button and pressed it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n,q", "dismiss(False)", "no", id="confirm.no", show=False),
        Binding("left,h", "app.focus_previous", show=False, id="confirm.left"),
        Binding("right,l", "app.focus_next", show=False, id="confirm.right"),
    ]

    def __init__(self, question: str, verb: str) -> None:
        super().__init__()
        self._question = question
        self._verb = verb

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False, classes="dialog-text")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self._verb, id="go", compact=True)

    def on_mount(self) -> None:
        self.query_one("#cancel", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "go")


class QuitDialog(ModalScreen[str]):
    """What becomes of the proxy: "stop", "leave" or "" (stay here)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss('')", "stay", id="quit.stay", show=False),
        Binding("left,up,h,k", "app.focus_previous", show=False, id="quit.left"),
        Binding("right,down,l,j", "app.focus_next", show=False, id="quit.right"),
    ]

    def __init__(self, live: int, *, owned: bool, waiting: int = 0, may_leave: bool = True) -> None:
        super().__init__()
        self._live = live
        self._waiting = waiting
        self._owned = owned
        self._may_leave = may_leave  # an owned proxy may go on without its screens

    def compose(self) -> ComposeResult:
        streams = f"{self._live} live stream{'s' * (self._live != 1)}" if self._live else "no live stream"
        text = f"Quit? There {'are' if self._live > 1 else 'is'} {streams}."
        if self._waiting:
            text += f" {self._waiting} permission request{'s' * (self._waiting != 1)} will be denied if it stops."
        if self._owned and self._may_leave:
            text += " You can stop the proxy, or leave it running and come back with `ccproxy-tui attach`."
        with Vertical(classes="dialog"):
            yield Static(text, markup=False, classes="dialog-text")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                if self._owned:
                    yield Button("Stop the proxy", id="stop", compact=True)
                    if self._may_leave:
                        yield Button("Leave it running", id="leave", compact=True)
                else:
                    yield Button("Quit", id="leave", compact=True)

    def on_mount(self) -> None:
        self.query_one("#cancel", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss("" if event.button.id == "cancel" else event.button.id)
