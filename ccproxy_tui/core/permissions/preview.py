"""What there is to see of a permission request: its notes, and what would become of a file as it lies on disk.

Nothing else of permissions reads files. Input may be megabytes, so this is for a thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import stat
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ccproxy_tui.core.permissions.difference import difference, lines_of
from ccproxy_tui.core.permissions.patch import MOST_LINES, patch_of
from ccproxy_tui.core.permissions.place_notes import place_notes
from ccproxy_tui.core.permissions.request import FileState, Look, PermissionRequest
from ccproxy_tui.core.permissions.risk import OWN_SECRET, UNKNOWN, programs_of, risk_notes
from ccproxy_tui.core.text.redact import mask_own

log = logging.getLogger(__name__)

SHOWN_INPUT = 256 * 1024  # bytes of an input that front ends get
_LARGEST = 1024 * 1024
_LONGEST_RESULT = 16 * 1024 * 1024  # characters of a file after its edits
_LONGEST = 4000  # lines of a difference that front ends get


class Preview(NamedTuple):
    """Lines for the card, and the fields of the input that they show in whole."""

    lines: list[str]
    covers: tuple[str, ...] = ()
    path: Path | None = None


def look_at(request: PermissionRequest) -> Look:
    """Return what there is to see. Any request at all has a look: one that can't be analysed has that as a note."""
    raw = encoded(request.input)
    notes: list[str] = []
    preview, programs = Preview([]), []
    try:
        notes = risk_notes(request.tool, request.input, request.cwd)
        notes += place_notes(request.tool, request.input, request.cwd)
        programs = programs_of(request.tool, request.input)
        preview = preview_of(request.tool, request.input, request.cwd)
    except Exception:  # any fault of ours in the analysis of any input: the request is decided all the same
        log.exception("a permission request could not be analysed")
        notes.insert(0, UNKNOWN)
    more = len(preview.lines) - _LONGEST
    if len(raw) > SHOWN_INPUT or more > 0:
        notes.append("longer than is shown")
    return Look(
        preview=[*preview.lines[:_LONGEST], f"{more:,} more lines are not shown"] if more > 0 else preview.lines,
        notes=[OWN_SECRET, *notes] if mask_own(raw) != raw else notes,
        programs=programs,
        covers=[] if more > 0 else list(preview.covers),
        shown=raw[:SHOWN_INPUT],
        size=len(raw),
        digest=hashlib.sha256(raw).hexdigest(),
        files=[] if preview.path is None else [FileState(str(preview.path), _state(preview.path))],
    )


def has_changed(look: Look) -> bool:
    """Whether a file is another one than when its difference was made."""
    return any(_state(Path(file.path)) != file.seen for file in look.files)


def encoded(given: Any) -> bytes:
    """As JSON; what JSON has no form for as text, since it must be shown and kept all the same."""
    try:
        return msgspec.json.encode(given)
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError):
        pass
    try:
        return json.dumps(given, default=repr).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(f"{type(given).__name__}, which is nested too deeply to be shown").encode()


def _state(path: Path) -> tuple[int, int, int, int] | None:
    try:
        info = path.stat()
    except (OSError, ValueError):
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def preview_of(tool: str, given: Any, cwd: str) -> Preview:
    """Return a heading, then a unified difference. Empty for tools that change no file that is named."""
    if not isinstance(given, dict):
        return Preview([])
    name, changes = patch_of(tool, given)
    if changes:
        return Preview([line for change in changes for line in (change.heading, *change.lines)], (name,))
    named = given.get("file_path") or given.get("notebook_path")
    if not isinstance(named, str) or not named:
        return Preview([])
    path = Path(named) if named.startswith("/") or not cwd else Path(cwd) / named
    try:
        match tool:
            case "Write" if isinstance(given.get("content"), str):
                return _write(path, _bounded(given["content"]))
            case "Edit" | "MultiEdit":
                edits = given.get("edits") if tool == "MultiEdit" else [given]
                return _edit(path, edits if isinstance(edits, list) else [])
    except _TooLargeError:
        return Preview(["the file would be too large to show what changes"], (), path)
    return Preview([])


class _TooLargeError(Exception):
    """An edit may make a text a million times as long: each of a megabyte of letters may become another megabyte."""


def _bounded(text: str) -> str:
    """Raises _TooLargeError."""
    if text.count("\n") > MOST_LINES:
        raise _TooLargeError
    return text


def _write(path: Path, content: str) -> Preview:
    old = _read(path)
    if isinstance(old, OSError):
        return Preview([f"the file can't be read: {old.strerror}", *_added(content)], (), path)
    if old == content:
        return Preview(["overwrites the file with what it holds already"], ("content",), path)
    if old is None:
        ends = f", line ends {_ends(content)}" if _ends(content) != "LF" else ""
        lines = [f"new file, {len(content):,} characters{ends}", *_added(_with_lf(content))]
    else:
        changes = f" (its line ends become {_ends(content)})" if _ends(old) != _ends(content) else ""
        lines = [f"overwrites the file{changes}", *_compared(old, content)]
    return Preview(lines, ("content",), path)


def _edit(path: Path, edits: list[Any]) -> Preview:
    old = _read(path)
    if isinstance(old, OSError):
        return Preview([f"the file can't be read: {old.strerror}"], (), path)
    if old is None:
        lines, missing = _made(edits)
    else:
        new, missing = _edited(old.replace("\r\n", "\n"), edits)  # Claude Code looks for an edit's text so, too
        lines = [*_missed(missing), *_compared(old.replace("\r\n", "\n"), new)]
    return Preview(lines, () if missing or not lines else ("old_string", "new_string", "edits", "replace_all"), path)


def _ends(text: str) -> str:
    return "CR LF" if "\n" in text and text.count("\r\n") == text.count("\n") else "LF"


def _with_lf(text: str) -> str:
    """With line ends as LF where all of them are CR LF; where only some are, each CR is shown where it stands."""
    return text.replace("\r\n", "\n") if _ends(text) == "CR LF" else text


def _made(edits: list[Any]) -> tuple[list[str], int]:
    """An edit of nothing makes a file, and the edits after it find their text there."""
    if not edits or _text(edits[0], "old_string"):
        return ["the file is not there"], 1
    text, missing = _edited(_bounded(_text(edits[0], "new_string")), edits[1:])
    return [*_missed(missing), f"new file, {len(text):,} characters", *_added(text)], missing


def _edited(text: str, edits: list[Any]) -> tuple[str, int]:
    """The text after the edits, and how many did not find theirs. Raises _TooLargeError."""
    missing = 0
    for edit in edits:
        before, after = _text(edit, "old_string"), _text(edit, "new_string")
        if not before or before not in text:
            missing += 1
            continue
        times = text.count(before) if edit.get("replace_all") is True else 1
        if len(text) + times * (len(after) - len(before)) > _LONGEST_RESULT:
            raise _TooLargeError
        text = _bounded(text.replace(before, after, times))
    return text, missing


def _missed(missing: int) -> list[str]:
    return [f"the old text of {missing} edit{'s' * (missing != 1)} is not in the file"] if missing else []


def _compared(old: str, new: str) -> list[str]:
    """With line ends alike, which every line would differ in; the newline at the end is told."""
    before, after = _with_lf(old), _with_lf(new)
    told = []
    if after and (before.endswith("\n") or not before) != after.endswith("\n"):
        told = ["a newline comes at its end" if after.endswith("\n") else "there is no newline at its end"]
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
    except ValueError:
        return OSError(0, "it is no path that a file can have")
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
