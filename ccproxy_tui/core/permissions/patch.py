"""Patches in the format of Codex's `apply_patch`: which files they change, and how. Pure.

The format: https://github.com/openai/codex/blob/main/codex-rs/apply-patch/apply_patch_tool_instructions.md
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

# Of a patch or a text that is compared. What has more is longer than 256 KB as JSON, which a card marks as high risk.
MOST_LINES = 140_000
_BEGIN, _END = "*** Begin Patch", "*** End Patch"
_KINDS: dict[str, Literal["add", "update", "delete"]] = {
    "*** Add File: ": "add",
    "*** Update File: ": "update",
    "*** Delete File: ": "delete",
}
_MOVE = "*** Move to: "
_BODY = ("+", "-", " ", "@@", "*** End of File")
_FIELDS = ("command", "input", "patch")


@dataclass(slots=True)
class FileChange:
    """One file of a patch: `moved` is its new path, `lines` are those of the patch as they stand there."""

    kind: Literal["add", "update", "delete"]
    path: str
    moved: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        return f"{self.kind} {self.path}" + (f", and move it to {self.moved}" if self.moved else "")


def patch_of(tool: str, given: Any) -> tuple[str, list[FileChange]]:
    """Return the name of the field that holds a patch, with its changes; empty ones where there is none to read."""
    if isinstance(given, dict) and tool == "apply_patch":
        for name in _FIELDS:
            if isinstance(given.get(name), str) and (changes := read_patch(given[name])):
                return name, changes
    return "", []


def changes_in(text: str) -> list[FileChange]:
    """Return the changes of the first patch inside of a text, such as a here-document of a command."""
    start = text.find(_BEGIN)
    end = text.find(_END, start)
    return read_patch(text[start : end + len(_END)]) if start >= 0 and end >= 0 else []


def read_patch(text: str) -> list[FileChange]:
    """Return the changes of a patch in their order; none where a line of it is not understood, or too many."""
    if text.count("\n") > MOST_LINES:
        return []
    lines = text.strip("\n").split("\n")
    if lines[0].strip() != _BEGIN or lines[-1].strip() != _END:
        return []
    found: list[FileChange] = []
    for line in lines[1:-1]:
        marker = next((marker for marker in _KINDS if line.startswith(marker)), None)
        if marker is not None:
            found.append(FileChange(_KINDS[marker], line.removeprefix(marker)))
        elif not found or found[-1].kind == "delete":
            return []
        elif line.startswith(_MOVE) and found[-1].kind == "update" and not found[-1].lines:
            found[-1].moved = line.removeprefix(_MOVE)
        elif line.startswith("+") or (found[-1].kind == "update" and (line == "" or line.startswith(_BODY))):
            found[-1].lines.append(line or " ")
        else:
            return []
    return found
