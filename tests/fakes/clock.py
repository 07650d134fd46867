"""Time that moves when a test says so."""

from __future__ import annotations


class FakeClock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.wall = now
        self.steady = 1000.0
        self.suspended = 0.0  # seconds so far

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def since_boot(self) -> float:
        return self.steady + self.suspended

    def suspend(self, seconds: float) -> None:
        self.wall += seconds
        self.suspended += seconds

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds
