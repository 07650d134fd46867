"""A permission request in words: everything that would be run or written, never cut, nothing of it markup."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rich.cells import chop_cells

from ccproxy_tui.core.escape import escape_line
from ccproxy_tui.core.frames import AskView
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.widgets.detail_view import Line

_KINDS = {
    "Bash": "run a command",
    "bash": "run a command",
    "edit": "edit a file",
    "webfetch": "fetch a page",
    "Write": "write a file",
    "Edit": "edit a file",
    "MultiEdit": "edit a file",
    "NotebookEdit": "edit a notebook",
    "Read": "read a file",
    "WebFetch": "fetch a page",
    "WebSearch": "search the web",
    "Task": "start an agent",
}
_ENDS = {
    "allowed": "allowed",
    "denied": "denied",
    "expired": "its time ran out",
    "cancelled": "its asker has left, or was answered elsewhere",
}
# They look like spaces, and no shell takes them for one.
_ODD_SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]")
_DIFFERENCE = {"+": "added", "-": "removed"}
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)")
_SHOWN_FIRST = ("command", "cmd", "script", "file_path", "notebook_path", "path", "url", "query")
_IN_DIFFERENCE = frozenset({"content", "old_string", "new_string", "edits", "replace_all"})


def card_lines(ask: AskView, width: int, now: float, place: int, count: int) -> list[Line]:
    """The whole card, wrapped at `width`."""
    lines: list[Line] = [_title(ask, now, place, count)]
    who = [ask.client or ask.source, f"session {ask.session}" if ask.session else "", ask.model]
    who += [f"sub-agent {ask.agent}" if ask.agent else "", "o opens its stream" if ask.exchange else ""]
    lines.append((escape_line("  ".join(part for part in who if part)), "dim"))
    if ask.cwd:
        lines.append((escape_line(f"in {ask.cwd}"), "dim"))
    if ask.reason:
        lines.append((escape_line(f"why: {ask.reason}"), "dim"))
    if ask.notes:
        lines.append((escape_line(f"look at: {', '.join(ask.notes)}"), "error" if ask.high else "strong"))
    lines.append(("", ""))
    lines += _body(ask)
    return [(piece, style) for text, style in lines for piece in _wrapped(text, width)]


def _title(ask: AskView, now: float, place: int, count: int) -> Line:
    what = _KINDS.get(ask.tool, "")
    title = f"{ask.tool}{f' wants to {what}' if what else ' wants to run'}"
    if ask.status != "pending":
        told = f" by {ask.by}" if ask.by else ""
        return escape_line(f"{title}  OVER: {_ENDS[ask.status]}{told}"), "error"
    grave = "  HIGH" if ask.high else ""
    left = words.duration(max(ask.expires - now, 0))
    return escape_line(f"{title}  {place} of {count}{grave}  {left} left"), "strong"


def headline(ask: AskView) -> str:
    """One line of what is asked, for lists."""
    given = _parsed(ask)
    if isinstance(given, dict):
        for name in _SHOWN_FIRST:
            if isinstance(given.get(name), str):
                return escape_line(given[name].strip().split("\n")[0])
    return escape_line(ask.input[:500])


def _body(ask: AskView) -> list[Line]:
    given = _parsed(ask)
    if not isinstance(given, dict):
        return _block(ask.input if given is None else json.dumps(given, indent=2, ensure_ascii=False)) + _rest_of(ask)
    lines: list[Line] = []
    for name in _SHOWN_FIRST:
        if isinstance(given.get(name), str):
            lines += _block(given[name], "strong")
    hidden = _IN_DIFFERENCE if ask.preview else frozenset()
    rest = {
        name: value
        for name, value in given.items()
        if name not in hidden and not (name in _SHOWN_FIRST and isinstance(value, str))
    }
    for name, value in rest.items():
        lines += _field(name, value)
    if ask.preview:
        lines.append(("", ""))
        lines += _numbered(ask.preview)
    return lines + _rest_of(ask)


def _numbered(preview: Sequence[str]) -> list[Line]:
    """A difference with the numbers of its lines: of the file as it is for those that go, as it will be for others."""
    lines: list[Line] = []
    old = new = 1
    for line in preview:
        kind = line[:1]
        if (match := _HUNK.match(line)) is not None:
            old, new = int(match[1]), int(match[2])
        if kind not in ("+", "-", " "):
            lines.append((_visible(line), "dim"))
            continue
        lines.append((f"{old if kind == '-' else new:>4} {_visible(line)}", _DIFFERENCE.get(kind, "dim")))
        old += kind != "+"
        new += kind != "-"
    return lines


def _rest_of(ask: AskView) -> list[Line]:
    """Nothing is cut without saying so. (A masked secret changes the length; then the notes say it.)"""
    if ask.size <= len(ask.input.encode("utf-8", "replace")) or (ask.masked and _parsed(ask) is not None):
        return []
    return [("", ""), (f"this is the start: the whole input has {ask.size:,} bytes", "error")]


def _field(name: str, value: Any) -> list[Line]:
    if isinstance(value, str):
        lines = _block(value)
        if len(lines) == 1:
            return [(f"{escape_line(name)}: {lines[0][0]}", "")]
        return [(f"{escape_line(name)}:", "dim"), *lines]
    text = json.dumps(value, indent=2, ensure_ascii=False)
    first, *more = text.split("\n")
    return [(_visible(f"{name}: {first}"), ""), *((_visible(line), "") for line in more)]


def _block(text: str, style: str = "") -> list[Line]:
    return [(_visible(line), style) for line in text.split("\n")]


def _visible(line: str) -> str:
    """What can't be seen, spelled out: controls, tabs, spaces at the end."""
    shown = _ODD_SPACES.sub(lambda match: f"\\u{ord(match[0]):04x}", escape_line(line.replace("\t", "→   ")))
    bare = shown.rstrip(" ")
    return bare + "·" * (len(shown) - len(bare))


def _parsed(ask: AskView) -> Any:
    try:
        return json.loads(ask.input)
    except (ValueError, RecursionError):
        return None  # it was cut, or is too deep: its text is shown


def _wrapped(text: str, width: int) -> list[str]:
    return chop_cells(text, width) if text and width > 0 else [text]
