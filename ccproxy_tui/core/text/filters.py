"""The `/` language: `model:opus status:>=400 client:aider !demo text`. Words are and-ed, `!` inverts one."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Value = str | int | float | None
_COMPARE = re.compile(r"^(>=|<=|>|<|=)?(-?\d+(?:\.\d+)?)([kms]?)$", re.IGNORECASE)
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "s": 1.0}
_WORD = re.compile(r'!?(?:[A-Za-z_]+:)?(?:"[^"]*"?|\S+)')


class FilterError(Exception):
    """The filter can't be understood; the message says why."""


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a filter. An empty `field` looks at the text of every field."""

    field: str
    text: str
    inverted: bool = False
    compare: Callable[[float, float], bool] | None = None
    number: float = 0.0

    def matches(self, values: Mapping[str, Value]) -> bool:
        return self._found(values) is not self.inverted

    def _found(self, values: Mapping[str, Value]) -> bool:
        if not self.field:
            return any(self.text in str(value).lower() for value in values.values() if value is not None)
        value = values.get(self.field)
        if self.compare is not None and isinstance(value, int | float):
            return self.compare(float(value), self.number)
        if value is None:
            return False
        return self.text in str(value).lower()


@dataclass(frozen=True, slots=True)
class Filter:
    """Every term must match. An empty filter matches everything."""

    terms: tuple[Term, ...] = ()

    def matches(self, values: Mapping[str, Value]) -> bool:
        return all(term.matches(values) for term in self.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)


def parse(text: str, fields: frozenset[str]) -> Filter:
    """`text` as a filter over `fields`. Raises FilterError that names the field it does not know."""
    return Filter(tuple(_term(word, fields) for word in _WORD.findall(text)))


def _term(word: str, fields: frozenset[str]) -> Term:
    inverted = word.startswith("!")
    word = word.removeprefix("!")
    name, colon, rest = word.partition(":")
    if not colon or not name.isidentifier() or rest.startswith("//"):
        return Term("", word.strip('"').lower(), inverted)
    name = name.lower()
    if name not in fields:
        raise FilterError(f"no field {name!r}; there are {', '.join(sorted(fields))}")
    rest = rest.strip('"').lower()
    if not rest:
        raise FilterError(f"{name}: needs a value")
    match = _COMPARE.match(rest)
    if match is None or (match.group(1) is None and not match.group(2).isdigit()):
        return Term(name, rest, inverted)
    number = float(match.group(2)) * _UNITS[match.group(3).lower()]
    return Term(name, rest, inverted, _OPERATORS[match.group(1) or "="], number)
