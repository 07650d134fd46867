"""Who asked for what, and who said what to it: a row for each permission request that has ended.

A row goes into a file of this proxy first (`waiting`) and from there into the database, which is open for moments:
every proxy of the user writes and reads it, one after the other. What can't be written is tried again; what no file
takes is kept in memory as far as `_MOST_IN_MEMORY`, and counted beyond that. A thread each sees to file and database.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.permissions.rule_book import Hits
from ccproxy_tui.core.storage.waiting import RowFile, WaitingRows
from ccproxy_tui.core.system.paths import private_dir, readable

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
_INSERT = f"INSERT OR REPLACE INTO permissions ({_NAMES}) VALUES "  # noqa: S608 - our names
_VALUES = f"({', '.join('?' * len(_COLUMNS))})"
_SELECT = f"SELECT {_NAMES} FROM permissions ORDER BY asked DESC LIMIT ?"  # noqa: S608 - our names
_HITS = """SELECT substr("by", 6), count(*), max(asked + seconds) FROM permissions
    WHERE "by" LIKE 'rule %' GROUP BY 1"""
_FORGET = "DELETE FROM permissions WHERE asked < ?"
_LAST_SECONDS = 2.0
_MOST_IN_MEMORY = 1000  # rows; each has some KB
_RETRY_SECONDS = 5.0
_GATHER_SECONDS = 1.0  # to open the database takes longer than to write a row
_AT_ONCE = 100  # rows of one statement: one after the other takes ten times as long
_LOCK_TRIES = 20
_LOCK_PAUSE = 0.05
_SETTLE, _END = "settle", "end"
# How DuckDB words that a file is no database, or a broken one. Seen with 1.4.
_DAMAGED = ("not a valid DuckDB database file", "replaying WAL", "Corrupt", "checksum", "Checksum", "deserializ")

Query = tuple[str, list[object], "Future[list[tuple[Any, ...]] | None]"]


class Audit:
    """`days` is how long rows are kept, by `now` (seconds since the epoch) when the database is first opened."""

    def __init__(self, path: Path, days: float, now: float) -> None:
        self._path = path
        self._oldest = now - days * 86_400
        self._rows_in: queue.SimpleQueue[AuditRow | None] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[Query | str] = queue.SimpleQueue()  # a query, _SETTLE or _END
        self._lock = threading.Lock()  # of the rows below
        self._waiting = WaitingRows(path.with_name("history.waiting"))
        self._unwritten: deque[AuditRow] = deque()  # what no file takes
        self._taken: list[RowFile] = []  # on their way into the database
        self._lost = 0
        self._swept = False
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._reporting = threading.Lock()
        self._reasons = {"file": "", "database": ""}
        self.changed: Callable[[], None] = lambda: None  # called in a thread when `problem` may have changed

    @property
    def problem(self) -> str:
        """What is wrong with the history, in words; empty while all is kept."""
        reason = "; ".join(filter(None, self._reasons.values()))
        waiting = f"{len(self._unwritten)} rows wait in memory" if self._unwritten else ""
        lost = f"{self._lost} rows are lost" if self._lost else ""
        return "; ".join(filter(None, [reason, waiting, lost]))

    def start(self) -> None:
        """Open the database ahead of the first row, and take over what an earlier proxy has left."""
        if not self._threads:
            for work, name in ((self._write_rows, "history rows"), (self._keep_database, "history")):
                self._threads.append(threading.Thread(target=work, name=name, daemon=True))
                self._threads[-1].start()

    def note(self, row: AuditRow) -> None:
        """Never blocks."""
        self.start()
        self._rows_in.put(row)

    async def recent(self, count: int) -> list[AuditRow]:
        """Return the latest first; of this proxy alone while the database can't be used. Empty once it is closed."""
        rows = await self._rows(_SELECT, [count])
        if rows is not None:
            return [AuditRow(*row) for row in rows]
        with self._lock, contextlib.suppress(OSError):
            own = [*(row for one in self._taken for row in one.rows()), *self._waiting.rows(), *self._unwritten]
            return sorted(own, key=lambda row: row.asked, reverse=True)[:count]
        return []

    async def hits(self) -> dict[str, Hits]:
        """Return how often each rule has answered, and when last (seconds since the epoch)."""
        return {text: Hits(count, last) for text, count, last in await self._rows(_HITS, []) or []}

    async def _rows(self, query: str, values: list[object]) -> list[tuple[Any, ...]] | None:
        """Return what the database has; None when it can't be used."""
        if self._closed:
            return []
        self.start()
        done: Future[list[tuple[Any, ...]] | None] = Future()
        self._work.put((query, values, done))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Write what waits. Bounded in time; what is not in the database then is taken over by the next proxy."""
        self._closed = True
        if self._threads:
            writer, keeper = self._threads
            self._rows_in.put(None)
            writer.join(_LAST_SECONDS)
            self._work.put(_END)
            keeper.join(_LAST_SECONDS)

    # --- the thread of the file: quick, so that a kill costs no row that is older than a moment ---

    def _write_rows(self) -> None:
        while (row := self._rows_in.get()) is not None:
            with self._lock:
                self._unwritten.append(row)
                self._write_down()
            self._work.put(_SETTLE)

    def _write_down(self) -> None:
        """Into the file, else keep them in memory. With the lock."""
        try:
            while self._unwritten:
                try:
                    self._waiting.add(self._unwritten[0])
                except UnicodeError:  # no text of one request is worth all others
                    self._lost += 1
                self._unwritten.popleft()
        except OSError as error:
            while len(self._unwritten) > _MOST_IN_MEMORY:
                self._unwritten.popleft()
                self._lost += 1
            self._report("file", f"{self._path.parent} can't be written ({error.strerror or error})")
        else:
            self._report("file", "")

    # --- the thread of the database ---

    def _keep_database(self) -> None:
        self._settle(None)
        due: float | None = None  # when rows that came go into the database
        while (item := self._next(due)) != _END:
            due = self._turn(item, due)
        self._finish()

    def _next(self, due: float | None) -> Query | str | None:
        """Wait for what is to be done; None when it is time to try again."""
        try:
            return self._work.get(timeout=self._pause(due))
        except queue.Empty:
            return None

    def _turn(self, item: Query | str | None, due: float | None) -> float | None:
        """Do it, and return when rows that came go into the database: those of a moment go together."""
        if item == _SETTLE:
            return time.monotonic() + _GATHER_SECONDS if due is None else due
        self._settle(item if isinstance(item, tuple) else None)
        return None

    def _finish(self) -> None:
        self._settle(None)
        for one in self._taken:
            one.close()

    def _pause(self, due: float | None) -> float | None:
        """Return how long nothing is to be done, if nothing comes."""
        if due is not None:
            return max(0.0, due - time.monotonic())
        return _RETRY_SECONDS if self._taken or self._unwritten or any(self._reasons.values()) else None

    def _settle(self, query: Query | None) -> None:
        """Bring what waits into the database, and answer a query. What fails is reported, and tried again later."""
        import duckdb

        with self._lock:
            self._write_down()
            self._taken += self._waiting.hand_over()
        rows = None
        try:
            with self._opened() as database:
                self._take_over(database)
                if query is not None:
                    rows = database.execute(query[0], query[1]).fetchall()
        except (OSError, duckdb.Error, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            self._report("database", f"{self._path} can't be used ({reason})")
        else:
            self._report("database", "")
        if query is not None and query[2].set_running_or_notify_cancel():  # or else nothing waits for it any more
            query[2].set_result(rows)

    def _take_over(self, database: duckdb.DuckDBPyConnection) -> None:
        self._taken += self._waiting.left_behind()
        with self._lock:
            in_memory = list(self._unwritten)
        rows = {row.id: row for one in self._taken for row in one.rows()} | {row.id: row for row in in_memory}
        if rows:
            _insert(database, list(rows.values()))
        with self._lock:
            taken, self._taken = self._taken, []
            written = {row.id for row in in_memory}
            self._unwritten = deque(row for row in self._unwritten if row.id not in written)
        for one in taken:
            one.remove()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The database, for a moment. Raises OSError, duckdb.Error, UnicodeError."""
        private_dir(self._path.parent)  # its log beside it is made with the rights that others may read
        database = self._connect()
        try:
            self._path.chmod(0o600)
            for change in (_SCHEMA, *_LATER):
                database.execute(change)
            if not self._swept:
                database.execute(_FORGET, [self._oldest])
                self._swept = True
            yield database
        finally:
            database.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Wait for other proxies; put a damaged file aside. Raises OSError, duckdb.Error, UnicodeError."""
        import duckdb

        if readable(self._path) != str(self._path):
            raise OSError(errno.EILSEQ, "DuckDB opens no path that is not UTF-8", str(self._path))
        is_new = not self._path.exists()
        for _ in range(_LOCK_TRIES):
            try:
                return duckdb.connect(str(self._path), config={"threads": 1, "memory_limit": "64MB"})
            except duckdb.Error as error:
                if any(word in str(error) for word in _DAMAGED):
                    self._put_aside(str(error).split("\n")[0])
                elif "lock" not in str(error):
                    if is_new:  # a full disk leaves the start of a file, which is no database
                        self._path.unlink(missing_ok=True)
                    raise
                else:
                    time.sleep(_LOCK_PAUSE)
        return duckdb.connect(str(self._path), config={"threads": 1, "memory_limit": "64MB"})

    def _put_aside(self, reason: str) -> None:
        """Raises OSError."""
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(self._path.stat().st_mtime)}")
        self._path.replace(aside)
        with contextlib.suppress(FileNotFoundError):
            log_of = self._path.with_name(f"{self._path.name}.wal")
            log_of.replace(aside.with_name(f"{aside.name}.wal"))
        log.warning("the history is damaged, was moved to %s, and begins again: %s", aside, reason)

    def _report(self, part: str, reason: str) -> None:
        """Log that rows are not kept, or that they are again, and let front ends have the figures."""
        reason = readable(reason)  # it names a path
        with self._reporting:
            before = [one for one in self._reasons.values() if one]
            self._reasons[part] = reason
            if reason and not before:
                log.warning("permission requests are not kept: %s", reason)
            elif before and not any(self._reasons.values()):
                log.warning("permission requests are kept again")
        if reason or before:
            self.changed()


def _insert(database: duckdb.DuckDBPyConnection, rows: list[AuditRow]) -> None:
    """All of them or none. No two may have the same id. Raises duckdb.Error."""
    database.begin()
    for chunk in (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)):
        values = [getattr(row, name) for row in chunk for name in _COLUMNS]
        database.execute(_INSERT + ", ".join([_VALUES] * len(chunk)), values)
    database.commit()
