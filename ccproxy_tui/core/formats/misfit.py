"""Checked access to JSON that strangers sent: what does not fit is refused with the path of the field."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

Word = TypeVar("Word", bound=str)
Path = tuple[str | int, ...]
Object = dict[str, Any]

_WORDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


class Misfit(Exception):
    """A value that the dialect does not allow, or that the target can't express. The path grows on the way up."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.path: Path = path

    def inside(self, *path: str | int) -> Misfit:
        self.path = (*path, *self.path)
        return self

    def dotted(self) -> str:
        """`messages.3.content`: how Anthropic writes a path."""
        return ".".join(map(str, self.path))

    def bracketed(self) -> str:
        """`messages[3].content`: how OpenAI writes a path."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".")


def word(value: object) -> str:
    """What kind of value this is, in words for a message."""
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else _WORDS[type(value)]


def refuse(wanted: str, value: object, *path: str | int) -> NoReturn:
    raise Misfit(f"Input should be {wanted}, not {word(value)}.", *path)


def as_object(value: object, *path: str | int) -> Object:
    if not isinstance(value, dict):
        refuse("an object", value, *path)
    return value


def as_list(value: object, *path: str | int) -> list[Any]:
    if not isinstance(value, list):
        refuse("a list", value, *path)
    return value


def as_string(value: object, *path: str | int) -> str:
    if not isinstance(value, str):
        refuse("a string", value, *path)
    return value


def string(values: Object, key: str) -> str:
    """A string that must be there."""
    if key not in values:
        raise Misfit("This field is required.", key)
    return as_string(values[key], key)


def maybe_string(values: Object, key: str) -> str | None:
    """A string, or None when the field is missing or null."""
    value = values.get(key)
    return None if value is None else as_string(value, key)


def maybe_object(values: Object, key: str) -> Object | None:
    value = values.get(key)
    return None if value is None else as_object(value, key)


def maybe_list(values: Object, key: str) -> list[Any]:
    """A list; an empty one when the field is missing or null."""
    value = values.get(key)
    return [] if value is None else as_list(value, key)


def maybe_strings(values: Object, key: str) -> list[str]:
    return [as_string(value, key, place) for place, value in enumerate(maybe_list(values, key))]


def maybe_bool(values: Object, key: str) -> bool | None:
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        refuse("true or false", value, key)
    return value


def maybe_int(values: Object, key: str) -> int | None:
    value = values.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        refuse("a whole number", value, key)
    return value


def maybe_number(values: Object, key: str) -> float | None:
    value = values.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        refuse("a number", value, key)
    return value


def one_of(values: Object, key: str, allowed: tuple[Word, ...]) -> Word | None:
    """One of the allowed words, or None when the field is missing or null."""
    value = maybe_string(values, key)
    for one in allowed:
        if value == one:
            return one
    if value is None:
        return None
    raise Misfit(f"Input should be one of {', '.join(map(repr, allowed))}, not {value[:60]!r}.", key)
