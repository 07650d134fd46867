"""Time-outs that look at the sockets before they judge.

After a stop of the process (SIGSTOP, a paused container, a debugger) an event loop calls every timer that is due before
it reads one byte of what came in that time: what was sent in time would be refused as late. So a timer that fires late
gives the loop a moment to read, and is judged after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LATE = 0.5  # seconds: a busy loop is late by less
_FOR_EVER = 1e9
SECOND_LOOK = 1.0  # seconds: to read, to accept connections, and to run what they bring


class Timer:
    """Call `callback` once, after `seconds`; later by SECOND_LOOK when the process was stopped in that time."""

    __slots__ = ("_callback", "_due", "_handle", "_loop")

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self.reschedule(self._loop.time() + seconds)

    def reschedule(self, when: float) -> None:
        """Move the end to `when`, by the loop's clock. Only before the callback was called."""
        self._due = when
        self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        if self._loop.time() - self._due > LATE:
            self._handle = self._loop.call_later(SECOND_LOOK, self._callback)
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()


class Patience:
    """The end of a `patience` block, which can be moved."""

    def __init__(self, limit: asyncio.Timeout, seconds: float) -> None:
        self._limit = limit
        self._timer = Timer(seconds, self._end)

    def reschedule(self, when: float | None) -> None:
        """Move the end to `when`, by the loop's clock; None for no end."""
        self._timer.cancel()
        if when is not None:
            self._timer.reschedule(when)

    def _end(self) -> None:
        self._limit.reschedule(0.0)

    def cancel(self) -> None:
        self._timer.cancel()


@asynccontextmanager
async def patience(seconds: float | None) -> AsyncIterator[Patience]:
    """Like `asyncio.timeout`, by a Timer; None for no end. Raises TimeoutError."""
    async with asyncio.timeout(None) as limit:
        end = Patience(limit, _FOR_EVER if seconds is None else seconds)
        try:
            yield end
        finally:
            end.cancel()
