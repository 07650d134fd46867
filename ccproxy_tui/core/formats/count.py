"""How many tokens a prompt has, guessed from its size: for providers that do not count.

UTF-8 text has about 3.6 bytes a token with today's tokenizers (English prose 4.3, code 3.2, JSON 3); an image costs
what Anthropic's documentation gives for a large one; a page of a PDF about 2,000.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.formats.misfit import Object

_BYTES_A_TOKEN = 3.6
_IMAGE = 1_600
_PDF_BYTES_A_TOKEN = 25  # of base64
_OF_A_MESSAGE = 4
_BASE = 8


def estimate_tokens(body: Object) -> int:
    """Tokens of a Messages request: system, tools and messages."""
    parts = (body.get("system"), body.get("tools"))
    total = _BASE + sum(_weigh(part) for part in parts if part)
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else []:
        total += _OF_A_MESSAGE + _weigh(message.get("content") if isinstance(message, dict) else message)
    return round(total)


def _weigh(value: Any) -> float:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace")) / _BYTES_A_TOKEN
    if isinstance(value, list):
        return sum(_weigh(one) for one in value)
    if not isinstance(value, dict):
        return 1
    match value.get("type"):
        case "image":
            return _IMAGE
        case "document":
            return _document(value.get("source"))
        case "text":
            return _weigh(value.get("text"))
        case "thinking":
            return _weigh(value.get("thinking"))
        case "tool_result":
            return _OF_A_MESSAGE + _weigh(value.get("content"))
        case _:
            return len(msgspec.json.encode(value)) / _BYTES_A_TOKEN


def _document(source: Any) -> float:
    data = source.get("data") if isinstance(source, dict) else None
    if not isinstance(data, str):
        return _IMAGE
    return _weigh(data) if source.get("type") == "text" else len(data) / _PDF_BYTES_A_TOKEN
