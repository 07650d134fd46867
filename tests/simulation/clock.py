"""The clocks of the simulated machine: one that counts, one on the wall that may be wrong, and the true time."""

from __future__ import annotations

from tests.simulation.loop import SimulationLoop

_EPOCH = 1_800_000_000.0


class WorldClock:
    def __init__(self, loop: SimulationLoop) -> None:
        self._loop = loop
        self._asleep = 0.0  # seconds that the machine slept in all: the counting clock does not have them
        self.wrong = 0.0  # seconds by which the wall clock is ahead

    def now(self) -> float:
        return _EPOCH + self.true() + self.wrong

    def monotonic(self) -> float:
        return self._loop.time()

    def since_boot(self) -> float:
        return self.true()

    def true(self) -> float:
        """Seconds since the start for those whose clock is right, and who never sleep: vendors."""
        return self._loop.time() + self._asleep

    def sleep(self, seconds: float, *, counted: bool) -> None:
        """Suspend the machine. Linux does not count the time in its monotonic clock; a paused container does."""
        if counted:
            self._loop.skip(seconds)
        else:
            self._asleep += seconds
