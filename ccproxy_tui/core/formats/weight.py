"""How much memory a JSON body would take once it is taken apart, told from its bytes before that happens.

`[[],[],...]` is twenty times as large in memory as on the wire, and a text with one emoji in it four times as large as
without. No real body comes near the limit: what is large in them is text and images.
"""

from __future__ import annotations

import re

from ccproxy_tui.core.limits import MB

WEIGHED_FROM = 1 * MB
VALUES_ALLOWANCE = 80 * MB  # a hundred thousand messages, the most that Anthropic takes
WIDTH_ALLOWANCE = 32 * MB  # ten million bytes of text with emoji: more than any context window
# Bytes of memory for a value of each kind: parsed, as our own objects, and as written for the other side. Measured.
_OBJECT, _LIST, _VALUE = 600, 200, 100

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WIDE_ESCAPE = re.compile(rb"\\u(?!00)")
_CONTINUATION = bytes(range(0x80, 0xC0))
_ASTRAL = bytes(range(0xF0, 0xF8))


def is_too_heavy(raw: bytes) -> bool:
    """Return whether `raw`, taken apart, needs more than its size and an allowance, beyond its bytes as plain text."""
    if len(raw) < WEIGHED_FROM:
        return False
    return _has_too_many_values(raw, len(raw) + VALUES_ALLOWANCE) or _width(raw) > len(raw) + WIDTH_ALLOWANCE


def _has_too_many_values(raw: bytes, budget: int) -> bool:
    """Whether objects, lists and values weigh more than `budget`. Strings are left out only where it matters."""
    if _count(raw) <= budget:
        return False
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # every quote that is left begins or ends a string
    weight = inside = 0
    for start in range(0, len(bare), MB):
        parts = bare[start : start + MB].split(b'"')
        weight += _count(b"".join(parts[inside::2]))
        inside ^= (len(parts) - 1) & 1
        if weight > budget:
            return True
    return False


def _count(raw: bytes) -> int:
    return raw.count(b"{") * _OBJECT + raw.count(b"[") * _LIST + raw.count(b",") * _VALUE


def _width(raw: bytes) -> int:
    """What texts take beyond one byte a character: Python holds each as wide as its widest one."""
    if raw.isascii() and b"\\u" not in raw:
        return 0
    return sum(_extra(match.group()) for match in _STRING.finditer(raw))


def _extra(text: bytes) -> int:
    escaped = b"\\u" in text
    if not escaped and text.isascii():
        return 0
    characters = len(text.translate(None, _CONTINUATION))
    if len(text.translate(None, _ASTRAL)) < len(text) or (escaped and b"\\ud" in text.lower()):
        wide = 4
    elif _WIDE_ESCAPE.search(text) if escaped else len(text.translate(None, b"\xc2\xc3" + _CONTINUATION)) > 0:
        wide = 2
    else:
        wide = 1
    return (wide - 1) * characters + len(text)  # and once more as UTF-8, when it is written again
