"""What happened in a run, in order: who did what, and when."""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    at: float  # seconds since the start of the run
    who: str
    what: str

    def __str__(self) -> str:
        minutes, seconds = divmod(self.at, 60)
        return f"{int(minutes):4d}:{seconds:07.4f}  {self.who:<12} {self.what}"


class Broken(Exception):
    """A rule does not hold."""
