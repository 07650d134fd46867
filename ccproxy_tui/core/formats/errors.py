"""Errors in each dialect: a body for an HTTP error, an event for a stream that has begun.

Names and statuses: the vendors' API references; types that a dialect lacks take its nearest.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.errors import ErrorKind
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.text import sse

_ANTHROPIC: dict[ErrorKind, str] = {
    "invalid_request": "invalid_request_error",
    "authentication": "authentication_error",
    "billing": "billing_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
    "api": "api_error",
}
# (type, code); the code says what the type is too coarse for.
_OPENAI: dict[ErrorKind, tuple[str, str | None]] = {
    "invalid_request": ("invalid_request_error", None),
    "authentication": ("authentication_error", None),
    "billing": ("insufficient_quota", "insufficient_quota"),
    "permission": ("permission_error", None),
    "not_found": ("not_found_error", None),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit": ("rate_limit_error", "rate_limit_exceeded"),
    "overloaded": ("server_error", "server_is_overloaded"),
    "timeout": ("server_error", "timeout"),
    "api": ("server_error", None),
}


def error_object(
    dialect: Format, kind: ErrorKind, message: str, *, field: str = "", code: str = "", request_id: str = ""
) -> dict[str, Any]:
    """The error as the dialect's clients expect it in a body."""
    if dialect == "anthropic_messages":
        body: dict[str, Any] = {"type": "error", "error": {"type": _ANTHROPIC[kind], "message": message}}
        if request_id:
            body["request_id"] = request_id
        return body
    type_, default_code = _OPENAI[kind]
    return {"error": {"message": message, "type": type_, "param": field or None, "code": code or default_code}}


def error_body(
    dialect: Format, kind: ErrorKind, message: str, *, field: str = "", code: str = "", request_id: str = ""
) -> bytes:
    return msgspec.json.encode(error_object(dialect, kind, message, field=field, code=code, request_id=request_id))


def error_event(dialect: Format, kind: ErrorKind, message: str, *, code: str = "", sequence: int = 0) -> bytes:
    """The error inside a stream. No end mark may follow it: a broken answer never looks whole."""
    if dialect == "anthropic_messages":
        return sse.encode(error_body(dialect, kind, message, code=code), "error")
    if dialect == "openai_chat":
        return sse.encode(error_body(dialect, kind, message, code=code))
    type_, default_code = _OPENAI[kind]
    event = {
        "type": "error",
        "code": code or default_code or type_,
        "message": message,
        "param": None,
        "sequence_number": sequence,
    }
    return sse.encode(msgspec.json.encode(event), "error")


def ping(dialect: Format) -> bytes:
    """What keeps a silent stream alive: Anthropic's own ping event, a comment for the OpenAI dialects."""
    if dialect == "anthropic_messages":
        return b'event: ping\ndata: {"type": "ping"}\n\n'
    return b": ping\n\n"
