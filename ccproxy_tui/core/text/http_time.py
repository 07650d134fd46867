"""Times that servers name: HTTP dates, and how long they ask to be left alone (RFC 9110, sections 5.6.7, 10.2.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{0,9})?")  # a fraction is not in the standard, and sent
_LONGEST = 366 * 24 * 3600.0  # seconds; what is longer is no length of time


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that an answer asks for, 0 for a date that has passed; None where it asks for none.

    A date counts from the answer's own Date, so that a wrong clock on either side changes nothing; without one it
    counts from `now`, in seconds since the epoch. Names of headers are lower case.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return _bounded(float(text))
    if (until := http_date(text)) is None:
        return None
    sent = http_date(headers.get("date", ""))
    return _bounded(until - (now if sent is None else sent))


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST)


def http_date(text: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; None for what is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
