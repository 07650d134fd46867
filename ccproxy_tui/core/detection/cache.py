"""Captures on disk: `<cache folder>/<tool>_headers_<version>.json`, one for each version, readable by their owner."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ccproxy_tui.core.detection.record import FORMAT, Detected
from ccproxy_tui.core.system.files import replace_file

_KEPT = 5


class DetectionCache:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, tool: str, version: str) -> Path:
        return self._folder / f"{tool}_headers_{re.sub(r'[^A-Za-z0-9.+-]', '_', version)}.json"

    def load(self, tool: str) -> list[Detected]:
        """All captures of a tool, the newest first. What is broken or foreign is passed over."""
        found = [self._read(path) for path in self._folder.glob(f"{tool}_headers_*.json")]
        ours = [one for one in found if one is not None and one.tool == tool and one.format == FORMAT]
        return sorted(ours, key=lambda one: one.captured, reverse=True)

    def _read(self, path: Path) -> Detected | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Detected)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def save(self, detected: Detected) -> None:
        """Keep it, and the one that it replaces as `...previous`. Old versions are forgotten. Raises OSError."""
        newest = max((one.captured for one in self.load(detected.tool)), default=0.0)
        if detected.captured <= newest:  # the clock was set back: this one is the newest all the same
            detected = msgspec.structs.replace(detected, captured=newest + 0.001)
        path = self.path(detected.tool, detected.version)
        before = self._read(path)
        if before is not None and before.digest != detected.digest:
            replace_file(path.with_name(f"{path.name}.previous"), msgspec.json.encode(before))
        replace_file(path, msgspec.json.format(msgspec.json.encode(detected), indent=2))
        for old in self.load(detected.tool)[_KEPT:]:
            gone = self.path(old.tool, old.version)
            gone.unlink(missing_ok=True)
            gone.with_name(f"{gone.name}.previous").unlink(missing_ok=True)

    def before(self, detected: Detected) -> Detected | None:
        """The capture that differs from this one, before it: of the same version, or of an earlier one."""
        path = self.path(detected.tool, detected.version)
        if (previous := self._read(path.with_name(f"{path.name}.previous"))) is not None:
            return previous
        return next((one for one in self.load(detected.tool) if one.captured < detected.captured), None)

    def clear(self, tool: str) -> int:
        """How many files are gone. Raises OSError."""
        paths = list(self._folder.glob(f"{tool}_headers_*.json*"))
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)
