"""What a prompt asks of the simulated provider: a line such as `demo: think, tool=Bash, tokens=400, error=529`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(r"^\s*demo:\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_MAX_TOKENS = 20_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """`None` and False leave it to the seed. Times in seconds, `pace` in tokens a second."""

    think: bool = False
    tool: str | None = None
    tokens: int | None = None
    pace: float | None = None
    wait: float | None = None
    stall: float | None = None
    error: int | None = None
    overload: bool = False
    cut: bool = False
    echo: str | None = None


def read_wishes(prompt: str) -> Wishes:
    """The wishes in the last `demo:` line of `prompt`. Words that mean nothing are passed over."""
    lines = _LINE.findall(prompt)
    values: dict[str, Any] = {}
    for part in lines[-1].split(",") if lines else ():
        name, _, value = part.strip().partition("=")
        _take(values, name.strip().lower(), value.strip())
    return Wishes(**values)


# Wish -> the number it has when none is given.
_NUMBERS = {"tokens": 100.0, "pace": 50.0, "wait": 1.0, "stall": 5.0, "error": 500.0}
_SWITCHES = ("think", "overload", "cut")
_WORDS = ("tool", "echo")


def _take(values: dict[str, Any], name: str, value: str) -> None:
    if name in _SWITCHES:
        values[name] = True
    elif name in _WORDS:
        values[name] = value
    elif name in ("tokens", "error"):
        values[name] = min(int(_number(value, _NUMBERS[name])), _MAX_TOKENS)
    elif name in _NUMBERS:
        values[name] = max(_number(value, _NUMBERS[name]), 0.01)


def _number(text: str, default: float) -> float:
    try:
        return abs(float(text))
    except ValueError:
        return default
