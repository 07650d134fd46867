"""Every task has an owner: it is kept, named, its failure is reported, and it ends when its owner does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

BACKOFF_FIRST = 0.5
BACKOFF_LAST = 30.0


class Tasks:
    """A set of background tasks with one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run `work` until it ends or `close` is called. Failures are logged, never silent."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[Any]:
        """Run `work` again with growing pauses whenever it fails; a clean return ends it."""
        return self.start(_again(work, name), name=name)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s failed: %s", task.get_name(), error, exc_info=error)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)


async def _again(work: Callable[[], Awaitable[None]], name: str) -> None:
    pause = BACKOFF_FIRST
    while True:
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - it runs any work: each failure is reported, and the work retried
            log.warning("%s failed (%s), again in %.1f s", name, error, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, BACKOFF_LAST)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even if the caller is cancelled: its thread would go on, without what follows it."""
    return await asyncio.shield(asyncio.ensure_future(work))
