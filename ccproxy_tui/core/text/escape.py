r"""Make text from models, clients and files safe to put on a terminal: characters that are not seen are spelled out.

Control characters, bidirectional overrides, zero-width characters and lone surrogates become `\x1b`, `\u202e` and the
like, so that no text can move the cursor, hide itself, or read differently from what it does. `spell` goes further, for
the places where someone decides: two different texts never come out alike.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator

# Controls, line and paragraph separators, surrogates, and what Unicode 16 calls default ignorable or a format character
# (https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt). Two kinds of these are seen and so are left:
# signs that enclose Arabic, Syriac and Kaithi numbers, and the selectors that make a sign an emoji (U+FE00 to U+FE0F).
# The blank Braille pattern and the object replacement character are not in that list and are not seen either.
_HIDDEN = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ufeff\uffa0\ufff0-\ufffc\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\ud800-\udfff"
)
# Code points with the property Emoji, ASCII aside (https://www.unicode.org/Public/16.0.0/ucd/emoji/emoji-data.txt).
_EMOJI = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2"
    "\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2604\u260e\u2611\u2614\u2615\u2618\u261d\u2620\u2622\u2623\u2626"
    "\u262a\u262e\u262f\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f\u2660\u2663\u2665\u2666\u2668\u267b\u267e\u267f"
    "\u2692-\u2697\u2699\u269b\u269c\u26a0\u26a1\u26a7\u26aa\u26ab\u26b0\u26b1\u26bd\u26be\u26c4\u26c5\u26c8\u26ce"
    "\u26cf\u26d1\u26d3\u26d4\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702\u2705\u2708-\u270d\u270f\u2712\u2714"
    "\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763\u2764\u2795-\u2797\u27a1"
    "\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f004\U0001f0cf"
    "\U0001f170\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a\U0001f201\U0001f202\U0001f21a\U0001f22f"
    "\U0001f232-\U0001f23a\U0001f250\U0001f251\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7f0"
    "\U0001f90c-\U0001f9ff\U0001fa70-\U0001faff"
)
# A selector that does not stand directly after an emoji, or a digit that is drawn as a key, selects nothing: sixteen of
# them are an alphabet that is not seen.
_SELECTOR = rf"[\ufe00-\ufe0d]|(?<![{_EMOJI}0-9#*])[\ufe0e\ufe0f]|(?<=[0-9#*])\ufe0e|(?<=[0-9#*])\ufe0f(?!\u20e3)"
HIDDEN = re.compile(f"[\x00-\x08\x0b-\x1f{_HIDDEN}]")  # newlines and tabs aside
STRICT = re.compile(f"{HIDDEN.pattern}|{_SELECTOR}")
_LINE = re.compile(f"[\x00-\x1f{_HIDDEN}]|{_SELECTOR}")
ODD_SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")  # they look like spaces, and no shell takes them
_PIECE = 65_536
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _spell(match: re.Match[str]) -> str:
    return _NAMED.get(match.group()) or _code(match.group())


def _code(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_line(text: str) -> str:
    """`text` on one line: newlines and tabs are spelled out as well."""
    return _LINE.sub(_spell, text)


def escape_block(text: str) -> str:
    """`text` with its newlines and tabs kept; selectors of emoji as well, which a stream may part from them."""
    return HIDDEN.sub(_spell, text)


def escape_json(text: str) -> str:
    """JSON that means the same, with what hides spelled as JSON spells it."""
    return STRICT.sub(lambda match: json.dumps(match.group())[1:-1], text)


def has_hidden(text: str) -> bool:
    """Whether `text` holds a character that `escape_line` would spell out (newlines and tabs aside)."""
    text = text.replace("\r\n", "\n")
    # Piece by piece: a search of megabytes would hold the interpreter's lock for as long.
    return any(STRICT.search(text, start, start + _PIECE) for start in range(0, len(text), _PIECE))


# --- where someone decides ---

TAB, SPACE = "→   ", "·"  # as a tab, and a space at the end of a line, are drawn
_CODE = re.compile(r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}")
_DRAWN = re.compile("[\u2026\u2190-\u21ff\u2500-\u25ff]")  # what terminals without these signs get other ones for
_MARKS = ("Mn", "Mc", "Me")
_MOST_MARKS = 2  # combining marks on one letter that are drawn
_UNKNOWN = ("Cn", "Co")  # no font is known to have them


def spell(line: str, *, plain: bool = False, inline: bool = False) -> str:
    r"""Return one line of text so that no two different ones come out alike, and nothing in it hides.

    Besides what `escape_line` spells out: spaces that are not U+0020; what Unicode holds for the same as other text (a
    letter and its accent apart, the Kelvin sign); marks without a letter of their script before them, or more than two
    of them; what is not assigned. A backslash that stands where one of ours could (`\u202e` typed as six characters) is
    doubled. Tabs and spaces at the end are drawn as `→   ` and `·`, or with `plain` spelled out, as are the signs that
    terminals without them get others for. `inline` is for a text between others: what it returns has no tab, no space
    at its ends and no two side by side.
    """
    if (
        line.isascii()
        and line.isprintable()
        and "\\" not in line
        and not (line.endswith(" ") or (inline and (line.startswith(" ") or "  " in line)))
    ):
        return line
    parts: list[str] = []
    run = 0  # of backslashes, which are twice as many before a code, or what reads as one
    for place, (char, shown) in enumerate(zip(line, _visible(line, plain, inline), strict=True)):
        if char == "\\":
            run += 1
            continue
        if run:
            is_code = shown.startswith("\\") or _CODE.match(line, place)
            parts.append("\\" * (run * 2 if is_code else run))
            run = 0
        parts.append(shown)
    return "".join([*parts, "\\" * run])


def spell_json(line: str, *, plain: bool = False) -> str:
    """Return a line of JSON, where a backslash is unambiguous, with what `spell` spells out as JSON has it."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        char if char == "\\" or not shown.startswith("\\") else _json_code(char)
        for char, shown in zip(line, _visible(line, plain, False), strict=True)
    )


