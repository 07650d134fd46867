"""A permission request in words: everything that would be run or written, never cut, nothing of it markup."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ccproxy_tui.core.escape import escape_line
from ccproxy_tui.core.frames import AskView
from ccproxy_tui.core.permissions.risk import path_of
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.highlight import code_spans, language_of, shell_spans
from ccproxy_tui.screens.ui.pieces import LongLine, PieceLine, wrapped

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
_COMMANDS = frozenset({"command", "cmd", "script"})
_JOINS = frozenset({"&&", "||", "|", "|&", ";", ";;"})
_HOST = re.compile(r"[A-Za-z][\w+.-]*://(?:[^/?#@]*@)?([^/?#:]+|\[[^\]]*\])")
_PROGRAMS = 8  # that are named
_WHOLE = ("@@", "new file", "overwrites")  # how a difference begins in which nothing of the input is missing
_IN_DIFFERENCE = frozenset({"content", "old_string", "new_string", "edits", "replace_all"})


def head_lines(ask: AskView, width: int, now: float, place: int, count: int) -> list[PieceLine]:
    """What it is and how long it waits: the one part that changes with the time."""
    return wrapped(_title(ask, now, place, count), width)


def body_lines(ask: AskView, width: int) -> list[PieceLine]:
    """Who asks, what to look at, and all that would be run or written."""
    who = [ask.client or ask.source, f"session {_short(ask.session)}" if ask.session else "", ask.model]
    who += [f"sub-agent {ask.agent}" if ask.agent else "", "o opens its stream" if ask.exchange else ""]
    first = escape_line("  ".join(part for part in who if part))
    where = escape_line(f"  in {ask.cwd}") if ask.cwd else ""
    lines = [LongLine(first + where, "dim", breaks=[len(first) + 2])]
    if ask.decider:
        lines.append(LongLine(escape_line(f"decided by {ask.decider}"), "dim"))
    if ask.reason:
        lines.append(LongLine(escape_line(f"why: {ask.reason}"), "dim"))
    grave = "error" if ask.high else "strong"
    lines += [LongLine(escape_line(note), grave, ("! ", grave), ("  ", "")) for note in ask.notes]
    if len(ask.programs) > 1 or (ask.programs and "\n" in ask.input):
        lines.append(LongLine(escape_line(f"runs {_some(ask.programs)}, as far as can be told"), "dim"))
    lines += [LongLine(""), *_content(ask)]
    return [piece for line in lines for piece in wrapped(line, width)]


def difference_lines(difference: Sequence[str], width: int) -> list[PieceLine]:
    """A unified difference (without its two lines of names), numbered and wrapped."""
    return [piece for line in _numbered(difference, None) for piece in wrapped(line, width)]


def _short(session: str) -> str:
    """Enough of a long id to tell one from another."""
    return session if len(session) <= 12 else f"{session[:8]}…"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _PROGRAMS} more" if len(names) > _PROGRAMS else ""
    return ", ".join(name if len(name) <= 40 else f"{name[:40]}…" for name in names[:_PROGRAMS]) + more


def _title(ask: AskView, now: float, place: int, count: int) -> LongLine:
    what = _KINDS.get(ask.tool, "")
    title = f"{ask.tool}{f' wants to {what}' if what else ' wants to run'}"
    if ask.status != "pending":
        told = f" by {ask.by}" if ask.by else ""
        return LongLine(escape_line(f"{title}  OVER: {_ENDS[ask.status]}{told}"), "error")
    grave = "  HIGH" if ask.high else ""
    left = words.duration(max(ask.expires - now, 0))
    return LongLine(escape_line(f"{title}  {place} of {count}{grave}  {left} left"), "strong")


def headline(ask: AskView) -> str:
    """One line of what is asked, for lists."""
    given = _parsed(ask)
    if isinstance(given, dict):
        for name in _SHOWN_FIRST:
            if isinstance(given.get(name), str):
                return escape_line(given[name].strip().split("\n")[0])
    return escape_line(ask.input[:500])


def _content(ask: AskView) -> list[LongLine]:
    given = _parsed(ask)
    if not isinstance(given, dict):
        return _block(ask.input if given is None else json.dumps(given, indent=2, ensure_ascii=False)) + _rest_of(ask)
    lines: list[LongLine] = []
    for name in _SHOWN_FIRST:
        if isinstance(given.get(name), str):
            lines += _command(given[name]) if name in _COMMANDS else _address(given[name], name == "url")
    hidden = _IN_DIFFERENCE if ask.preview and ask.preview[0].startswith(_WHOLE) else frozenset()
    for name, value in given.items():
        if name not in hidden and not (name in _SHOWN_FIRST and isinstance(value, str)):
            lines += _field(name, value)
    if ask.preview:
        lines += [LongLine(""), *_numbered(ask.preview, language_of(path_of(given)))]
    return lines + _rest_of(ask)


def _command(command: str) -> list[LongLine]:
    """As a shell shows it: `$` where it begins, `>` on its further lines, nothing before what is only wrapped."""
    lines = [_visible(line) for line in command.split("\n")]
    found = shell_spans("\n".join(lines))
    longs: list[LongLine] = []
    start = 0
    for line in lines:
        spans = [(a - start, b - start, kind) for a, b, kind in found if start <= a and b <= start + len(line)]
        breaks = [end for begin, end, kind in spans if kind == "operator" and line[begin:end] in _JOINS]
        longs.append(LongLine(line, "", (">" if longs else "$", "dim"), spans=spans, breaks=breaks))
        start += len(line) + 1
    return [replace(one, lead=(f"{one.lead[0]} ", "dim"), follow=("  ", "")) for one in longs]


def _address(text: str, is_url: bool) -> list[LongLine]:
    """A path, an address with its host standing out, or words to look for."""
    match = _HOST.match(text) if is_url and "\n" not in text else None
    if match is None:
        return _block(text, "strong")
    start, end = (len(_visible(text[:place])) for place in match.span(1))
    return [LongLine(_visible(text), "", spans=[(start, end, "strong")])]


def _numbered(preview: Sequence[str], language: str | None) -> list[LongLine]:
    """A difference with the numbers of its lines: of the file as it is for those that go, as it will be for others."""
    lines: list[LongLine] = []
    old = new = 1
    for line in preview:
        kind = line[:1]
        if (match := _HUNK.match(line)) is not None:
            old, new = int(match[1]), int(match[2])
        if kind not in ("+", "-", " "):
            lines.append(LongLine(_visible(line), "dim"))
            continue
        name, code = _DIFFERENCE.get(kind, "dim"), _visible(line[1:])
        lead, follow = (f"{old if kind == '-' else new:>4} {kind}", name), ("      ", "")
        if kind == " ":
            lines.append(LongLine(code, "dim", lead, follow))
        else:
            lines.append(LongLine(code, "", lead, follow, code_spans(code, language), ground=name))
        old += kind != "+"
        new += kind != "-"
    return lines


def _rest_of(ask: AskView) -> list[LongLine]:
    """Nothing is cut without saying so. (A masked secret changes the length; then the notes say it.)"""
    if ask.size <= len(ask.input.encode("utf-8", "replace")) or (ask.masked and _parsed(ask) is not None):
        return []
    return [LongLine(""), LongLine(f"this is the start: the whole input has {ask.size:,} bytes", "error")]


def _field(name: str, value: Any) -> list[LongLine]:
    label = f"{escape_line(name)}:"
    if isinstance(value, str):
        lines = _block(value)
        return (
            [LongLine(lines[0].text, "", (f"{label} ", "dim"))] if len(lines) == 1 else [LongLine(label, "dim"), *lines]
        )
    first, *more = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    return [LongLine(_visible(first), "", (f"{label} ", "dim")), *(LongLine(_visible(line)) for line in more)]


def _block(text: str, style: str = "") -> list[LongLine]:
    return [LongLine(_visible(line), style) for line in text.split("\n")]


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
