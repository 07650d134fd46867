"""The dialog at start: what the files of this folder would set, and whether you trust them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ccproxy_tui.core.settings.offer import Offer
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui.card_guard import CardGuard

Answer = Literal["trust", "without", ""]
_ANSWERS = frozenset({"T", "escape", "enter", "n", "q"})
HINT = "T trust and use   enter, esc continue without   up/down scroll"


def offer_text(offers: Sequence[Offer]) -> str:
    """Return every change of every file, one a line, whole and safe for the terminal."""
    lines: list[str] = []
    for offer in offers:
        lines.append(escape_line(f"{offer.path}{'  (trusted before with another content)' if offer.known else ''}"))
        lines += [f"  {escape_line(str(change))}" for change in offer.changes]
    return "\n".join(lines)


class TrustDialog(ModalScreen[Answer]):
    """ "trust" or "without"; "" when it was closed by a key that came before it could be read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("T", "trust", "trust", id="trust.yes", show=False),
        Binding("escape,enter,n,q", "without", "without", id="trust.no", show=False),
    ]

    def __init__(self, offers: Sequence[Offer], now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._offers = offers
        self._guard = CardGuard()
        self._pressed = 0.0

    def compose(self) -> ComposeResult:
        files = "a file" if len(self._offers) == 1 else f"{len(self._offers)} files"
        with Vertical(classes="dialog wide-dialog"):
            yield Static(
                f"This folder has {files} with settings that have no effect until you trust them:",
                markup=False,
                classes="dialog-text",
            )
            with VerticalScroll(id="trust-changes"):
                yield Static(offer_text(self._offers), markup=False)
            yield Static(HINT, markup=False, id="trust-hint", classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one("#trust-changes").focus()
        self.call_after_refresh(self._arm)

    def _arm(self) -> None:
        self._guard.show("trust", self._now())

    def on_key(self, event: events.Key) -> None:
        self._pressed = self._now() - max(time.monotonic() - event.time, 0.0)
        if event.key not in _ANSWERS:
            self._guard.note_key(self._pressed)

    def on_paste(self, event: events.Paste) -> None:
        self._guard.note_key(self._now())
        event.stop()

    def on_app_focus(self) -> None:
        self._guard.rearm(self._now())

    @property
    def is_painted(self) -> bool:
        return self._guard.shows == "trust"

    def _is_meant(self) -> bool:
        """Whether the key came when the dialog could be read."""
        return self.is_painted and self._guard.press(self._pressed) == "go"

    def action_trust(self) -> None:
        changes = self.query_one("#trust-changes", VerticalScroll)
        if not self._is_meant():
            self._hint("Ignored: this had only just appeared")
        elif changes.scroll_target_y < changes.max_scroll_y:
            changes.scroll_page_down(animate=False)
            self._hint("Scroll to the end first (T scrolls)")
        else:
            self.dismiss("trust")

    def action_without(self) -> None:
        self.dismiss("without" if self._is_meant() else "")

    def _hint(self, text: str) -> None:
        self.query_one("#trust-hint", Static).update(text)
