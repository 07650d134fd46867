"""The card of one permission request, and the keys that answer it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Literal

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from ccproxy_tui.screens.ui.card_guard import CardGuard
from ccproxy_tui.screens.widgets.piece_view import PieceView

Verb = Literal["allow", "deny", "message", "interrupt", "edit", "extend", "rule", "reveal"]


class PermissionCard(PieceView):
    """One question, whole. It says which keys were pressed; what they mean is the screen's to decide."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "answer('allow')", "allow", id="approvals.allow", show=False),
        Binding("d", "answer('deny')", "deny", id="approvals.deny", show=False),
        Binding("D", "answer('message')", "deny with a message", id="approvals.message", show=False),
        Binding("i", "answer('interrupt')", "deny and interrupt", id="approvals.interrupt", show=False),
        Binding("e", "answer('edit')", "edit", id="approvals.edit", show=False),
        Binding("A", "answer('rule')", "always", id="approvals.rule", show=False),
        Binding("x", "answer('extend')", "more time", id="approvals.extend", show=False),
        Binding("v", "answer('reveal')", "show a masked credential", id="approvals.reveal", show=False),
    ]

    class Moved(Message):
        """Other lines of it are on screen than before."""

    def __init__(self, guard: CardGuard, now: Callable[[], float], answer: Callable[[Verb, float], None]) -> None:
        super().__init__(id="card", empty="No pending approvals")
        self._guard = guard
        self._now = now
        self._answer = answer
        self._pressed = 0.0  # when the last key came, which may be a while ago when the screen was busy

    def on_key(self, event: events.Key) -> None:
        self._pressed = self._now() - max(time.monotonic() - event.time, 0.0)
        if event.key not in ("a", "A", "d", "D", "i", "e", "x", "v"):
            self._guard.note_key(self._pressed)

    def on_paste(self, event: events.Paste) -> None:
        """A paste is no answer, whatever is in it."""
        self._guard.note_key(self._now())
        event.stop()

    def on_focus(self) -> None:
        """By a key or by a click: whatever brought the focus here is no answer."""
        self._guard.rearm(self._now())

    def action_answer(self, verb: Verb) -> None:
        self._answer(verb, self._pressed)

    def scroll_lines_to(self, top: int) -> bool:
        moved = super().scroll_lines_to(top)
        if moved:
            self.post_message(self.Moved())
        return moved

    def on_resize(self) -> None:
        self.post_message(self.Moved())

    @property
    def unseen(self) -> int:
        """Lines below the screen."""
        return max(self.last_top - self.top, 0)

    @property
    def is_seen(self) -> bool:
        """Whether its end has been on screen."""
        return self.top >= self.last_top
