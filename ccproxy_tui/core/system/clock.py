"""Time as an argument: the one place that reads the machine's clocks. Which of them is for what:

- `monotonic`: durations, speeds, and how long others wait for us (deadlines of permission requests, stalls, time-outs).
  It stands still while the machine is suspended: nothing expires in that time, and a decision has all of its time left.
- `since_boot`: what passes in a suspend too (cooldowns, pauses after a failure, temporary rules, the age of caches).
  A cooldown of an hour ends after an hour, and a rule for 8 hours does not hold for a weekend.
- `now`: the end of tokens, times of files, and all that is shown or written as a date: others name them by their wall
  clocks.

The wall clock jumps: set by hand, by NTP, after a suspend. Nothing may end earlier or later for that, so nothing
subtracts two readings of `now`, and what crosses the wire to a front end is the time that is left. asyncio's own timers
run by `monotonic`. Kept on disk are dates alone (`now`); no cooldown or deadline outlives its process.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Three readings of time; tests pass a fake."""

    def now(self) -> float:
        """Seconds since the epoch (wall clock: may jump)."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, and stands still while the machine is suspended."""
        ...

    def since_boot(self) -> float:
        """Seconds on a clock that never goes back, and goes on while the machine is suspended."""
        ...


# Linux's CLOCK_MONOTONIC stands still in a suspend, the one of macOS goes on.
_SINCE_BOOT: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def since_boot(self) -> float:
        return time.clock_gettime(_SINCE_BOOT)
