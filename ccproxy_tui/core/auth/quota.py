"""How much of a plan is used, from the headers of its provider's answers.

Anthropic: `anthropic-ratelimit-unified-5h-utilization` (0 to 1) and `-5h-reset` (seconds since the epoch), the same for
`7d` and others. ChatGPT: `x-codex-primary-used-percent`, `-window-minutes`, `-reset-after-seconds`, and `secondary`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_UNIFIED = re.compile(r"anthropic-ratelimit-unified-([a-z0-9_]+)-(utilization|reset)")
_CODEX = re.compile(r"x-codex-(primary|secondary)-(used-percent|window-minutes|reset-after-seconds|reset-at)")
_PREFIXES = ("anthropic-ratelimit-unified-", "x-codex-")
_STEP = 300.0  # seconds to which a forecast is told
_LEAST_TIME = 60.0  # seconds between two readings before a rate can be told


@dataclass(frozen=True, slots=True)
class Window:
    """One limit of a plan: `used` from 0 to 1 (or above), `resets` in seconds since the epoch."""

    name: str
    used: float
    resets: float | None = None
    fills: float | None = None  # when it will be full at the rate so far; None when before that it starts anew


def read_windows(headers: Iterable[tuple[str, str]], now: float) -> list[Window]:
    """The windows that an answer's headers tell of. What can't be read is passed over."""
    unified: dict[str, dict[str, float]] = {}
    codex: dict[str, dict[str, float]] = {}
    for name, value in headers:
        if not name.startswith(_PREFIXES):
            continue  # nearly all of them; this runs for each answer
        for pattern, found in ((_UNIFIED, unified), (_CODEX, codex)):
            match = pattern.fullmatch(name)
            number = read_number(value) if match is not None else None
            if match is not None and number is not None:
                found.setdefault(match[1], {})[match[2]] = number
    windows = [
        Window(name.replace("_", " "), values["utilization"], values.get("reset"))
        for name, values in unified.items()
        if "utilization" in values
    ]
    return windows + [_codex_window(name, values, now) for name, values in codex.items() if "used-percent" in values]


def _codex_window(name: str, values: dict[str, float], now: float) -> Window:
    resets = values.get("reset-at")
    if resets is None and "reset-after-seconds" in values:
        resets = now + values["reset-after-seconds"]
    return Window(_length(values.get("window-minutes")) or name, values["used-percent"] / 100, resets)


def _length(minutes: float | None) -> str:
    if not minutes:
        return ""
    hours = minutes / 60
    return f"{hours / 24:.0f}d" if hours >= 48 else f"{hours:.0f}h"


def read_number(text: str) -> float | None:
    """A header's number, where it is one that can be reckoned with."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e12 else None


class Quota:
    """The latest reading of each window, and how fast it fills."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._first: dict[str, tuple[float, float]] = {}  # name -> time and use of the first reading of this window

    def note(self, windows: Iterable[Window], now: float) -> None:
        for window in windows:
            before = self._windows.get(window.name)
            if before is None or window.used < before.used:  # new, or begun anew
                self._first[window.name] = (now, window.used)
            self._windows[window.name] = window

    def windows(self, now: float) -> list[Window]:
        """In the order of their names' lengths of time, with a forecast where one can be told."""
        current = [window for window in self._windows.values() if window.resets is None or window.resets > now]
        return [self._with_forecast(window, now) for window in current]

    def _with_forecast(self, window: Window, now: float) -> Window:
        began, used = self._first[window.name]
        gained, passed = window.used - used, now - began
        if gained <= 0 or passed < _LEAST_TIME or window.used >= 1:
            return window
        fills = now + (1 - window.used) / (gained / passed)
        if window.resets is not None and fills >= window.resets:
            return window
        return Window(window.name, window.used, window.resets, fills - fills % _STEP)
