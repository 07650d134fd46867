"""Who asked for what, and who said what to it: a row for each permission request that has ended.

One thread owns the database and imports it when the first row comes. Rows wait for it in a queue; what can't be written
is said once, and lost from the disk alone.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccproxy_tui.core.frames import AuditRow
from ccproxy_tui.core.paths import private_dir
from ccproxy_tui.core.permissions.rule_book import Hits

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

_COLUMNS = AuditRow.__struct_fields__
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_SCHEMA = """CREATE TABLE IF NOT EXISTS permissions (
    id VARCHAR PRIMARY KEY, asked DOUBLE, seconds DOUBLE, source VARCHAR, client VARCHAR, session VARCHAR,
    exchange VARCHAR, cwd VARCHAR, model VARCHAR, tool VARCHAR, input VARCHAR, status VARCHAR, "by" VARCHAR,
    message VARCHAR)"""
# Columns that came later: a file of an earlier version gets them when it is opened.
_LATER = tuple(
    f"ALTER TABLE permissions ADD COLUMN IF NOT EXISTS {name} VARCHAR DEFAULT ''"
    for name in ("decider", "original", "digest")
)
_INSERT = f"INSERT OR REPLACE INTO permissions ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our names
_SELECT = f"SELECT {_NAMES} FROM permissions ORDER BY asked DESC LIMIT ?"  # noqa: S608 - our names
_HITS = """SELECT substr("by", 6), count(*), max(asked + seconds) FROM permissions
    WHERE "by" LIKE 'rule %' GROUP BY 1"""
_FORGET = "DELETE FROM permissions WHERE asked < ?"
_LAST_SECONDS = 2.0

Work = Callable[["duckdb.DuckDBPyConnection"], object]


class Audit:
    """`days` is how long rows are kept, by `now` (seconds since the epoch) when the database is opened."""

    def __init__(self, path: Path, days: float, now: float) -> None:
        self._path = path
        self._oldest = now - days * 86_400
        self._queue: queue.SimpleQueue[AuditRow | tuple[Work, Future[object]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.problem = ""

    def note(self, row: AuditRow) -> None:
        """Never blocks."""
        self._start()
        self._queue.put(row)

    async def recent(self, count: int) -> list[AuditRow]:
        """The latest first. Empty when the database can't be used, or is closed."""
        return [AuditRow(*row) for row in await self._rows(_SELECT, [count])]

    async def hits(self) -> dict[str, Hits]:
        """How often each rule has answered, and when last (seconds since the epoch)."""
        return {text: Hits(count, last) for text, count, last in await self._rows(_HITS, [])}

    async def _rows(self, query: str, values: list[object]) -> list[tuple[Any, ...]]:
        if self._closed:
            return []
        self._start()
        done: Future[object] = Future()
        self._queue.put((lambda database: database.execute(query, values).fetchall(), done))
        rows = await asyncio.wrap_future(done)
        return rows if isinstance(rows, list) else []

    def close(self) -> None:
        """Write what waits. Bounded in time."""
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_LAST_SECONDS)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="history", daemon=True)
            self._thread.start()

    # --- the thread ---

    def _run(self) -> None:
        database = self._open()
        while (item := self._queue.get()) is not None:
            if isinstance(item, AuditRow):
                self._write(database, item)
            else:
                self._answer(database, *item)
        if database is not None:
            database.close()

    def _open(self) -> duckdb.DuckDBPyConnection | None:
        import duckdb

        try:
            private_dir(self._path.parent)  # its log beside it is made with the rights that others may read
            database = duckdb.connect(str(self._path), config={"threads": 1, "memory_limit": "64MB"})
            self._path.chmod(0o600)
            for change in (_SCHEMA, *_LATER):
                database.execute(change)
            database.execute(_FORGET, [self._oldest])
        except (OSError, duckdb.Error) as error:
            self._fail(str(error))
            return None
        return database

    def _write(self, database: duckdb.DuckDBPyConnection | None, row: AuditRow) -> None:
        import duckdb

        if database is None:
            return
        try:
            database.execute(_INSERT, [getattr(row, name) for name in _COLUMNS])
        except (duckdb.Error, UnicodeError) as error:
            self._fail(str(error))

    def _answer(self, database: duckdb.DuckDBPyConnection | None, work: Work, done: Future[object]) -> None:
        import duckdb

        try:
            done.set_result(work(database) if database is not None else None)
        except duckdb.Error as error:
            self._fail(str(error))
            done.set_result(None)

    def _fail(self, reason: str) -> None:
        if not self.problem:
            log.warning("answers to permission requests are not kept in %s: %s", self._path, reason.split("\n")[0])
        self.problem = reason.split("\n")[0]
