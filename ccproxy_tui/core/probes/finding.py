"""One result of a probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "open", "not tried"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found and, where something can be closed, how.

    `ok`: refused or in order. `note`: wider than the default, by your own settings. `open`: close it.
    `not tried`: the probe could not run here; `fix` says what it needs.
    """

    level: Level
    text: str
    fix: str = ""
