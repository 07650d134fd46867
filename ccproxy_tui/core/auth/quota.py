"""How much of a plan is used, and whether paid extra usage has begun: from headers, and from usage documents.

Anthropic: `anthropic-ratelimit-unified-5h-utilization` (0 to 1), `-5h-reset` (seconds since the epoch), the same for
`7d` and others, `-overage-status`, `-representative-claim`. ChatGPT: `x-codex-primary-used-percent`, `-window-minutes`,
`-reset-after-seconds`, the same for `secondary`, `x-codex-credits-has-credits`. Copilot: `x-quota-snapshot-NAME:
ent=300&rem=96.5&ov=0.0&ovPerm=false&rst=...`. Shapes: observed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

# Paid use beyond the plan: nothing said, refused, would be charged once the plan is used up, is charged already.
Extra = Literal["", "off", "possible", "paid"]

_UNIFIED = re.compile(r"anthropic-ratelimit-unified-([a-z0-9_]+)-(utilization|reset)")
_CODEX = re.compile(r"x-codex-(primary|secondary)-(used-percent|window-minutes|reset-after-seconds|reset-at)")
_COPILOT = "x-quota-snapshot-"
_CLAIM = "anthropic-ratelimit-unified-representative-claim"
_STATUS = "anthropic-ratelimit-unified-status"
_OVERAGE = "anthropic-ratelimit-unified-overage-status"
_CREDITS = "x-codex-credits-has-credits"
_PREFIXES = ("anthropic-ratelimit-unified-", "x-codex-", _COPILOT)
_STEP = 300.0  # seconds to which a forecast is told
_LEAST_TIME = 60.0  # seconds between two readings before a rate can be told


@dataclass(frozen=True, slots=True)
class Window:
    """One limit of a plan: `used` from 0 to 1 (or above), `resets` in seconds since the epoch."""

    name: str
    used: float
    resets: float | None = None
    fills: float | None = None  # when it will be full at the rate so far; None when before that it starts anew


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer tells of a plan."""

    windows: tuple[Window, ...] = ()
    extra: Extra = ""


def read_headers(headers: Iterable[tuple[str, str]], now: float) -> Reading:
    """What an answer's headers tell. What can't be read is passed over."""
    told = {name: value for name, value in headers if name.startswith(_PREFIXES)}
    if not told:
        return Reading()  # nearly all of them; this runs for each answer
    copilot = [_snapshot(name.removeprefix(_COPILOT), value) for name, value in told.items() if _COPILOT in name]
    return Reading(
        (*_unified(told), *_codex(told, now), *(window for window, _ in copilot if window is not None)),
        _extra(told) or next((extra for _, extra in copilot if extra), ""),
    )


def _extra(told: Mapping[str, str]) -> Extra:
    if (status := told.get(_OVERAGE)) is not None:
        used_up = told.get(_CLAIM) == "overage" or told.get(_STATUS) == "rejected"
        return ("paid" if used_up else "possible") if status.startswith("allowed") else "off"
    if (credits_left := told.get(_CREDITS)) is not None:
        return "possible" if credits_left.lower() == "true" else "off"
    return ""


def _unified(told: Mapping[str, str]) -> list[Window]:
    return [
        Window(name.replace("_", " "), values["utilization"], values.get("reset"))
        for name, values in _grouped(_UNIFIED, told).items()
        if "utilization" in values and name != "overage"
    ]


def _codex(told: Mapping[str, str], now: float) -> list[Window]:
    return [
        _codex_window(name, values, now)
        for name, values in _grouped(_CODEX, told).items()
        if "used-percent" in values and values.get("window-minutes", 1) > 0
    ]


