"""In the place of DuckDB, whose threads and files have no place in a simulation: a table in one file.

It does what the history asks of it: a transaction is on the disk whole or not at all, and fails when the disk is full
or another program has the database open. The real one is tested in tests/core/test_audit.py and tests/faults.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.control.frames import AuditRow

_COLUMNS = AuditRow.__struct_fields__
HELD: ContextVar[list[str]] = ContextVar("held")  # by which other program, if any


class Error(Exception):
    pass


class Connection:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = rows_of(path)
        self._open = False  # a transaction is
        self._found: list[tuple[Any, ...]] = []
        if not path.exists():
            self._write()

    def execute(self, query: str, values: Sequence[Any] = ()) -> Connection:
        if query.startswith("INSERT OR REPLACE"):
            assert self._open
            for start in range(0, len(values), len(_COLUMNS)):
                row = list(values[start : start + len(_COLUMNS)])
                self._rows[row[0]] = row
        elif query.startswith("SELECT"):
            latest = sorted(self._rows.values(), key=lambda row: row[1], reverse=True)
            self._found = [tuple(row) for row in latest[: values[0]]]
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._found

    def begin(self) -> None:
        self._open = True

    def commit(self) -> None:
        self._open = False
        self._write()

    def close(self) -> None:
        """What was not committed is gone."""

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(self._rows))
            temporary.replace(self._path)
        except OSError as error:
            raise Error(f"IO Error: {error.strerror}") from None


def connect(path: str, config: object) -> Connection:
    if held := HELD.get():
        raise Error(f'IO Error: Could not set lock on file "{path}": {held[0]} has it open')
    return Connection(Path(path))


def rows_of(path: Path) -> dict[str, list[Any]]:
    return msgspec.json.decode(path.read_bytes()) if path.exists() else {}