def _json_code(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _visible(text: str, plain: bool, inline: bool) -> Iterator[str]:
    """Yield each character as it is, or as its code."""
    hidden = {match.start() for match in _LINE.finditer(text)}
    end = len(text.rstrip(" "))
    base, marks = "", 0
    for place, char in enumerate(text):
        if char == " ":
            is_seen = place < end and not (inline and (place == 0 or text[place - 1] == " "))
            yield char if is_seen else "\\x20" if plain or inline else SPACE
        elif char == "\t":
            yield "\\x09" if plain or inline else TAB
        elif place in hidden or char == SPACE or (char == TAB[0] and text.startswith(TAB, place)):
            yield _code(char)
        elif char.isascii():
            yield char
        elif char in "\ufe0e\ufe0f":
            yield char
            continue
        elif unicodedata.category(char) in _MARKS:
            marks += 1
            yield char if marks <= _MOST_MARKS and _belongs(char, base, text[place - 1 : place]) else _code(char)
            continue
        else:
            yield _code(char) if _is_odd(char) or (plain and _DRAWN.match(char)) else char
        base, marks = char, 0


def _is_odd(char: str) -> bool:
    return (
        ODD_SPACES.match(char) is not None
        or unicodedata.category(char) in _UNKNOWN
        or unicodedata.normalize("NFC", char) != char
    )


def _belongs(mark: str, base: str, before: str) -> bool:
    """Whether a mark is one of its base's script, or of any, and is not the second half of what is one character."""
    if mark == "\u20e3":
        return base in tuple("0123456789#*")
    pairs = (base + mark, before + mark)
    if not base.isalpha() or any(unicodedata.normalize("NFC", pair) != pair for pair in pairs):
        return False
    script = unicodedata.name(mark, "").split(" ")[0]
    return script == "COMBINING" or script == unicodedata.name(base, "?").split(" ")[0]


def cut(text: str, most: int) -> str:
    """Return the start of a text, and how much more there is of it: nothing is cut without a mark."""
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}… {more:,} more character{'s' * (more != 1)}"
