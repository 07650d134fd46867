"""What a conversion did, in lines: the report, then both bodies side by side as a diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import msgspec

from ccproxy_tui.core.control.frames import NoteView
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui.words import fit

Line = tuple[str, str]  # text, style name

COMPARED = 1500  # lines of each body: finding differences takes the square of this
_LONG = 240
_CONTEXT = 2
SIDE_BY_SIDE = 110  # columns
_STYLES = {"dropped": "error", "emulated": "strong", "changed": "strong", "injected": "added", "defaulted": "added"}
UNTOUCHED = "Not converted: relayed byte for byte."


def note_lines(notes: Sequence[NoteView], source: str, target: str) -> list[Line]:
    """One line a note, in the order in which things happened."""
    if source and target and source != target:
        title = f"{source.replace('_', ' ')} -> {target.replace('_', ' ')}"
    elif notes:
        title = "same dialect, adjusted for this provider"
    else:
        return [(UNTOUCHED, "dim")]
    lines: list[Line] = [(title, "strong")]
    if not notes:
        lines.append(("nothing was lost", "dim"))
    for note in notes:
        times = f" ({note.count} times)" if note.count > 1 else ""
        example = f"  [{note.example}]" if note.example else ""
        text = f"{note.action:<9} {note.field}{times}  {note.reason}{example}"
        lines.append((escape_line(text), _STYLES.get(note.action, "")))
    return lines


def diff_lines(client: bytes, upstream: bytes, width: int = 0) -> list[Line]:
    """What the client sent against what the upstream was sent, as JSON with its lines compared.

    From `SIDE_BY_SIDE` columns on the two stand beside each other; in less room one below the other.
    """
    before, after = _pretty(client), _pretty(upstream)
    if before == after:
        return []
    cut = max(len(before), len(after)) > COMPARED
    before, after = before[:COMPARED], after[:COMPARED]
    lines: list[Line] = [("", "")]
    if width >= SIDE_BY_SIDE:
        lines += _beside(before, after, (width - 3) // 2)
    else:
        lines += [("- the client's body   + what was sent upstream", "dim"), *_below(before, after)]
    if cut:
        lines.append((f"(the first {COMPARED:,} lines of each are compared)", "dim"))
    return lines


def _below(before: list[str], after: list[str]) -> Iterator[Line]:
    for line in difflib.unified_diff(before, after, lineterm="", n=_CONTEXT):
        if line.startswith(("---", "+++")):
            continue
        style = {"+": "added", "-": "removed", "@": "dim"}.get(line[:1], "")
        yield escape_line("…" if line.startswith("@@") else line), style


def _beside(before: list[str], after: list[str], half: int) -> Iterator[Line]:
    def row(left: str, right: str, style: str) -> Line:
        return f"{fit(escape_line(left), half)} │ {fit(escape_line(right), half)}".rstrip(), style

    yield row("the client's body", "what was sent upstream", "dim")
    for group in difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(_CONTEXT):
        yield "…", "dim"
        for kind, i1, i2, j1, j2 in group:
            style = {"insert": "added", "delete": "removed", "replace": "strong"}.get(kind, "")
            for left, right in zip_longest(before[i1:i2], after[j1:j2], fillvalue=""):
                yield row(left, right, style)


def _pretty(body: bytes) -> list[str]:
    try:
        text = msgspec.json.format(body, indent=2).decode("utf-8", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
    return [line if len(line) <= _LONG else f"{line[:_LONG]}… ({len(line):,} characters)" for line in text.split("\n")]
