"""The card of one permission request, and the keys that answer it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from ccproxy_tui.screens.ui.card_guard import CardGuard
from ccproxy_tui.screens.ui.pieces import PieceLine
from ccproxy_tui.screens.widgets.detail_view import KeptLines

Verb = Literal["allow", "deny", "message", "interrupt", "edit", "extend", "rule"]


class PermissionCard(KeptLines[PieceLine]):
    """One question, whole. It says which keys were pressed; what they mean is the screen's to decide."""

    DEFAULT_CSS = """
    PermissionCard > .card--strong { text-style: bold; }
    PermissionCard > .card--dim, PermissionCard > .card--comment { color: $text-muted; }
    PermissionCard > .card--error { color: $text-error; }
    PermissionCard > .card--added { color: $text-success; }
    PermissionCard > .card--removed { color: $text-warning; }
    PermissionCard > .card--added-ground { background: $added-ground; }
    PermissionCard > .card--removed-ground { background: $removed-ground; }
    PermissionCard > .card--program { text-style: bold; }
    PermissionCard > .card--operator { color: $text-accent; text-style: bold; }
    PermissionCard > .card--string, PermissionCard > .card--number { color: $text-success; }
    PermissionCard > .card--variable { color: $text-warning; }
    PermissionCard > .card--keyword { color: $text-primary; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("card--strong", "card--dim", "card--error"),
        *("card--added", "card--removed", "card--added-ground", "card--removed-ground"),
        *("card--program", "card--operator", "card--string", "card--variable", "card--comment"),
        *("card--number", "card--keyword"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "answer('allow')", "allow", id="approvals.allow", show=False),
        Binding("d", "answer('deny')", "deny", id="approvals.deny", show=False),
        Binding("D", "answer('message')", "deny with a message", id="approvals.message", show=False),
        Binding("i", "answer('interrupt')", "deny and interrupt", id="approvals.interrupt", show=False),
        Binding("e", "answer('edit')", "edit", id="approvals.edit", show=False),
        Binding("A", "answer('rule')", "always", id="approvals.rule", show=False),
        Binding("x", "answer('extend')", "more time", id="approvals.extend", show=False),
    ]

    def __init__(self, guard: CardGuard, now: Callable[[], float], answer: Callable[[Verb], None]) -> None:
        super().__init__(id="card")
        self._guard = guard
        self._now = now
        self._answer = answer

    def on_key(self, event: events.Key) -> None:
        if event.key not in ("a", "A", "d", "D", "i", "e", "x"):
            self._guard.note_key(self._now())

    def on_paste(self, event: events.Paste) -> None:
        """A paste is no answer, whatever is in it."""
        self._guard.note_key(self._now())
        event.stop()

    def on_focus(self) -> None:
        """By a key or by a click: whatever brought the focus here is no answer."""
        self._guard.rearm(self._now())

    def action_answer(self, verb: Verb) -> None:
        self._answer(verb)

    @property
    def is_seen(self) -> bool:
        """Whether its end has been on screen."""
        return self.top >= self.last_top

    def draw_line(self, index: int, width: int) -> Strip:
        if not self._lines:
            return self.text_strip([("Nothing waits for an answer.", self.named_style("card--dim"))], width)
        line = self._lines[index]
        behind = Style(bgcolor=self.rich_style.bgcolor)
        if line.ground:
            behind = Style(bgcolor=self.named_style(f"card--{line.ground}-ground").bgcolor)
        parts = [(text, self._style_of(name) + behind) for text, name in line.pieces]
        return self.text_strip([*parts, ("", self.rich_style + behind)], width)

    def _style_of(self, name: str) -> Style:
        return self.named_style(f"card--{name}") if name else self.rich_style
