"""Messages requests that go to Anthropic: what a login or another vendor's thinking makes necessary, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ccproxy_tui.core.formats.body import decode, encode
from ccproxy_tui.core.formats.report import Report
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


# The words by which Anthropic tells requests of its own command-line tool.
IDENTITY = "You are Claude Code, Anthropic's official CLI for Claude."


def with_identity(raw: bytes, report: Report, more: Sequence[str] = ()) -> bytes:
    """The request with the identity as its first system block, unless it stands in one already; `more` come after it.

    None carries no cache mark: the client's own marks are limited. Raises Misfit when the body is no JSON object.
    """
    body = decode(raw)
    system = body.get("system")
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) and system else system
    blocks = blocks if isinstance(blocks, list) else []
    if any(isinstance(block, dict) and IDENTITY in str(block.get("text")) for block in blocks):
        return raw
    report.injected("system[0]", "the identity that the setting system_prompt_injection_mode asks for", IDENTITY)
    return encode({**body, "system": [*({"type": "text", "text": text} for text in (IDENTITY, *more)), *blocks]})


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
