"""A credential file that belongs to another program: read again whenever it changes."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.files import Room, followed_by, is_interrupted, leftovers, replace_file, sweep

log = logging.getLogger(__name__)

RECHECK = 0.25  # seconds for which the file is not looked at again

Document = dict[str, Any]
Stamp = tuple[Path, int, int, int, int]
Parse = Callable[[Any, str], Credential]
_SPARE = 8192  # bytes by which a renewed login may be longer than the one before


class UnreadableCredentials(Exception):
    """There is a credential file, and it can't be used. The message says why."""


class JsonFile:
    """Reads the first file that holds a login: a token that its owner rotated is taken up at once.

    A source is where a document lies, as text: the path of a file, or what a subclass makes of it.
    """

    def __init__(
        self,
        candidates: Sequence[Path],
        home: Path,
        parse: Parse,
        clock: Clock,
        *,
        keys: Sequence[str] = (),
        owner_locks: Callable[[Path], list[Path]] = lambda _: [],
    ) -> None:
        """`home` is where the file is made when there is none; `keys` are those of the document that are the login.

        `owner_locks` names the folders that the file's owner makes while it renews the login at a path.
        """
        self.owner_locks = owner_locks
        self._candidates = candidates
        self._home = home
        self.parse = parse
        self._clock = clock
        self._keys = keys
        self._looked = -RECHECK
        self._stamp: Stamp | None = None
        self._credential: Credential | None = None

    def read(self, *, recheck: bool = False) -> Credential | None:
        """The credential, or None when there is none. Raises UnreadableCredentials.

        The file is looked at a few times a second at most, unless `recheck` is set.
        """
        now = self._clock.monotonic()
        if self._stamp is not None and now - self._looked < RECHECK and not recheck:
            return self._credential
        self._looked = now
        empty: Stamp | None = None
        for path in self._candidates:
            try:
                info = path.stat()
            except OSError:
                continue
            stamp = (path, info.st_mtime_ns, info.st_size, info.st_ino, info.st_mode)
            if stamp == self._stamp and self._credential is not None:
                return self._credential
            document = _load(path)
            if self._holds_login(document):
                self._credential = self.parse(document, str(path))
                self._stamp = stamp
                return self._credential
            empty = empty or stamp
        self._stamp, self._credential = empty, None
        return None

    def _holds_login(self, document: Any) -> bool:
        """An object without any of a login's keys is a file that nobody is logged in with, not a broken one."""
        if not isinstance(document, dict) or not self._keys:
            return True
        return any(document.get(key) is not None for key in self._keys)

    @property
    def warning(self) -> str:
        """What is wrong with how the file lies there, in words; nothing when it is well kept."""
        if self._stamp is None or not self._stamp[4] & (stat.S_IRGRP | stat.S_IROTH):
            return ""
        path = self._stamp[0]
        return f"{path} can be read by other users: chmod 600 {path}"

    @property
    def target(self) -> str:
        """Where a login is saved: the file that is in use, or that would be made."""
        return str(next((path for path in self._candidates if path.exists()), self._home))

    def lock_path(self, source: str) -> Path:
        """The path whose lock guards a source."""
        return Path(source)

    def document(self, source: str) -> Document:
        """Everything that a source holds, keys of its owner included. Raises UnreadableCredentials."""
        document = _load(Path(source))
        if not isinstance(document, dict):
            raise UnreadableCredentials(f"{source} holds no JSON object")
        return document

    def document_or_nothing(self, source: str) -> Document:
        """The same; empty where there is no file yet, and for one that can't be used, which is kept as
        `<name>.broken`. Raises OSError.
        """
        path = Path(source)
        try:
            return self.document(source) if path.exists() else {}
        except UnreadableCredentials as error:
            if isinstance(error.__cause__, OSError):  # just now: what is in it may be good
                raise error.__cause__ from None
            replace_file(path.with_name(f"{path.name}.broken"), path.read_bytes())
            return {}

    def reserve(self, source: str, document: Document) -> Room | None:
        """Reserve space for what will follow `document`; None where no space is needed. Raises OSError."""
        return self._room(source, 2 * len(_encoded(document)) + _SPARE)

    def _room(self, source: str, size: int) -> Room:
        current = self._login_at(Path(source))
        return Room(Path(source), size, follows=current.mark if current is not None else "")

    def _login_at(self, path: Path) -> Credential | None:
        with suppress(UnreadableCredentials):
            return self.parse(_load(path), str(path))
        return None

    def save(self, source: str, document: Document, room: Room | None = None) -> None:
        """Write the document, into `room` when space was reserved. Raises OSError, and leaves what was there."""
        self._looked = -RECHECK
        if room is None:
            with self._room(source, len(_encoded(document))) as own:  # what a killed writer left is for `recover`
                own.fill(_encoded(document))
        else:
            room.fill(_encoded(document))

    def is_interrupted(self, source: str) -> bool:
        """Return whether a writer was killed: what it left beside the file may be the only copy of a login."""
        return is_interrupted(Path(source))

    def recover(self, source: str) -> None:
        """Take up what a writer that was killed left beside the file, where it is newer; remove the rest.

        Call it with the source's lock held: every writer of ours holds it. Raises OSError when it can't be taken up.
        """
        path = Path(source)
        for left in leftovers(path):
            if self._follows(left, path):
                self._take_up(left, path)
            with suppress(OSError):
                left.unlink(missing_ok=True)

    def forget(self, source: str) -> None:
        """Remove what killed writers left: the login was changed from here, and is the one that counts."""
        sweep(Path(source))

    def _follows(self, left: Path, path: Path) -> bool:
        """Return whether what was left is newer than what the file has: it was written to follow just that login.

        Where the file is broken, any login is. What an earlier version has left without a mark must end later. A file
        without a login was logged out of, and one whose login never ends has another one.
        """
        new = self._login_at(left)
        if new is None:
            return False
        try:
            document = _load(path)
        except UnreadableCredentials as error:
            return not isinstance(error.__cause__, OSError)
        if not self._holds_login(document) or (current := self._login_at(path)) is None:
            return False
        if mark := followed_by(left):
            return mark == current.mark and new.mark != mark
        return current.expires_at is not None and (new.expires_at or 0.0) > current.expires_at

    def _take_up(self, left: Path, path: Path) -> None:
        document = self.document(str(left))
        try:
            whole = {**self.document(str(path)), **self.login_of(document)}
        except UnreadableCredentials:
            whole = document
        if whole == document:  # needs no space
            left.replace(path.resolve())
        else:  # its owner has changed other keys since
            self.save(str(path), whole)
        log.warning("%s: took up the newer login that a killed program left behind", path)

    def login_of(self, document: Document) -> Document:
        """The part of a document that is this login."""
        return {key: value for key, value in document.items() if key in self._keys}

    def without_login(self, document: Document) -> Document:
        """The document without this login; keys that nobody knows stay."""
        return {key: value for key, value in document.items() if key not in self._keys}


def _encoded(document: Document) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _load(path: Path) -> Any:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnreadableCredentials(f"{path} can't be read: {error.strerror}") from error
    if not raw.strip():
        raise UnreadableCredentials(f"{path} is empty")
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableCredentials(f"{path} is not valid JSON: {error}") from error
