"""An upstream's refusal, whatever it looks like, as a canonical failure."""

from __future__ import annotations

import re

import msgspec

from ccproxy_tui.core.errors import ErrorKind
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.formats.canonical import Failed

_MESSAGE_LIMIT = 2000
_LONGEST_WAIT = 366 * 24 * 3600  # seconds
_KINDS: dict[int, ErrorKind] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    405: "invalid_request",
    413: "too_large",
    415: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_STATUSES: dict[ErrorKind, int] = {
    "invalid_request": 400,
    "authentication": 401,
    "billing": 402,
    "permission": 403,
    "not_found": 404,
    "too_large": 413,
    "rate_limit": 429,
    "overloaded": 503,
    "timeout": 504,
    "api": 502,
}
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.DOTALL | re.IGNORECASE)


def read_error(status: int, body: bytes) -> Failed:
    """The failure in an error body of any dialect, in plain text or in HTML."""
    values = read_object(body)
    error = values.get("error")
    inner = error if isinstance(error, dict) else values
    message = inner.get("message") or values.get("detail") or (error if isinstance(error, str) else "")
    if not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    code = inner.get("code") or inner.get("type") or ""
    text = message or _plain(body) or f"The upstream answered {status}."
    return Failed(kind_of(status), text[:_MESSAGE_LIMIT], str(code) if code != "error" else "")


def retry_seconds(body: bytes) -> str:
    """How long to wait, where only the body says it (`resets_in_seconds`, ChatGPT's backend); or nothing."""
    error = read_object(body).get("error")
    seconds = error.get("resets_in_seconds") if isinstance(error, dict) else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < _LONGEST_WAIT:
        return ""
    return str(int(seconds))


def is_openai_error(body: bytes) -> bool:
    """Whether an error body is one that OpenAI's SDKs can read."""
    error = read_object(body).get("error")
    return isinstance(error, dict) and isinstance(error.get("message"), str)


def kind_of(status: int) -> ErrorKind:
    return _KINDS.get(status, "api" if status >= 500 else "invalid_request")


def status_of(kind: ErrorKind) -> int:
    """The status for a failure that came inside an answer with status 200."""
    return _STATUSES[kind]


def _plain(body: bytes) -> str:
    text = body[: 4 * _MESSAGE_LIMIT].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        text = _TAG.sub(" ", text)
    return " ".join(text.split())
