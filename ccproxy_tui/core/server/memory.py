"""Keeps what clients forget between turns (see core.formats.memory): in a small database that survives restarts."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import OrderedDict
from pathlib import Path

log = logging.getLogger(__name__)

KEPT = 50_000  # rows; the oldest are forgotten first
CACHED = 4_096
_CHUNK = 500  # keys in one query
_SCHEMA = "CREATE TABLE IF NOT EXISTS memory (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, value TEXT NOT NULL)"


class Memory:
    """Small values by key. Safe to use from several threads. Without a file it lasts as long as the process.

    What is kept is opaque to us (sealed by a vendor), never a prompt or an answer. The file is for its owner only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, str] = OrderedDict()
        self._database: sqlite3.Connection | None = None
        self._opened = False

    def recall(self, keys: list[str]) -> dict[str, str]:
        """What is known of these keys. Unknown ones are missing."""
        with self._lock:
            found = {key: value for key in keys if (value := self._cache.get(key)) is not None}
            missing = [key for key in keys if key not in found]
            database = self._open() if missing else None
            if database is None:
                return found
            for start in range(0, len(missing), _CHUNK):
                found.update(_select(database, missing[start : start + _CHUNK]))
            return found

    def remember(self, values: dict[str, str]) -> None:
        with self._lock:
            self._cache.update(values)
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
            database = self._open()
            if database is None:
                return
            try:
                with database:
                    database.executemany("INSERT OR REPLACE INTO memory (key, value) VALUES (?, ?)", values.items())
                    database.execute("DELETE FROM memory WHERE id <= (SELECT max(id) FROM memory) - ?", (KEPT,))
            except sqlite3.Error as error:
                log.warning("what a provider sealed could not be kept: %s", error)

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _open(self) -> sqlite3.Connection | None:
        if self._path is None or self._opened:
            return self._database
        self._opened = True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            database = sqlite3.connect(self._path, timeout=1, check_same_thread=False)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(_SCHEMA)
            self._database = database
        except (OSError, sqlite3.Error) as error:
            log.warning("%s can't be used (%s); sealed thinking is kept until the proxy ends", self._path, error)
        return self._database


def _select(database: sqlite3.Connection, keys: list[str]) -> dict[str, str]:
    marks = ",".join("?" * len(keys))
    try:
        return dict(database.execute(f"SELECT key, value FROM memory WHERE key IN ({marks})", keys))  # noqa: S608 - marks only
    except sqlite3.Error as error:
        log.warning("what a provider sealed could not be read: %s", error)
        return {}
