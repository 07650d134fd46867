"""What a conversion did, in lines: the report, then both bodies side by side as a diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import msgspec

from ccproxy_tui.core.escape import escape_line
from ccproxy_tui.core.frames import NoteView

Line = tuple[str, str]  # text, style name

COMPARED = 1500  # lines of each body: finding differences takes the square of this
_LONG = 240
_CONTEXT = 2
_STYLES = {"dropped": "error", "emulated": "strong", "changed": "strong", "injected": "added", "defaulted": "added"}
UNTOUCHED = "The request went upstream as it came."


def note_lines(notes: Sequence[NoteView], source: str, target: str) -> list[Line]:
    """One line a note, in the order in which things happened."""
    if source and target and source != target:
        title = f"{source.replace('_', ' ')} -> {target.replace('_', ' ')}"
    elif notes:
        title = "the same dialect, put right for this provider"
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


def diff_lines(client: bytes, upstream: bytes) -> list[Line]:
    """What the client sent against what the upstream was sent, as JSON with its lines compared."""
    before, after = _pretty(client), _pretty(upstream)
    if before == after:
        return []
    cut = max(len(before), len(after)) > COMPARED
    lines: list[Line] = [("", ""), ("- the client's body   + what was sent upstream", "dim")]
    lines += _changes(before[:COMPARED], after[:COMPARED])
    if cut:
        lines.append((f"(the first {COMPARED:,} lines of each are compared)", "dim"))
    return lines


def _changes(before: list[str], after: list[str]) -> Iterator[Line]:
    for line in difflib.unified_diff(before, after, lineterm="", n=_CONTEXT):
        if line.startswith(("---", "+++")):
            continue
        style = {"+": "added", "-": "removed", "@": "dim"}.get(line[:1], "")
        yield escape_line("…" if line.startswith("@@") else line), style


def _pretty(body: bytes) -> list[str]:
    try:
        text = msgspec.json.format(body, indent=2).decode("utf-8", "replace")
    except msgspec.DecodeError:
        text = body.decode("utf-8", "replace")
    return [line if len(line) <= _LONG else f"{line[:_LONG]}… ({len(line):,} characters)" for line in text.split("\n")]
