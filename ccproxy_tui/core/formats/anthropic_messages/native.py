"""Messages requests that stay Messages: all that must change is thinking that came from somewhere else."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.body import decode, encode
from ccproxy_tui.core.formats.seal import is_wrapped, unwrap


def without_foreign_thinking(raw: bytes) -> bytes:
    """The request without the thinking blocks whose signature is an envelope of ours: only its own vendor reads that.

    An envelope of Anthropic's own block is opened. Raises Misfit when the body is no JSON object.
    """
    body = decode(raw)
    messages = body.get("messages")
    if isinstance(messages, list):
        body["messages"] = [_message(message) for message in messages]
    return encode(body)


def _message(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    return {**message, "content": [kept for block in content if (kept := _block(block)) is not None]}


def _block(block: Any) -> Any:
    token = (block.get("signature") or block.get("data")) if isinstance(block, dict) else None
    if not isinstance(token, str) or not is_wrapped(token):
        return block
    seal = unwrap(token)
    return seal.block if seal is not None and seal.vendor == "anthropic" else None
