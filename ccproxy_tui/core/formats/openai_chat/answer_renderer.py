"""A whole answer as a chat completion."""

from __future__ import annotations

from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.openai_chat.stream_renderer import (
    annotation,
    completion_id,
    finish_reason,
    reasoning_detail,
)
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.reply import Block, Reply
from ccproxy_tui.core.formats.usage import chat_usage


def render_answer(reply: Reply, options: ReplyOptions) -> Object:
    message = _message(reply, options)
    called = any(block.kind in ("tool_call", "custom_call") for block in reply.blocks)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(reply.finished.reason, called=called, legacy=options.legacy_functions),
    }
    return {
        "id": completion_id(reply.id),
        "object": "chat.completion",
        "created": options.created,
        "model": options.model,
        "choices": [choice],
        "usage": chat_usage(reply.finished.usage),
    }


def _message(reply: Reply, options: ReplyOptions) -> Object:
    blocks = reply.blocks
    texts = [block for block in blocks if block.kind == "text"]
    refusal = "".join(block.text for block in blocks if block.kind == "refusal")
    if not refusal and reply.finished.reason == "refusal":
        refusal = reply.finished.explanation
    message: Object = {
        "role": "assistant",
        "content": "".join(block.text for block in texts) or None,
        "refusal": refusal or None,
    }
    if cited := _annotations(texts):
        message["annotations"] = cited
    if thoughts := [block.text for block in blocks if block.kind == "thinking" and block.text]:
        message["reasoning_content"] = "\n\n".join(thoughts)
    if seals := [block.seal for block in blocks if block.seal is not None]:
        message["reasoning_details"] = [reasoning_detail(seal, place) for place, seal in enumerate(seals)]
    if calls := [_call(block) for block in blocks if block.kind in ("tool_call", "custom_call")]:
        if options.legacy_functions:
            message["function_call"] = calls[0]["function"]
        else:
            message["tool_calls"] = calls
    return message


def _call(block: Block) -> Object:
    if block.kind == "custom_call":
        return {"id": block.id, "type": "custom", "custom": {"name": block.name, "input": block.text}}
    function = {"name": block.name, "arguments": block.text or "{}"}
    return {"id": block.id, "type": "function", "function": function}


def _annotations(texts: list[Block]) -> list[Object]:
    written = 0
    annotations: list[Object] = []
    for block in texts:
        for citation in block.citations:
            end = len(block.text) if citation.end < 0 else citation.end
            annotations.append(annotation(citation, written + max(citation.start, 0), written + end))
        written += len(block.text)
    return annotations
