"""Figures as short words: tokens, seconds, sizes, ages. Never wider than they say."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.cells import cell_len, chop_cells, set_cell_size

LocalTime = Callable[[float], str]


def tokens(count: int) -> str:
    """`812`, `1.2k`, `31k`, `4.1M`: at most four cells."""
    if count < 1000:
        return str(count)
    if count < 9950:
        return f"{count / 1000:.1f}k"
    if count < 999_500:
        return f"{count / 1000:.0f}k"
    if count < 9_950_000:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e6:.0f}M"


def size(count: int) -> str:
    """`512 B`, `2.1 kB`, `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB", "GB"):
        count_in_unit = count / 1000
        if count_in_unit < 999.5 or unit == "GB":
            return f"{count_in_unit:.1f} {unit}" if count_in_unit < 9.95 else f"{count_in_unit:.0f} {unit}"
        count //= 1000
    return f"{count} B"


def seconds(value: float | None) -> str:
    """`0.61`, `12.3`, `128`: seconds with three figures."""
    if value is None:
        return "--"
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def rate(value: float | None) -> str:
    """Tokens a second."""
    if value is None:
        return "--"
    return f"{value:.1f}" if value < 999.5 else f"{value:.0f}"


def duration(value: float) -> str:
    """`4s`, `3m`, `2h05m`, `3d`: an age, rounded down."""
    whole = int(max(value, 0))
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d"


def clock(at: float) -> str:
    """`14:05` in local time."""
    return time.strftime("%H:%M", time.localtime(at))


def clock_seconds(at: float) -> str:
    """`14:05:31` in local time."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def moment(at: float) -> str:
    """`22 Nov 14:05` in local time."""
    return time.strftime("%d %b %H:%M", time.localtime(at))


def gauge(percent: int, width: int = 20) -> str:
    """`[########............]`: how much of something is used."""
    filled = min(max(percent, 0), 100) * width // 100
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells; what does not fit ends in an ellipsis."""
    if width <= 0:
        return ""
    length = len(text) if text.isascii() else cell_len(text)
    if length > width:
        text = crop(text, width)
        length = cell_len(text)
    if length == width:
        return text
    return " " * (width - length) + text if right else text + " " * (width - length)


def crop(text: str, width: int) -> str:
    """At most `width` cells of `text`, with an ellipsis when something was cut."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return set_cell_size(text, width)
    pieces = chop_cells(text, width - 1)
    return (pieces[0] if pieces else "") + "…"


def wrap(text: str, width: int) -> list[str]:
    """`text` (one line) broken at spaces into lines of at most `width` cells; long words are cut."""
    if width <= 0:
        return [""]
    if (len(text) if text.isascii() else cell_len(text)) <= width:
        return [text]
    lines: list[str] = []
    rest = text
    while cell_len(rest) > width:
        head = chop_cells(rest, width)[0] or rest[0]  # a character wider than the line stands alone
        cut = head.rfind(" ")
        if cut > width // 3 and not rest[len(head) : len(head) + 1].isspace():
            head = head[: cut + 1]
        lines.append(head.rstrip(" ") or head)
        rest = rest[len(head) :].removeprefix(" ") if head[-1:] != " " else rest[len(head) :]
    lines.append(rest)
    return lines
