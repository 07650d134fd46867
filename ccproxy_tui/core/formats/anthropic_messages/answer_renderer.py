"""A whole answer as a Messages object."""

from __future__ import annotations

import msgspec

from ccproxy_tui.core.formats.anthropic_messages.stream_renderer import message_id, stop_reason
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.reply import Block, Reply
from ccproxy_tui.core.formats.seal import wrap
from ccproxy_tui.core.formats.usage import anthropic_usage


def render_answer(reply: Reply, options: ReplyOptions) -> Object:
    content = [block for one in reply.blocks if (block := _block(one)) is not None]
    finished = reply.finished
    called = any(one.kind in ("tool_call", "custom_call") for one in reply.blocks)
    refused = any(one.kind == "refusal" and one.text for one in reply.blocks)
    return {
        "id": message_id(reply.id),
        "type": "message",
        "role": "assistant",
        "model": options.model,
        "content": content,
        "stop_reason": stop_reason(finished.reason, called=called, refused=refused),
        "stop_sequence": finished.stop_sequence,
        "usage": anthropic_usage(finished.usage),
    }


def _block(block: Block) -> Object | None:
    match block.kind:
        case "text" | "refusal":
            return {"type": "text", "text": block.text, "citations": None} if block.text else None
        case "thinking":
            return _thinking(block)
        case "tool_call":
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": _input(block.text)}
        case "custom_call":
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": {"input": block.text}}
        case "server_call":
            return {"type": "server_tool_use", "id": block.id, "name": block.name, "input": _input(block.text)}
        case "server_result":
            return dict(block.data)
        case _:
            return None


def _thinking(block: Block) -> Object | None:
    seal = block.seal
    if seal is not None and seal.vendor == "anthropic":
        return seal.block
    if block.text:
        return {"type": "thinking", "thinking": block.text, "signature": "" if seal is None else wrap(seal)}
    return None if seal is None else {"type": "redacted_thinking", "data": wrap(seal)}


def _input(arguments: str) -> Object:
    """Arguments as an object. What a model broke off in the middle stays readable as text."""
    try:
        values = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {"_invalid_json": arguments}
    return values if isinstance(values, dict) else {"_value": values}