def _grouped(pattern: re.Pattern[str], told: Mapping[str, str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, value in told.items():
        match = pattern.fullmatch(name)
        number = read_number(value) if match is not None else None
        if match is not None and number is not None:
            found.setdefault(match[1], {})[match[2]] = number
    return found


def _codex_window(name: str, values: Mapping[str, float], now: float) -> Window:
    resets = values.get("reset-at")
    if resets is None and "reset-after-seconds" in values:
        resets = now + values["reset-after-seconds"]
    return Window(_length(values.get("window-minutes", 0)) or name, values["used-percent"] / 100, resets)


def _snapshot(name: str, value: str) -> tuple[Window | None, Extra]:
    """One of Copilot's counts: entitlement (-1: no limit), percent that remains, overage, overage permitted."""
    told = dict(parse_qsl(value, keep_blank_values=True))
    remaining = read_number(told.get("rem", ""))
    if remaining is None or (read_number(told.get("ent", "")) or 0) <= 0:
        return None, ""
    extra: Extra = "possible" if told.get("ovPerm", "").lower() == "true" else "off"
    if (read_number(told.get("ov", "")) or 0) > 0:
        extra = "paid"
    return Window(name.replace("_", " "), 1 - remaining / 100, _moment(told.get("rst"))), extra


# --- usage documents, as the providers give them on request ---


def read_claude_usage(document: Mapping[str, Any]) -> Reading:
    """`{"five_hour": {"utilization": 37.0, "resets_at": "2026-..."}, "seven_day": {...}, "extra_usage": {...}}`."""
    names = {"five_hour": "5h", "seven_day": "7d"}
    windows = [
        Window(
            names.get(name, name.replace("seven_day", "7d").replace("_", " ")), used / 100, _moment(one["resets_at"])
        )
        for name, one in document.items()
        if isinstance(one, dict) and "resets_at" in one and (used := _number(one.get("utilization"))) is not None
    ]
    paid = document.get("extra_usage")
    extra: Extra = ("possible" if paid.get("is_enabled") is True else "off") if isinstance(paid, dict) else ""
    return Reading(tuple(windows), extra)


def read_codex_usage(document: Mapping[str, Any]) -> Reading:
    """`{"rate_limit": {"primary_window": {"used_percent", "limit_window_seconds", "reset_at"}}, "credits": {...}}`."""
    limits = document.get("rate_limit")
    found = []
    for name in ("primary", "secondary"):
        one = limits.get(f"{name}_window") if isinstance(limits, dict) else None
        used = _number(one.get("used_percent")) if isinstance(one, dict) else None
        if isinstance(one, dict) and used is not None:
            length = _length((_number(one.get("limit_window_seconds")) or 0) / 60)
            found.append(Window(length or name, used / 100, _number(one.get("reset_at"))))
    left = document.get("credits")
    extra: Extra = ("possible" if left.get("has_credits") is True else "off") if isinstance(left, dict) else ""
    return Reading(tuple(found), extra)


def read_copilot_usage(document: Mapping[str, Any]) -> Reading:
    """`{"quota_snapshots": {NAME: {"percent_remaining", "unlimited", "overage_permitted"}}, "quota_reset_date"}`."""
    snapshots = document.get("quota_snapshots")
    resets = _moment(document.get("quota_reset_date_utc") or document.get("quota_reset_date"))
    found: list[Window] = []
    extra: Extra = ""
    for name, one in snapshots.items() if isinstance(snapshots, dict) else ():
        left = _number(one.get("percent_remaining")) if isinstance(one, dict) else None
        if not isinstance(one, dict) or left is None or one.get("unlimited") is True:
            continue
        found.append(Window(str(name).replace("_", " "), 1 - left / 100, resets))
        extra = "possible" if one.get("overage_permitted") is True else extra or "off"
    return Reading(tuple(found), extra)


def _short(name: str) -> str:
    """As the headers name the same window: `seven_day_opus` is `7d opus`."""
    return name.replace("five_hour", "5h").replace("seven_day", "7d").replace("_", " ")


def _length(minutes: float) -> str:
    if not minutes:
        return ""
    hours = minutes / 60
    return f"{hours / 24:.0f}d" if hours >= 48 else f"{hours:.0f}h"


def _number(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if number else None


def _moment(value: Any) -> float | None:
    """An ISO 8601 time as seconds since the epoch."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


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
        self.extra: Extra = ""

    def note(self, reading: Reading, now: float) -> list[Window]:
        """Take a reading. Returns the windows of it that have changed, as they were before (new ones: unused)."""
        self.extra = reading.extra or self.extra
        before = [self._windows.get(one.name) or Window(one.name, 0.0) for one in reading.windows]
        for window, old in zip(reading.windows, before, strict=True):
            if window.name not in self._windows or window.used < old.used:  # new, or begun anew
                self._first[window.name] = (now, window.used)
            self._windows[window.name] = window
        return before

    def windows(self, now: float) -> list[Window]:
        """Those that have not started anew since, with a forecast where one can be told."""
        current = [window for window in self._windows.values() if window.resets is None or window.resets > now]
        return [self._with_forecast(window, now) for window in current]

    def pays(self, now: float) -> bool:
        """Whether the next request would be paid beyond the plan, as far as is known."""
        return self.extra in ("possible", "paid") and any(one.used >= 1 for one in self.windows(now))

    def full_until(self, now: float) -> float | None:
        """When the last full window starts anew; None when none is full."""
        return max((one.resets for one in self.windows(now) if one.used >= 1 and one.resets is not None), default=None)

    def _with_forecast(self, window: Window, now: float) -> Window:
        began, used = self._first[window.name]
        gained, passed = window.used - used, now - began
        if gained <= 0 or passed < _LEAST_TIME or window.used >= 1:
            return window
        fills = now + (1 - window.used) / (gained / passed)
        if window.resets is not None and fills >= window.resets:
            return window
        return Window(window.name, window.used, window.resets, fills - fills % _STEP)
