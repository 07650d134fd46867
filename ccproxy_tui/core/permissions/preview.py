"""What there is to see of a question: its notes, and what would become of a file as it lies on disk.

Nothing else of permissions reads files. Input may be megabytes, so this is for a thread.
"""

from __future__ import annotations

import difflib
import stat
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.permissions.request import Look, PermissionRequest
from ccproxy_tui.core.permissions.risk import programs_of, risk_notes

SHOWN_INPUT = 256 * 1024  # bytes of an input that front ends get
_LARGEST = 1024 * 1024
_CONTEXT = 3
_LONGEST = 4000  # lines of a difference


def look_at(request: PermissionRequest) -> Look:
    raw = msgspec.json.encode(request.input)
    notes = risk_notes(request.tool, request.input, request.cwd)
    if len(raw) > SHOWN_INPUT:
        notes.append("longer than is shown")
    return Look(
        preview=preview_of(request.tool, request.input, request.cwd),
        notes=notes,
        programs=programs_of(request.tool, request.input),
        shown=raw[:SHOWN_INPUT],
        size=len(raw),
    )


def preview_of(tool: str, given: Any, cwd: str) -> list[str]:
    """Lines for the card: a heading, then a unified difference. Empty for tools that change no file that is named."""
    if not isinstance(given, dict):
        return []
    named = given.get("file_path") or given.get("notebook_path")
    if not isinstance(named, str) or not named:
        return []
    path = Path(named) if named.startswith("/") or not cwd else Path(cwd) / named
    match tool:
        case "Write" if isinstance(given.get("content"), str):
            return _write(path, given["content"])
        case "Edit" | "MultiEdit":
            edits = given.get("edits") if tool == "MultiEdit" else [given]
            return _edit(path, edits if isinstance(edits, list) else [])
        case _:
            return []


def _write(path: Path, content: str) -> list[str]:
    old = _read(path)
    if old is None:
        return [f"new file, {len(content):,} characters", *(f"+{line}" for line in content.splitlines()[:_LONGEST])]
    if isinstance(old, OSError):
        return [f"the file can't be read: {old.strerror}", *(f"+{line}" for line in content.splitlines()[:_LONGEST])]
    if old == content:
        return ["overwrites the file with what it holds already"]
    return ["overwrites the file", *_difference(old, content)]


def _edit(path: Path, edits: list[Any]) -> list[str]:
    old = _read(path)
    if old is None or isinstance(old, OSError):
        return ["the file is not there" if old is None else f"the file can't be read: {old.strerror}"]
    new, missing = old, 0
    for edit in edits:
        before = edit.get("old_string") if isinstance(edit, dict) else None
        after = edit.get("new_string") if isinstance(edit, dict) else None
        if not isinstance(before, str) or not isinstance(after, str) or not before or before not in new:
            missing += 1
            continue
        new = new.replace(before, after) if edit.get("replace_all") is True else new.replace(before, after, 1)
    notes = [f"the old text of {missing} edit{'s' * (missing != 1)} is not in the file"] if missing else []
    return [*notes, *_difference(old, new)]


def _difference(old: str, new: str) -> list[str]:
    found = difflib.unified_diff(old.splitlines(), new.splitlines(), "", "", lineterm="", n=_CONTEXT)
    return [line for line in found if not line.startswith(("---", "+++"))][:_LONGEST]


def _read(path: Path) -> str | OSError | None:
    """The text; None where there is no file; the error where it is there and can't be read."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # a pipe or a device would never end
            return OSError(0, "it is no plain file")
        if info.st_size > _LARGEST:
            return OSError(0, "it is larger than a megabyte")
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
