"""A permission request in words: everything that would be run or written, never cut, nothing of it markup.

Two different requests never give the same lines. The first two cells of a line say what it is: `! ` a note of ours,
`$ ` and `> ` a command, `| ` a line of a longer text, two spaces or `↳ ` what goes on from the line above; all else
begins with the name of a field. What comes from the request stands behind those, spelled by `core.text.escape.spell`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ccproxy_tui.core.control.frames import AskView
from ccproxy_tui.core.permissions.risk import path_of
from ccproxy_tui.core.permissions.urls import read_url
from ccproxy_tui.core.text.escape import cut, escape_line, spell, spell_json
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.highlight import Span, code_spans, language_of, shell_spans
from ccproxy_tui.screens.ui.pieces import LongLine, Piece, PieceLine, wrapped

_KINDS = {
    "Bash": "run a command",
    "bash": "run a command",
    "apply_patch": "change files",
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
    "expired": "timed out",
    "cancelled": "cancelled by its client, or decided elsewhere",
}
_DIFFERENCE = {"+": "added", "-": "removed"}
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)")
_SHOWN_FIRST = ("command", "cmd", "script", "file_path", "notebook_path", "path", "url", "query")
_COMMANDS = frozenset({"command", "cmd", "script"})
_JOINS = frozenset({"&&", "||", "|", "|&", ";", ";;"})
_HOST = re.compile(r"[A-Za-z][\w+.-]*://([^/?#:]+|\[[^\]]*\])")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PROGRAMS = 8  # that are named
_NAME = 40  # characters of one
_HEADLINE = 500  # characters
_FOLLOW: Piece = ("  ", "")


def head_lines(ask: AskView, width: int, left: float, place: int, count: int) -> list[PieceLine]:
    """Return what it is and for how many seconds it waits still: the one part that changes with the time."""
    return wrapped(_title(ask, left, place, count), width)


def body_lines(ask: AskView, width: int, *, plain: bool = False) -> list[PieceLine]:
    """Return who asks, what to look at, and all that would be run or written.

    `plain` is for a terminal without the signs that stand for tabs and spaces: they are spelled out.
    """
    lines = [_who(ask)]
    if ask.decider:
        lines.append(LongLine(f"decided by {_inline(ask.decider)}", "dim", follow=_FOLLOW))
    if ask.reason:
        lines.append(LongLine(f"why: {_inline(ask.reason)}", "dim", follow=_FOLLOW))
    grave = "error" if ask.high else "strong"
    lines += [LongLine(_inline(note), grave, ("! ", grave), _FOLLOW) for note in ask.notes]
    if len(ask.programs) > 1 or (ask.programs and "\n" in ask.input):
        lines.append(LongLine(f"programs: {_some(ask.programs)} (best effort)", "dim", follow=_FOLLOW))
    lines += [LongLine(""), *_content(ask, ask.input, plain)]
    if ask.edited:
        lines += [LongLine(""), LongLine("Edited. This was allowed:", "error"), *_whole(ask.edited, plain)]
    return [piece for line in lines for piece in wrapped(line, width)]


def difference_lines(difference: Sequence[str], width: int) -> list[PieceLine]:
    """Return a unified difference (without its two lines of names), numbered and wrapped."""
    return [piece for line in _numbered(difference, None, False) for piece in wrapped(line, width)]


def headline(ask: AskView) -> str:
    """Return one line of what is asked, or of what was allowed in its place, for lists."""
    return headline_of(ask.edited or ask.input)


def headline_of(text: str) -> str:
    """Return one line of an input, given as JSON text or the start of it."""
    given = _parsed(text)
    if isinstance(given, dict):
        for name in _SHOWN_FIRST:
            if isinstance(given.get(name), str):
                return _first_line(given[name])
    return escape_line(cut(text, _HEADLINE))


def _first_line(text: str) -> str:
    first, *more = text.strip().split("\n")
    return escape_line(cut(first, _HEADLINE)) + (f" … {len(more)} more line{'s' * (len(more) != 1)}" if more else "")


def _who(ask: AskView) -> LongLine:
    """Two spaces part what is told of it, and stand nowhere else on the line."""
    client = _inline(ask.client)
    parts = [
        client if ask.source in ("", ask.client) else f"{client} by {ask.source}" if client else f"by {ask.source}"
    ]
    parts += [f"model {_inline(ask.model)}"] if ask.model else []
    parts += [f"sub-agent {_inline(ask.agent)}"] if ask.agent else []
    parts += ["o opens its stream"] if ask.exchange else []
    parts += [f"session {_inline(ask.session)}"] if ask.session else []
    first = "  ".join(parts)
    where = f"  in {_inline(ask.cwd)}" if ask.cwd else ""
    return LongLine(first + where, "dim", follow=_FOLLOW, breaks=[len(first) + 2])


def _inline(text: str) -> str:
    return spell(text, inline=True)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _PROGRAMS} more" if len(names) > _PROGRAMS else ""
    return ", ".join(_inline(cut(name, _NAME)) for name in names[:_PROGRAMS]) + more


def _title(ask: AskView, left: float, place: int, count: int) -> LongLine:
    title = _headline(ask)
    if ask.status != "pending":
        told = f" by {_inline(ask.by)}" if ask.by and ask.status in ("allowed", "denied") else ""
        return LongLine(f"{title}  ENDED: {_ENDS[ask.status]}{told}", "error", follow=_FOLLOW)
    grave = "  HIGH" if ask.high else ""
    return LongLine(f"{title}  {place} of {count}{grave}  {words.duration(left)} left", "strong", follow=_FOLLOW)


def _headline(ask: AskView) -> str:
    """Return what is asked for; where only a name that the client gave tells that, with the client before it."""
    if kind := _KINDS.get(ask.tool):
        return f"{_inline(ask.tool)} wants to {kind}"
    return f"{_inline(ask.client or ask.source) or 'a client'} requests: {_inline(ask.tool)}"


# --- what would be run or written ---


def _content(ask: AskView, text: str, plain: bool) -> list[LongLine]:
    covered = frozenset(ask.covers)
    lines = list(_fields(text, covered, plain))
    if ask.preview:
        lines += [LongLine(""), *_numbered(ask.preview, language_of(path_of(_parsed(text))), plain)]
    cut_short = ask.size > len(text.encode("utf-8", "replace")) and not ask.masked
    if cut_short:
        lines += [LongLine(""), LongLine(f"only the start is shown: the whole input has {ask.size:,} bytes", "error")]
    if (cut_short or covered - {"content"}) and ask.digest:  # edits that come to the same are yet different
        lines.append(LongLine(f"sha256 of its input: {ask.digest[:16]}…", "dim", follow=_FOLLOW))
    return lines


def _whole(text: str, plain: bool) -> list[LongLine]:
    return list(_fields(text, frozenset(), plain))


def _fields(text: str, covered: frozenset[str], plain: bool) -> Iterator[LongLine]:
    given = _parsed(text)
    if given is _UNREAD:  # it was cut, or is too deep
        yield from _block(text, plain)
    elif isinstance(given, str) and "\n" in given:
        yield from _block(given, plain)
    elif not isinstance(given, dict) or not given:
        yield from _json(given, plain)
    else:
        first = [name for name in _SHOWN_FIRST if isinstance(given.get(name), str)]
        for name in (*first, *(name for name in given if name not in first)):
            if name not in covered:
                yield from _field(name, given[name], plain)


def _field(name: str, value: Any, plain: bool) -> Iterator[LongLine]:
    label = f"{name if _LABEL.fullmatch(name) else _quoted(name, plain)}:"
    if name in _COMMANDS and isinstance(value, str):
        if name != "command":
            yield LongLine(label, "dim", follow=_FOLLOW)
        yield from _command(value, plain)
    elif not isinstance(value, str) or _is_like_json(value):
        first, *more = _json(value, plain)
        yield LongLine(f"{label} {first.text}", follow=_FOLLOW, spans=[(0, len(label), "dim")])
        yield from more
    elif "\n" in value:
        yield LongLine(label, "dim", follow=_FOLLOW)
        yield from _block(value, plain)
    else:
        shown = f"{label} {spell(value, plain=plain)}"
        spans: list[Span] = [(0, len(label), "dim")]
        if name in _SHOWN_FIRST:
            spans += _address(shown, value, len(label) + 1, name == "url")
        yield LongLine(shown, follow=_FOLLOW, spans=spans)


def _is_like_json(text: str) -> bool:
    """Whether it would be taken for a number, a list, or a text that is quoted; or has spaces around it."""
    if "\n" in text:
        return False
    return text == "" or text != text.strip() or text[0] in '"[{' or _parsed(text) is not _UNREAD


def _json(value: Any, plain: bool) -> list[LongLine]:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return [LongLine(spell_json(line, plain=plain), follow=_FOLLOW) for line in text.split("\n")]


def _quoted(text: str, plain: bool) -> str:
    return spell_json(json.dumps(text, ensure_ascii=False), plain=plain)


def _block(text: str, plain: bool) -> Iterator[LongLine]:
    for line in text.split("\n"):
        yield LongLine(spell(line, plain=plain), "", ("| ", "dim"), _FOLLOW)


def _command(command: str, plain: bool) -> list[LongLine]:
    """As a shell shows it: `$` where it begins, `>` on its further lines, nothing before what is only wrapped."""
    lines = [spell(line, plain=plain) for line in command.split("\n")]
    found = shell_spans("\n".join(lines))
    longs: list[LongLine] = []
    start = 0
    for line in lines:
        spans = [(a - start, b - start, kind) for a, b, kind in found if start <= a and b <= start + len(line)]
        breaks = [end for begin, end, kind in spans if kind == "operator" and line[begin:end] in _JOINS]
        longs.append(LongLine(line, "", (">" if longs else "$", "dim"), spans=spans, breaks=breaks))
        start += len(line) + 1
    return [replace(one, lead=(f"{one.lead[0]} ", "dim"), follow=_FOLLOW) for one in longs]


def _address(shown: str, value: str, start: int, is_url: bool) -> list[Span]:
    """A path or words to look for stand out; of an address its host, where every client reads the same one."""
    if not is_url:
        return [(start, len(shown), "strong")]
    url = read_url(value)
    match = _HOST.match(value)
    if not url.readable or match is None:
        return [(start, len(shown), "error")]
    return [(start + match.start(1), start + match.end(1), "strong")]


def _numbered(preview: Sequence[str], language: str | None, plain: bool) -> list[LongLine]:
    """A difference with the numbers of its lines: of the file as it is for those that go, as it will be for others.

    A hunk that does not say where it begins has none.
    """
    lines: list[LongLine] = []
    old = new = 1
    numbered = True
    for line in preview:
        kind = line[:1]
        if kind not in ("+", "-", " "):
            match = _HUNK.match(line)
            numbered = match is not None or not line.startswith("@@")
            old, new = (int(match[1]), int(match[2])) if match is not None else (1, 1)
            lines.append(LongLine(spell(line, plain=plain), "dim", follow=_FOLLOW))
            continue
        name, code = _DIFFERENCE.get(kind, "dim"), spell(line[1:], plain=plain)
        number = str(old if kind == "-" else new) if numbered else ""
        lead, follow = (f"{number:>4} {kind}", name), ("      ", "")
        if kind == " ":
            lines.append(LongLine(code, "dim", lead, follow))
        else:
            lines.append(LongLine(code, "", lead, follow, code_spans(code, language), ground=name))
        old += kind != "+"
        new += kind != "-"
    return lines


_UNREAD = object()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _UNREAD
