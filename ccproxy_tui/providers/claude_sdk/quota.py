"""Claude Code's `rate_limit_event` as the headers that it was made of. Pure. Shape: observed, 2.1.330."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.misfit import Object

_START = "anthropic-ratelimit-unified"
_NAMES = {"five_hour": "5h", "seven_day": "7d"}


def headers_of(message: Object) -> list[tuple[str, str]]:
    """`{"rate_limit_info": {"status", "overageStatus", "unifiedWindows": {"five_hour": {"utilization", "resetsAt"}}}}`.
    Nothing where it tells no figures.
    """
    info = message.get("rate_limit_info")
    if not isinstance(info, dict):
        return []
    headers: list[tuple[str, str]] = []
    windows = info.get("unifiedWindows")
    for name, window in windows.items() if isinstance(windows, dict) else ():
        headers += _window(_NAMES.get(name, str(name).replace("seven_day", "7d")), window)
    for field, name in (("status", "status"), ("overageStatus", "overage-status")):
        if isinstance(info.get(field), str):
            headers.append((f"{_START}-{name}", info[field]))
    return headers


def _window(name: str, window: Any) -> list[tuple[str, str]]:
    if not isinstance(window, dict) or not isinstance(window.get("utilization"), int | float):
        return []
    headers = [(f"{_START}-{name}-utilization", str(window["utilization"]))]
    if isinstance(window.get("resetsAt"), int | float):
        headers.append((f"{_START}-{name}-reset", str(window["resetsAt"])))
    return headers
