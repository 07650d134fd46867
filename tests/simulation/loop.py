"""An event loop without sockets: time jumps to the next timer, and the seed picks which callback runs next."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.process import CURRENT, Process

_SLOWEST_THREAD = 0.02  # seconds of a step in a thread


class Stuck(Exception):
    """Nothing can ever happen again, and the run has not come to its end."""


class SimulationLoop(asyncio.BaseEventLoop):
    """asyncio promises an order of callbacks within one process and none among several; here there is none at all."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._random = rng.random
        self._now = 0.0
        self._timers: list[tuple[float, float, asyncio.TimerHandle]] = []
        self.steps = 0
        self.skipped = 0.0  # seconds in which nothing ran
        self.awake_since = 0.0  # the end of the last of them

    def time(self) -> float:
        return self._now

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as when the machine is paused."""
        self._now += seconds
        self.skipped += seconds
        self.awake_since = self._now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._random(), timer))
        return timer

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """A thread's work is one step of the loop, a little later."""
        done = self.create_future()

        def step() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(func(*args))
            except Exception as error:
                done.set_exception(error)

        self.call_later(self._random() * _SLOWEST_THREAD, step)
        return done

    def stop_process(self, process: Process) -> None:
        """As SIGSTOP."""
        if not process.stopped:
            process.stopped, process.stopped_at = True, self._now

    def let_go_on(self, process: Process) -> None:
        """End the stop of a process: what came for it in the time runs now."""
        if process.stopped:
            process.runs_since = self._now
            process.stopped, process.lost = False, process.lost + self._now - process.stopped_at
        self._ready.extend(process.waiting)  # type: ignore[attr-defined]
        process.waiting.clear()

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        while timers and (timers[0][0] <= self._now or not ready):
            when, _, timer = heapq.heappop(timers)
            if not timer._cancelled:
                self._now = max(self._now, when)
                ready.append(timer)
        if not ready:
            raise Stuck
        index = int(self._random() * len(ready))
        ready[0], ready[index] = ready[index], ready[0]
        handle = ready.popleft()
        if handle._cancelled:
            return
        process = handle._context.get(CURRENT)
        if process is not None and (process.dead or process.stopped):
            process.waiting.append(handle)
            return
        self.steps += 1
        handle._run()

    def _process_events(self, event_list: Any) -> None:
        """There are no events of sockets."""

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""
