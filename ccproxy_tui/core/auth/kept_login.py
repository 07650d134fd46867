"""A renewed login whose own file could not be written: kept in our state folder until it can."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from ccproxy_tui.core.auth.json_file import Document
from ccproxy_tui.core.files import Room


class KeptLogin:
    """The copy for one credential source. `folder` is ours alone (0700); the file is 0600."""

    def __init__(self, folder: Path, source: str) -> None:
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        self.path = folder / f"credentials.json.{digest}"

    def load(self) -> Document | None:
        """Return the kept document, or None when there is none that can be read."""
        try:
            document = msgspec.json.decode(self.path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return document if isinstance(document, dict) else None

    def reserve(self, size: int) -> Room:
        """Reserve space for a document of at most `size` bytes. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Room(self.path, size, mode=0o600)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
