"""The line of a dialog about a permission request: how much time is left, or how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.widgets import Static

from ccproxy_tui.core.control.frames import AskView
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.mirror import Mirror

_SECOND = 1.0
_SHORT = 30.0  # seconds, from which on it is a warning


@dataclass(frozen=True)
class Waiting:
    """A permission request that a dialog is about. `extend` gives it more time; `copy` takes a text and its name."""

    mirror: Mirror
    ask: AskView
    extend: Callable[[], None]
    copy: Callable[[str, str], None]

    @property
    def ended(self) -> str:
        """How it ended, in words; empty while it waits for a decision."""
        now = next((one for one in self.mirror.asks if one.id == self.ask.id), None)
        if now is None:
            return "no longer exists"
        if now.status == "pending":
            return ""
        if now.status == "expired":
            return "has expired"
        return f"was {now.status} by {now.by}" if now.by else f"was {now.status}"

    @property
    def left(self) -> float:
        return self.mirror.left(self.ask)


class TimeLeft(Static):
    """Counts down. What is written in the dialog stays when the request has ended, until it is left."""

    DEFAULT_CSS = """
    TimeLeft { height: auto; color: $text-muted; }
    TimeLeft.-short { color: $text-warning; }
    TimeLeft.-ended { color: $text-error; text-style: bold; }
    """

    def __init__(self, waiting: Waiting) -> None:
        super().__init__("", markup=False)
        self._waiting = waiting

    def on_mount(self) -> None:
        self.count()
        self.set_interval(_SECOND, self.count)

    def count(self) -> None:
        ended, left = self._waiting.ended, self._waiting.left
        self.set_class(bool(ended), "-ended")
        self.set_class(not ended and left < _SHORT, "-short")
        if ended:
            self.update(escape_line(f"The request {ended}, so nothing is sent. Your text is still here; f9 copies it."))
        else:
            self.update(f"{words.duration(left)} left; f8 more time, f9 copy the text")
