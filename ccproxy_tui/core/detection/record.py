"""One capture: the headers and the instructions that a version of a tool sends. Also the format of the cache files."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from ccproxy_tui.core.control.frames import ModelLimits

FORMAT = 1

# Where a tool puts its instructions: the field of that name, a developer message, or system blocks.
Shape = Literal["instructions", "developer", "system"]


class Detected(msgspec.Struct, frozen=True, omit_defaults=True):
    """Headers in their order, lower case, without secrets and ids. `captured` is in seconds since the epoch."""

    tool: str
    version: str
    captured: float
    headers: list[tuple[str, str]] = []
    instructions: list[str] = []
    shape: Shape = "instructions"
    model: str = ""
    path: str = ""
    models: list[ModelLimits] = []
    format: int = FORMAT

    @property
    def text(self) -> str:
        return "\n\n".join(self.instructions)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
