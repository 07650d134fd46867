r"""Makes text from models, clients and files safe to put on a terminal: what can't be seen is spelled out.

Control characters, bidirectional overrides, zero-width characters and lone surrogates become `\x1b`, `\u202e` and the
like, so that no text can move the cursor, hide itself, or read differently from what it does.
"""

from __future__ import annotations

import json
import re

# Controls, line and paragraph separators, surrogates, and what Unicode 16 calls default ignorable or a format character
# (https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt). Two kinds of these are seen and so are left:
# signs that enclose Arabic, Syriac and Kaithi numbers, and the selectors that make a sign an emoji (U+FE00 to U+FE0F).
_HIDDEN = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\ud800-\udfff"
)
_LINE = re.compile(f"[\x00-\x1f{_HIDDEN}]")
HIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f{_HIDDEN}]")  # newlines and tabs aside
_PIECE = 65_536
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _spell(match: re.Match[str]) -> str:
    char = match.group()
    if char in _NAMED:
        return _NAMED[char]
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_line(text: str) -> str:
    """`text` on one line: newlines and tabs are spelled out as well."""
    return _LINE.sub(_spell, text)


def escape_block(text: str) -> str:
    """`text` with its newlines and tabs kept."""
    return HIDDEN.sub(_spell, text)


def escape_json(text: str) -> str:
    """JSON that means the same, with what hides spelled as JSON spells it."""
    return HIDDEN.sub(lambda match: json.dumps(match.group())[1:-1], text)


def has_hidden(text: str) -> bool:
    """Whether `text` holds a character that `escape_block` would spell out (CR before LF aside)."""
    text = text.replace("\r\n", "\n")
    # Piece by piece: a search of megabytes would hold the interpreter's lock for as long.
    return any(HIDDEN.search(text, start, start + _PIECE) for start in range(0, len(text), _PIECE))
