"""A renewed login whose own file could not be written: kept in our state folder until it can.

All our processes look there. It counts as long as the file still holds the login that it follows: which of two logins
is the newer one is not left to the times in them, which a wrong clock may have made.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import msgspec

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import RECHECK, Document
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.files import Room, is_interrupted, leftovers, sweep

_SPARE = 8192  # bytes by which a renewed login may be longer than the one before

Stamp = tuple[int, int, int]


class Following(msgspec.Struct, frozen=True):
    """A document, and the mark of the login in the file that it follows."""

    after: str
    login: Document


class KeptLogin:
    """The copy for one credential source. `folder` is ours alone (0700); the file is 0600."""

    def __init__(self, folder: Path, source: str, clock: Clock) -> None:
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        self.source = source
        self._path = folder / f"credentials.json.{digest}"
        self._clock = clock
        self._looked = -RECHECK
        self._stamp: Stamp | None = None
        self._found: Following | None = None
        self._unwritten: Following | None = None  # in memory alone: there is no room for it anywhere

    def after(self, on_disk: Credential, *, recheck: bool = False) -> Document | None:
        """Return the document that follows the login of the file; None when there is none."""
        kept = self._unwritten or self._load(recheck=recheck)
        return kept.login if kept is not None and kept.after == on_disk.mark else None

    @property
    def is_there(self) -> bool:
        """Whether anything waits, also what no longer follows the login of the file, or what a killed writer left."""
        return self._unwritten is not None or self._load(recheck=True) is not None or is_interrupted(self._path)

    def _load(self, *, recheck: bool) -> Following | None:
        """Look at the file a few times a second at most, unless `recheck` is set."""
        now = self._clock.monotonic()
        if now - self._looked < RECHECK and not recheck:
            return self._found
        self._looked = now
        try:
            info = self._path.stat()
            stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
            if stamp != self._stamp:
                self._found = msgspec.json.decode(self._path.read_bytes(), type=Following)
                self._stamp = stamp
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._stamp = self._found = None
        return self._found

    def recover(self) -> None:
        """Take up what a writer that was killed left beside the copy: it is the newer one, where it is whole.

        Call it with the source's lock held: every writer of ours holds it. Raises OSError.
        """
        for left in leftovers(self._path):
            try:
                msgspec.json.decode(left.read_bytes(), type=Following)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue  # it is swept later
            left.replace(self._path)

    def reserve(self, document: Document) -> Room:
        """Reserve space for what will follow `document`. Raises OSError."""
        return self._room(4 * len(msgspec.json.encode(document)) + _SPARE)

    def keep(self, on_disk: Credential, document: Document, room: Room | None) -> bool:
        """Keep the document that follows the login of the file. False when it is in memory only."""
        following = Following(on_disk.mark, document)
        data = msgspec.json.encode(following)
        self._looked = -RECHECK
        try:
            with room or self._room(len(data)) as held:
                held.fill(data)
        except OSError:
            self._unwritten = following
            return False
        self._unwritten = None
        return True

    def _room(self, size: int) -> Room:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(self._path)
        return Room(self._path, size, mode=0o600)

    def drop(self) -> None:
        self._unwritten = self._found = self._stamp = None
        with suppress(OSError):  # it counts no more: it follows a login that the file has no longer
            self._path.unlink(missing_ok=True)
        sweep(self._path)
