"""Names and ids, made legal for a target: always in the same way, so that pairs stay pairs and prefixes stay stable."""

from __future__ import annotations

import hashlib
import re

from ccproxy_tui.core.formats.report import Report

_LEGAL = re.compile(r"[a-zA-Z0-9_-]+")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")
_DIGITS = 10


def fit(value: str, limit: int) -> str:
    """`value` when it is made of letters, digits, `_` and `-` and at most `limit` long; else a legal stand-in.

    The stand-in keeps the head and the tail (where the words that tell tools apart are) and ends with a hash of the
    whole, so that no two values share one.
    """
    if len(value) <= limit and _LEGAL.fullmatch(value):
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    plain = _ILLEGAL.sub("_", value).strip("_")
    room = limit - _DIGITS - 1
    if len(plain) > room:
        head = (room - 1) // 2
        plain = f"{plain[:head]}_{plain[-(room - 1 - head) :]}"
    return f"{plain}_{digest}" if plain else f"x_{digest}"


def fit_id(value: str, limit: int, report: Report, *, any_letters: bool = False) -> str:
    """An id of a call, legal for the target; said in the report when it had to change."""
    legal = fit_length(value, limit) if any_letters else fit(value, limit)
    if legal != value:
        report.renamed("tool call id", "the target wants shorter or plainer ids; calls and results stay pairs", value)
    return legal


def fit_length(value: str, limit: int) -> str:
    """`value` when it is short enough, whatever it is made of; else a stand-in as `fit` makes it."""
    return value if 0 < len(value) <= limit else fit(value, limit)
