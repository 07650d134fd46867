"""A keyed list without its drawing: order, filter, pins, a cursor that follows its row and not its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class ListModel:
    """Keys in display order. The cursor sticks to a key; at the top it follows the newest row while `follow` is on."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.cursor_key: str | None = None
        self.follow = True
        self.pinned: set[str] = set()
        self._places: dict[str, int] = {}
        self._known: set[str] = set()  # all keys of the last time, also those that the filter kept out
        self._new: set[str] = set()  # came while the cursor was not at the top

    @property
    def cursor(self) -> int:
        """The cursor's place, 0 when the list is empty."""
        return self._places.get(self.cursor_key, 0) if self.cursor_key is not None else 0

    @property
    def following(self) -> bool:
        """Whether the next new row takes the cursor."""
        return self.follow and self.cursor == 0

    @property
    def unseen(self) -> int:
        """New rows above the cursor."""
        return sum(self._places.get(key, self.cursor) < self.cursor for key in self._new)

    def place(self, key: str) -> int | None:
        return self._places.get(key)

    def set_keys(
        self,
        keys: Iterable[str],
        sort_key: Callable[[str], Any],
        *,
        reverse: bool,
        everything: Iterable[str] | None = None,
    ) -> None:
        """Take the keys that pass the filter, in their order; pinned ones first.

        `everything` is all keys, with those that the filter keeps out: they are nothing new when it is taken away.
        """
        keys = list(keys)
        before = self.order
        at_top = self.cursor == 0
        ordered = sorted(keys, key=sort_key, reverse=reverse)
        pinned = [key for key in ordered if key in self.pinned]
        self.order = pinned + [key for key in ordered if key not in self.pinned] if pinned else ordered
        self._places = {key: place for place, key in enumerate(self.order)}
        self._settle(before, at_top=at_top)
        present = set(keys if everything is None else everything)
        if self._known and not (at_top and self.follow):
            self._new |= present - self._known
        self._known = present
        self._new = set() if self.cursor == 0 else self._new & present

    def _settle(self, before: list[str], *, at_top: bool) -> None:
        if not self.order:
            self.cursor_key = None
            return
        if self.cursor_key is None or (at_top and self.follow):
            self.cursor_key = self.order[0]
        elif self.cursor_key not in self._places:
            self.cursor_key = self._neighbour(before)

    def _neighbour(self, before: list[str]) -> str:
        """The nearest row that is still there when the cursor's own is gone."""
        if self.cursor_key in before:
            place = before.index(self.cursor_key)
            for key in [*before[place:], *reversed(before[:place])]:
                if key in self._places:
                    return key
        return self.order[0]

    def move_to(self, place: int) -> None:
        if not self.order:
            return
        place = max(0, min(place, len(self.order) - 1))
        self.cursor_key = self.order[place]
        self._new = {key for key in self._new if self._places.get(key, -1) < place}

    def move_by(self, steps: int) -> None:
        self.move_to(self.cursor + steps)

    def toggle_pin(self, key: str) -> bool:
        """Pin or unpin; whether it is pinned now. The caller sets the keys anew."""
        if key in self.pinned:
            self.pinned.discard(key)
            return False
        self.pinned.add(key)
        return True
