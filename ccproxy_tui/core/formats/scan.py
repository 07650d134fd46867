"""Reads what matters of a relayed answer (usage, model, stop reason, first token) straight from its bytes.

Decoding every event of a relayed stream would cost more than relaying it, so the hot path looks for a marker until the
first token is there, and the rest is read once, from the ends of the stream. Inside JSON strings quotes are escaped,
so an unescaped `"usage":{` can't come from a model's text.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.usage import read_usage

_OBJECT_LIMIT = 16 * 1024
_JSON = json.JSONDecoder()
_OPEN_OBJECT = re.compile(rb"\s*:\s*\{")
_STRING = re.compile(rb'\s*:\s*"((?:[^"\\]|\\.){1,200})"')

_FIRST_TOKEN: dict[Format, re.Pattern[bytes]] = {
    "anthropic_messages": re.compile(rb'"content_block_delta"'),
    "openai_chat": re.compile(rb'"(?:content|reasoning_content|reasoning_text|refusal|arguments)"\s*:\s*"[^"]'),
    "openai_responses": re.compile(rb'"response\.[a-z_.]+\.delta"'),
}
# A stream is over when one of these stands in it. Quoted words can't come from a string: there, quotes are escaped.
_END_MARKS: dict[Format, tuple[bytes, ...]] = {
    "anthropic_messages": (b'"message_stop"', b"event: error", b"event:error"),
    "openai_chat": (b"data: [DONE]", b"data:[DONE]", b'"error":{', b'"error": {'),
    "openai_responses": (
        b'"response.completed"',
        b'"response.incomplete"',
        b'"response.failed"',
        b"event: error",
        b'"error",',
    ),
}

_ERROR_OBJECT = re.compile(rb'"error"\s*:\s*\{')
_STREAM_ERROR: dict[Format, re.Pattern[bytes]] = {
    "anthropic_messages": _ERROR_OBJECT,
    "openai_chat": _ERROR_OBJECT,
    "openai_responses": re.compile(rb'"response\.failed"|"type"\s*:\s*"error"'),
}


def has_first_token(chunk: bytes, dialect: Format) -> bool:
    """Whether the first piece of an answer stands in `chunk`."""
    return _FIRST_TOKEN[dialect].search(chunk) is not None


def has_end_mark(tail: bytes, dialect: Format) -> bool:
    """Whether a stream that ends with `tail` said that it is over (or that it failed)."""
    return any(tail.rfind(mark) >= 0 for mark in _END_MARKS[dialect])


def find_stream_error(tail: bytes, dialect: Format) -> str:
    """The message of the error that a stream ended with, or nothing when it ended well."""
    at = max((match.start() for match in _STREAM_ERROR[dialect].finditer(tail)), default=-1)
    if at < 0 or at < max(tail.rfind(b'"message_stop"'), tail.rfind(b"[DONE]"), tail.rfind(b'"response.completed"')):
        return ""
    if dialect == "anthropic_messages" and b"event: error" not in tail and b"event:error" not in tail:
        return ""
    key = tail.find(b'"message"', at)
    match = _STRING.match(tail, key + 9) if key >= 0 else None
    if match is None:
        return "the upstream reported an error in its stream"
    try:
        text: str = json.loads(b'"' + match.group(1) + b'"')
    except ValueError:
        return "the upstream reported an error in its stream"
    return text


def find_model(head: bytes) -> str:
    """The model that the answer names first, or nothing."""
    at = head.find(b'"model"')
    match = _STRING.match(head, at + 7) if at >= 0 else None
    return match.group(1).decode("utf-8", "replace") if match else ""


def find_stop_reason(tail: bytes, dialect: Format) -> str:
    """The dialect's own word for why the answer ended, or nothing."""
    if dialect == "openai_responses":
        return next(
            (word for word in ("completed", "incomplete", "failed") if b'"response.%b"' % word.encode() in tail),
            "",
        )
    key = b'"stop_reason"' if dialect == "anthropic_messages" else b'"finish_reason"'
    at = len(tail)
    while (at := tail.rfind(key, 0, at)) >= 0:
        if (match := _STRING.match(tail, at + len(key))) is not None:
            return match.group(1).decode("utf-8", "replace")
    return ""


def find_usage(head: bytes, tail: bytes, dialect: Format) -> Usage:
    """The usage that an answer reports: what its start says, overwritten by what its end says."""
    first = _object_at(head, head.find(b'"usage"'))
    usage = read_usage(first, dialect) if first is not None else Usage()
    last = _last_usage(tail)
    return usage if last is None else usage.merged(read_usage(last, dialect))


def _last_usage(tail: bytes) -> dict[str, Any] | None:
    at = len(tail)
    while (at := tail.rfind(b'"usage"', 0, at)) >= 0:
        if (found := _object_at(tail, at)) is not None:
            return found
    return None


def _object_at(data: bytes, at: int) -> dict[str, Any] | None:
    """The JSON object that is the value of the seven-byte key at `at`."""
    match = _OPEN_OBJECT.match(data, at + 7) if at >= 0 else None
    if match is None:
        return None
    text = data[match.end() - 1 : match.end() + _OBJECT_LIMIT].decode("utf-8", "replace")
    try:
        value, _ = _JSON.raw_decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
