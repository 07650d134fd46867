"""The history of one proxy, and account of what became of each of its rows.

The product's `Audit` runs with the steps of its two threads as steps of the loop.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.storage.audit import Audit
from tests.simulation import database
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

_SLOWEST_THREAD = 0.02  # seconds
_AT_ONCE = 0.5  # seconds after which a row is on the disk, or counted
_PATIENCE = 12.0  # seconds that rows wait at most once there is room: they are tried every five
_FIGURES = re.compile(r"(\d+) rows (?:wait in memory|are lost)")


class _Rows:
    """A queue whose reader ends when it is empty: the next step goes on."""

    def __init__(self) -> None:
        self._rows: list[AuditRow] = []

    def put(self, row: AuditRow) -> None:
        self._rows.append(row)

    def get(self) -> AuditRow | None:
        return self._rows.pop(0) if self._rows else None


class _Work(asyncio.Queue[Any]):
    def put(self, item: Any) -> None:  # type: ignore[override]
        self.put_nowait(item)


class _Audit(Audit):
    def __init__(self, world: World, process: Process, path: Path) -> None:
        super().__init__(path, 90, world.clock.now())
        self._world, self._process = world, process
        self._rows_in: Any = _Rows()
        self._work: Any = _Work()
        self._keeper: asyncio.Task[Any] | None = None

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = self._process.start(self._keep())

    def note(self, row: AuditRow) -> None:
        super().note(row)
        self._process.start(self._write_soon())

    async def _write_soon(self) -> None:
        await asyncio.sleep(self._world.rng.random() * _SLOWEST_THREAD)
        self._write_rows()

    async def _keep(self) -> None:
        self._settle(None)
        due: float | None = None
        while True:
            try:
                async with asyncio.timeout(self._pause(due)):
                    item = await self._work.get()
            except TimeoutError:
                item = None
            due = self._turn(item, due)

    def close(self) -> None:
        self._closed = True
        self._write_rows()
        if self._keeper is not None:
            self._keeper.cancel()
        self._finish()


class History:
    def __init__(self, world: World, process: Process, path: Path) -> None:
        self._world, self._process, self._path = world, process, path
        self._audit = _Audit(world, process, path)
        self.noted: list[str] = []
        self._closed = False

    def note(self, row: AuditRow) -> None:
        if self._closed:  # the process ends
            return
        self.noted.append(row.id)
        self._audit.note(row)
        self._process.start(self._check_soon())

    async def _check_soon(self) -> None:
        began = self._world.stood_still(self._process)
        await asyncio.sleep(_AT_ONCE)
        if self._world.stood_still(self._process) == began:
            self.check()

    def check(self) -> None:
        """Break the run when a row is neither on the disk nor counted, or waits although there is room."""
        world = self._world
        if self._closed or self._process.dead or self._process.stopped or self._audit._rows_in._rows:
            return
        kept = world.rows_on_disk()
        missing = [one for one in self.noted if one not in kept]
        problem = self._audit.problem
        told = sum(map(int, _FIGURES.findall(problem)))
        if told != len(missing):
            world.breaks(f"{self._process.name} has lost {len(missing)} rows and speaks of {told}: {problem}")
        waits = "wait in memory" in problem
        if waits and not world.disk.is_full(self._path) and world.has_run(self._process) > _PATIENCE:
            world.breaks(f"rows of {self._process.name} wait although there is room: {problem}")
        if "lost" in problem and not world.has_lost_room:
            world.breaks(f"rows of {self._process.name} are lost although there was room: {problem}")

    async def judge(self, known: set[str]) -> None:
        """All is calm: every row is in the database, once. Those that living proxies know of may be on their way."""
        rows = [row.id for row in await self._audit.recent(100_000)]
        if len(rows) != len(set(rows)):
            self._world.breaks("a row is there twice")
        if left := self._world.seen_on_disk - set(rows) - (self._world.rows_on_disk() & known):
            self._world.breaks(f"{len(left)} rows were on the disk, and are not in the database")
        self.check()
        if "can't" in self._audit.problem or "wait" in self._audit.problem:
            self._world.breaks(f"{self._process.name} does not keep its history: {self._audit.problem}")

    async def look(self) -> None:
        """As a front end does."""
        rows = [row.id for row in await self._audit.recent(100_000)]
        if len(rows) != len(set(rows)):
            self._world.breaks("a row is shown twice")

    def close(self) -> None:
        self._closed = True
        self._audit.close()


def rows_on_disk(path: Path) -> set[str]:
    """The ids of all rows in the database and on their way into it."""
    lines = [
        line
        for file in path.with_name("history.waiting").glob("*.jsonl")
        for line in file.read_bytes().split(b"\n")
        if line.endswith(b"}")
    ]
    return set(database.rows_of(path)) | {re.search(rb'"id":"([^"]+)"', line)[1].decode() for line in lines}  # type: ignore[index]
