"""What there is to see of a question: its notes, and what would become of a file as it lies on disk.

Nothing else of permissions reads files. Input may be megabytes, so this is for a thread.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.permissions.difference import difference, lines_of
from ccproxy_tui.core.permissions.request import Look, PermissionRequest
from ccproxy_tui.core.permissions.risk import programs_of, risk_notes

SHOWN_INPUT = 256 * 1024  # bytes of an input that front ends get
_LARGEST = 1024 * 1024
_LONGEST = 4000  # lines of a difference that front ends get


def look_at(request: PermissionRequest) -> Look:
    raw = msgspec.json.encode(request.input)
    notes = risk_notes(request.tool, request.input, request.cwd)
    preview = preview_of(request.tool, request.input, request.cwd)
    more = len(preview) - _LONGEST
    if len(raw) > SHOWN_INPUT or more > 0:
        notes.append("longer than is shown")
    return Look(
        preview=[*preview[:_LONGEST], f"{more:,} more lines are not shown"] if more > 0 else preview,
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
        return [f"new file, {len(content):,} characters", *_added(content)]
    if isinstance(old, OSError):
        return [f"the file can't be read: {old.strerror}", *_added(content)]
    if old == content:
        return ["overwrites the file with what it holds already"]
    changes = " (its line ends change)" if ("\r\n" in old) != ("\r\n" in content) else ""
    return [f"overwrites the file{changes}", *_compared(old, content)]


def _edit(path: Path, edits: list[Any]) -> list[str]:
    old = _read(path)
    if isinstance(old, OSError):
        return [f"the file can't be read: {old.strerror}"]
    if old is None:
        return _made(edits)
    new, missing = _edited(old.replace("\r\n", "\n"), edits)  # Claude Code looks for an edit's text so, too
    return [*_missed(missing), *_compared(old, new)]


def _made(edits: list[Any]) -> list[str]:
    """An edit of nothing makes a file, and the edits after it find their text there."""
    if not edits or _text(edits[0], "old_string"):
        return ["the file is not there"]
    text, missing = _edited(_text(edits[0], "new_string"), edits[1:])
    return [*_missed(missing), "new file", *_added(text)]


def _edited(text: str, edits: list[Any]) -> tuple[str, int]:
    """The text after the edits, and how many did not find theirs."""
    missing = 0
    for edit in edits:
        before, after = _text(edit, "old_string"), _text(edit, "new_string")
        if not before or before not in text:
            missing += 1
            continue
        text = text.replace(before, after) if edit.get("replace_all") is True else text.replace(before, after, 1)
    return text, missing


def _missed(missing: int) -> list[str]:
    return [f"the old text of {missing} edit{'s' * (missing != 1)} is not in the file"] if missing else []


def _compared(old: str, new: str) -> list[str]:
    """With line ends alike, which every line would differ in; the newline at the end is told."""
    before, after = (text.replace("\r\n", "\n") for text in (old, new))
    told = []
    if before.endswith("\n") != after.endswith("\n") and before and after:
        told = ["a newline comes at its end" if after.endswith("\n") else "the newline at its end goes"]
    return [*difference(before, after), *told]


def _added(text: str) -> list[str]:
    return [f"+{line}" for line in lines_of(text)]


def _text(edit: Any, name: str) -> str:
    value = edit.get(name) if isinstance(edit, dict) else None
    return value if isinstance(value, str) else ""


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
