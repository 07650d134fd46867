"""The conversion report: every way in which a converted request or answer differs from what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ccproxy_tui.core.limits import clip

Action = Literal["dropped", "renamed", "changed", "emulated", "defaulted", "injected", "carried"]


_MOST = 200
_LONGEST = 300  # characters


class Note(msgspec.Struct):
    """One kind of difference. `field` is written in the client's dialect for what it sent, in the upstream's for
    what was added; `[]` stands for any place in a list; `count` says how often it happened."""

    action: Action
    field: str
    reason: str
    count: int = 1
    example: str = ""


class Report:
    """Collects notes in the order of their first appearance. Equal ones are counted, not repeated."""

    def __init__(self) -> None:
        self._notes: dict[tuple[Action, str, str], Note] = {}

    def add(self, action: Action, field: str, reason: str, example: str = "") -> None:
        field = clip(field, _LONGEST)  # a part of it may be the client's own word
        note = self._notes.get((action, field, reason))
        if note is None and len(self._notes) >= _MOST:
            field, reason = "(more)", "there are more differences than are listed"
            note = self._notes.get((action, field, reason))
        if note is None:
            self._notes[action, field, reason] = Note(action, field, clip(reason, _LONGEST), 1, clip(example, _LONGEST))
        else:
            note.count += 1

    def dropped(self, field: str, reason: str, example: str = "") -> None:
        self.add("dropped", field, reason, example)

    def renamed(self, field: str, reason: str, example: str = "") -> None:
        self.add("renamed", field, reason, example)

    def changed(self, field: str, reason: str, example: str = "") -> None:
        self.add("changed", field, reason, example)

    def emulated(self, field: str, reason: str, example: str = "") -> None:
        self.add("emulated", field, reason, example)

    def defaulted(self, field: str, reason: str, example: str = "") -> None:
        self.add("defaulted", field, reason, example)

    def injected(self, field: str, reason: str, example: str = "") -> None:
        self.add("injected", field, reason, example)

    def carried(self, field: str, reason: str, example: str = "") -> None:
        self.add("carried", field, reason, example)

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def __len__(self) -> int:
        return len(self._notes)
