"""Keeps keys that were not meant for a card from answering it. Pure: time comes in.

A card is armed a while after it was painted or got the focus, once no key has come for a moment. A held key therefore
answers at most one card; keys that were typed before a card appeared answer none.
"""

from __future__ import annotations

from typing import Literal

ARM_SECONDS = 0.6  # after the card was painted
QUIET_SECONDS = 0.25  # without any key
AGAIN_SECONDS = 3.0  # within which a grave yes must be repeated

Verdict = Literal["early", "again", "go"]


class CardGuard:
    def __init__(self) -> None:
        self._card = ""
        self._painted = 0.0
        self._last_key = 0.0
        self._first_yes: float | None = None

    @property
    def shows(self) -> str:
        return self._card

    def show(self, card: str, now: float) -> None:
        """The card on screen; another one must arm anew."""
        if card != self._card:
            self._card, self._painted, self._first_yes = card, now, None

    def note_key(self, now: float) -> None:
        """Any key that was pressed, whatever it does."""
        self._last_key = now

    def rearm(self, now: float) -> None:
        """The card, or the whole terminal, has just got the focus: who typed for another place has not read it."""
        self._painted, self._first_yes = now, None

    def press(self, now: float, *, grave: bool = False) -> Verdict:
        """What an answering key means. `grave` answers need the key twice."""
        quiet = now - self._last_key
        self._last_key = now
        if now - self._painted < ARM_SECONDS or quiet < QUIET_SECONDS:
            return "early"
        if not grave:
            return "go"
        first, self._first_yes = self._first_yes, now
        return "go" if first is not None and now - first <= AGAIN_SECONDS else "again"
