"""The one trust store: which files of project folders you have read and trusted, by path and content.

A file counts as trusted while its content is the one that was shown. Project settings, and what Claude Code reads in a
folder, are kept here alike; see `core.settings.agents_folder` for the latter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ccproxy_tui.core.settings.files import Refused, read_own
from ccproxy_tui.core.system.files import replace_file, turn
from ccproxy_tui.core.system.paths import Paths, private_dir

log = logging.getLogger(__name__)

TRUST_VARIABLE = "CCPROXY_TRUST_FOLDER"
STORE_FILE = "trust.json"
_LIMIT = 16 << 20
_YES = frozenset({"1", "true", "yes", "on"})


def trusts_folder(environ: Mapping[str, str]) -> bool:
    """Return whether the folder in which the program was started is trusted for this run."""
    return environ.get(TRUST_VARIABLE, "").lower() in _YES


class Record(msgspec.Struct, frozen=True):
    """One trusted file: the SHA-256 of its content, when it was trusted, and what it said then (secrets masked)."""

    sha256: str
    since: float = 0.0
    shown: dict[str, str] = {}


class _Store(msgspec.Struct):
    files: dict[str, Record] = {}


class TrustStore:
    """A file in the user's data folder. Every call reads it, so that processes agree; writers take turns."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.data

    @property
    def path(self) -> Path:
        return self._folder / STORE_FILE

    def trusts(self, path: Path, digest: str) -> bool:
        """Return whether the file at `path`, with this content, was trusted."""
        record = self.records().get(str(path))
        return record is not None and record.sha256 == digest

    def records(self) -> dict[str, Record]:
        """Return every trusted file by path. A store that can't be read, or is not ours alone, trusts nothing."""
        try:
            return self._read()
        except Refused as problem:
            log.warning("%s is not used, so no project file is trusted: %s", self.path, problem)
            return {}

    def _read(self) -> dict[str, Record]:
        """Raises Refused."""
        found = read_own(self.path, limit=_LIMIT)
        try:
            return {} if found is None else msgspec.json.decode(found.data, type=_Store).files
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(str(error)) from error

    def _records_to_change(self) -> dict[str, Record]:
        """The same for a change, which must not drop what could not be read just now. Raises OSError."""
        try:
            return self._read()
        except Refused as problem:
            if isinstance(problem.__cause__, OSError):
                raise OSError(problem.__cause__.errno, f"{self.path} {problem}") from problem
            return self.records()

    def trust(self, path: Path, digest: str, shown: Mapping[str, str], now: float) -> None:
        """Trust the file at `path` with the content of that digest. Raises OSError."""
        with turn(private_dir(self._folder)):
            self._write({**self._records_to_change(), str(path): Record(digest, now, dict(shown))})

    def revoke(self, path: Path) -> list[str]:
        """Trust no longer the file at `path`, or anything below the folder. Return what was revoked. Raises OSError."""
        with turn(private_dir(self._folder)):
            records = self._records_to_change()
            gone = [name for name in records if Path(name) == path or Path(name).is_relative_to(path)]
            if gone:
                self._write({name: record for name, record in records.items() if name not in gone})
        return gone

    def _write(self, records: dict[str, Record]) -> None:
        replace_file(self.path, msgspec.json.encode(_Store(records)), mode=0o600)
