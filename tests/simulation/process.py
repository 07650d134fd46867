"""A simulated process: what runs in its context can be stopped, let go on, and killed at any await or system call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class Killed(BaseException):
    """Raised by a system call in which the process is killed, and by all that it still tries afterwards."""


class Process:
    """`on_kill` is called once, for what the kernel does: free locks, close connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.name = name
        self.dead = False
        self.stopped = False
        self.runs_since = loop.time()  # when it began, or was last let go on
        self.stopped_at = 0.0
        self.lost = 0.0  # seconds that it was stopped for
        self.killed_at = 0.0
        self.wrote = -1.0  # when it last wrote over space that it held: what was written is not lost with it
        self.on_kill: list[Callable[[], None]] = []
        self.waiting: list[asyncio.Handle] = []  # what it would have run while it was stopped
        self._loop = loop
        self._context = copy_context()
        self._context.run(CURRENT.set, self)
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._loop.create_task(work, context=self._context.copy())

    def run(self, work: Callable[[], Any]) -> Any:
        """Call something in the process's name, at once."""
        return self._context.copy().run(work)

    def note_write(self) -> None:
        self.wrote = self._loop.time()

    def kill(self) -> None:
        """As kill -9: nothing of it runs any more, not even a `finally`."""
        if self.dead:
            return
        self.dead = True
        self.killed_at = self._loop.time()
        for call in self.on_kill:
            call()

    def bury(self, task: asyncio.Task[Any]) -> None:
        """Close a task that will never run again. Its `finally` blocks run, and can't touch the disk."""
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        with contextlib.suppress(Killed, RuntimeError):
            self._context.copy().run(task.get_coro().close)  # type: ignore[union-attr]
