"""A credential file that belongs to another program: read again whenever it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.clock import Clock

RECHECK = 0.25  # seconds for which the file is not looked at again

Parse = Callable[[Any, str], Credential]


class UnreadableCredentials(Exception):
    """There is a credential file, and it can't be used. The message says why."""


class JsonFile:
    """Reads the first file that exists: a token that its owner rotated is taken up at once."""

    def __init__(self, candidates: Sequence[Path], home: Path, parse: Parse, clock: Clock) -> None:
        """`home` is where the file is made when there is none."""
        self._candidates = candidates
        self._home = home
        self.parse = parse
        self._clock = clock
        self._looked = -RECHECK
        self._stamp: tuple[Path, int, int, int] | None = None
        self._credential: Credential | None = None

    def read(self, *, anew: bool = False) -> Credential | None:
        """The credential, or None when there is no file. Raises UnreadableCredentials.

        The file is looked at a few times a second at most, unless `anew` is set.
        """
        now = self._clock.monotonic()
        if self._stamp is not None and now - self._looked < RECHECK and not anew:
            return self._credential
        self._looked = now
        for path in self._candidates:
            try:
                info = path.stat()
            except OSError:
                continue
            stamp = (path, info.st_mtime_ns, info.st_size, info.st_ino)
            if stamp != self._stamp:
                self._credential = self.parse(_load(path), str(path))
                self._stamp = stamp
            return self._credential
        self._stamp = self._credential = None
        return None

    @property
    def path(self) -> Path:
        """The file that is in use, or that would be made."""
        return next((path for path in self._candidates if path.exists()), self._home)

    def document(self, path: Path) -> dict[str, Any]:
        """Everything that the file holds, keys of its owner included. Raises UnreadableCredentials."""
        document = _load(path)
        if not isinstance(document, dict):
            raise UnreadableCredentials(f"{path} holds no JSON object")
        return document


def _load(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UnreadableCredentials(f"{path} can't be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableCredentials(f"{path} is not valid JSON: {error}") from error
