"""The `/` line: a filter that works while it is typed; its error stands beside it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static
from textual.widgets.input import Selection


class FilterBar(Horizontal):
    """Hidden until `open`. Enter keeps the filter, escape gives it up."""

    DEFAULT_CSS = """
    FilterBar { height: 1; display: none; }
    FilterBar.-open { display: block; }
    FilterBar > Static { width: auto; height: 1; }
    FilterBar > Input { width: 1fr; min-width: 20; background: $surface; }
    FilterBar > #filter-error { color: $text-error; max-width: 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "clear", id="filter.clear", priority=True),
        Binding("enter,down", "keep", "keep", id="filter.keep", priority=True),
    ]

    class Changed(Message):
        """The text is another one now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Closed(Message):
        """The person is done with the line."""

    def compose(self) -> ComposeResult:
        yield Static(" / ", markup=False)
        field = Input(id="filter-input", select_on_focus=False, compact=True)
        field.can_focus = False  # while it is hidden: else the focus of a panel that goes away may land here, unseen
        yield field
        yield Static("", id="filter-error", markup=False)

    @property
    def input(self) -> Input:
        return self.query_one("#filter-input", Input)

    def open(self, text: str, hint: str = "", *, selected: bool = False) -> None:
        """Show the line with what it holds; `selected` text is replaced by what is typed."""
        self.add_class("-open")
        self.input.can_focus = True
        self.input.value = text
        self.input.placeholder = hint
        self.input.selection = Selection(0 if selected else len(text), len(text))
        self.input.focus()

    def fail(self, text: str) -> None:
        """Say what is wrong with the filter; nothing for a good one."""
        self.query_one("#filter-error", Static).update(f" {text} " if text else "")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    def action_keep(self) -> None:
        self.remove_class("-open")
        self.input.can_focus = False
        self.post_message(self.Closed())

    def action_give_up(self) -> None:
        self.input.value = ""
        self.action_keep()
