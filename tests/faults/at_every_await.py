"""An operation whose n-th await fails or is cancelled, for n = 1, 2, 3 until it is clean: once, or from then on.

Awaits that really wait are counted in every task. What is cancelled is the task that waits there, as asyncio does it:
the work of a thread goes on. An await fails with an OSError, and where it is for a thread, the thread's work does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

_shield = asyncio.shield
WAYS = ("fails", "is cancelled")
_MOST = 2000  # awaits of one run: more is a loop that does not end
_SETTLES = 10.0  # seconds in which tasks that are left end


@dataclass
class Outcome:
    """What became of a run. `hit` is whether there was an n-th await; `error` is what the operation ended with."""

    way: str
    lasting: bool
    n: int
    hit: bool = False
    said: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"await {self.n} {self.way}{' and all after it' * self.lasting}: {self.error!r}, {self.said!r}"


class _Loop(asyncio.SelectorEventLoop):
    """Threads are steps of the loop: their work is done, or fails, when nothing else is."""

    def __init__(self, outcome: Outcome, *, ends: bool) -> None:
        super().__init__()
        self.outcome = outcome
        self._ends = ends
        self._uncancelled: set[Any] = set()  # tasks that only the end of the loop cancels
        self.on = False
        self._count = 0
        self._works: set[asyncio.Future[Any]] = set()
        self.set_task_factory(self._counted)  # type: ignore[arg-type]

    def _counted(self, loop: Any, work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        if not self.on:
            return asyncio.Task(work, loop=loop, **more)
        task = asyncio.Task(self._run(work), loop=loop, **more)
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began
        return task

    async def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        go_on: Callable[[Any], Any] = work.send
        given: Any = None
        while True:
            try:
                waits = go_on(given)
            except StopIteration as end:
                return end.value
            try:
                if self.is_hit(waits):
                    waits = self._strike(waits)
                given = yield waits
                go_on = work.send
                if isinstance(waits, _Failing):
                    go_on, given = work.throw, waits.error
            except BaseException as error:
                go_on, given = work.throw, error

    def is_hit(self, waits: Any) -> bool:
        """Count an await, and return whether it is to go wrong."""
        exempt = self._is_of_work(waits) if self.outcome.way == "fails" else asyncio.current_task() in self._uncancelled
        if not self.on or exempt:
            return False
        self._count += 1
        assert self._count < _MOST, f"{self.outcome}: it goes on and on"
        lasting = self.outcome.lasting and self._count > self.outcome.n
        hit = self._count == self.outcome.n or lasting
        self.outcome.hit |= hit
        return hit

    def _is_of_work(self, waits: Any) -> bool:
        """Whether it is for a task, or a thread: it fails when that does."""
        return waits in self._works or isinstance(waits, asyncio.Task | asyncio.tasks._GatheringFuture)

    def shield(self, work: Any) -> asyncio.Future[Any]:
        """In the place of `asyncio.shield`."""
        if not self._ends:
            self._uncancelled.add(work)
        shielded = _shield(work)
        self._works.add(shielded)
        return shielded

    def _strike(self, waits: Any) -> Any:
        if self.outcome.way == "is cancelled":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return waits
        if waits is not None:
            waits._asyncio_future_blocking = False  # who waited does so no longer
        failing = _Failing(loop=self)
        failing._asyncio_future_blocking = True
        self.call_soon(failing.set_result, None)
        return failing

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        done = self.create_future()
        self._works.add(done)

        async def work() -> None:
            try:
                await asyncio.sleep(0)
                result = func(*args)
            except Exception as error:
                if not done.done():
                    done.set_exception(error)
                return
            if not done.done():
                done.set_result(result)

        task = self.create_task(work())
        self._uncancelled.add(task)
        task.add_done_callback(lambda ended: done.cancel() if ended.cancelled() else None)
        return done


class _Failing(asyncio.Future[None]):
    @property
    def error(self) -> OSError:
        return OSError(errno.EIO, os.strerror(errno.EIO))


async def _drive(loop: _Loop, operation: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    loop.on = True
    work = loop.create_task(operation())
    await asyncio.wait({work})
    left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
    if left:
        await asyncio.wait(left, timeout=_SETTLES)
    loop.on = False
    if work.cancelled():
        loop.outcome.error = asyncio.CancelledError()
    elif (error := work.exception()) is not None:
        loop.outcome.error = error
    else:
        loop.outcome.said = work.result()


def runs(
    prepare: Callable[[], object],
    operation: Callable[[], Coroutine[Any, Any, Any]],
    *expects: type[Exception],
    most: int = 100,
    ends: bool = False,
) -> Iterator[Outcome]:
    """Yield the outcome of each run, after `prepare`, in each way, until a run has no await left to go wrong.

    `ends` is whether shielded tasks are cancelled as well, as at the end of the loop.
    """
    for way in WAYS:
        for lasting in (False, True):
            for n in range(1, most):
                prepare()
                outcome = Outcome(way, lasting, n)
                loop = _Loop(outcome, ends=ends)
                mocked = mock.patch("asyncio.shield", loop.shield)
                with mocked, asyncio.Runner(loop_factory=lambda loop=loop: loop) as runner:  # type: ignore[misc]
                    runner.run(_drive(loop, operation))
                assert outcome.error is None or isinstance(
                    outcome.error, (OSError, asyncio.CancelledError, *expects)
                ), f"{outcome}"
                yield outcome
                if not outcome.hit:
                    assert outcome.error is None, f"{outcome}"
                    break
            else:
                raise AssertionError(f"not clean after {most} awaits")
