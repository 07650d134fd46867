"""Keys that a JSON object holds twice. Parsers differ in which of the two values they take (RFC 8259, section 4)."""

from __future__ import annotations

import json
from typing import Any

_LONGEST = 60  # characters of a key in a message


class KeyTwice(ValueError):
    """An object holds a key twice. The message names it."""


def load(text: str) -> Any:
    """Return the value that a JSON text is. Raises KeyTwice; ValueError and RecursionError as `json.loads`."""
    return json.loads(text, object_pairs_hook=_object)


def check(raw: bytes) -> None:
    """Look through JSON that has been read once. Raises KeyTwice, RecursionError."""
    json.loads(raw.decode("utf-8"), object_pairs_hook=_forget, parse_int=len, parse_float=len, parse_constant=len)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise KeyTwice(f"the key {key[:_LONGEST]!r} is there twice in one object, and tools may take either value")
    return values


def _forget(pairs: list[tuple[str, Any]]) -> None:
    """Keep nothing of an object that has been looked at."""
    _object(pairs)
