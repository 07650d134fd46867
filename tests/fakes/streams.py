"""Small whole streams of every dialect, one element an event: what a scripted upstream sends."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ccproxy_tui.core.text import sse

CITY = {"city": "Zürich"}


def message_events(*blocks: dict[str, Any], stop: str = "end_turn", model: str = "claude-sonnet-4-5") -> list[bytes]:
    """A Messages stream of these blocks: text, thinking (with signature) and tool_use."""
    message = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "cache_read_input_tokens": 100, "output_tokens": 1},
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        events += _block_events(index, block)
    delta = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 42}})
    events.append({"type": "message_stop"})
    return [sse.encode(msgspec.json.encode(event), str(event["type"])) for event in events]


def _block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    def delta(**values: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": values}

    kind = block["type"]
    empty, deltas = block, []
    if kind == "text":
        empty = {"type": "text", "text": ""}
        deltas = [delta(type="text_delta", text=piece) for piece in _pieces(block["text"])]
    elif kind == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [delta(type="thinking_delta", thinking=piece) for piece in _pieces(block["thinking"])]
        deltas.append(delta(type="signature_delta", signature=block["signature"]))
    elif kind == "tool_use":
        empty = {**block, "input": {}}
        deltas = [delta(type="input_json_delta", partial_json=piece) for piece in _pieces(json.dumps(block["input"]))]
    start = {"type": "content_block_start", "index": index, "content_block": empty}
    return [start, *deltas, {"type": "content_block_stop", "index": index}]


def _pieces(text: str, size: int = 4) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def chat_events(
    text: str = "", calls: list[tuple[str, str, dict[str, Any]]] | None = None, *, model: str = "gpt-4.1"
) -> list[bytes]:
    """A Chat stream: text, then calls (id, name, arguments), usage and [DONE]."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": model}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse.encode(msgspec.json.encode({**head, "choices": [choice]}))

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": piece}) for piece in _pieces(text)]
    for place, (id_, name, arguments) in enumerate(calls or ()):
        function = {"name": name, "arguments": ""}
        events.append(chunk({"tool_calls": [{"index": place, "id": id_, "type": "function", "function": function}]}))
        events += [
            chunk({"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
            for piece in _pieces(json.dumps(arguments))
        ]
    events.append(chunk({}, "tool_calls" if calls else "stop"))
    usage = {"prompt_tokens": 112, "completion_tokens": 42, "total_tokens": 154}
    usage_chunk = {**head, "choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 100}}}
    return [*events, sse.encode(msgspec.json.encode(usage_chunk)), sse.encode(b"[DONE]")]


def response_events(
    *items: dict[str, Any], model: str = "gpt-5.4", status: str = "completed", id: str = "resp_1"
) -> list[bytes]:
    """A Responses stream of whole items: message, reasoning, function_call and custom_tool_call."""
    response: dict[str, Any] = {
        "id": id,
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "in_progress",
        "model": model,
        "output": [],
        "usage": None,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response}]
    for place, item in enumerate(items):
        events += _item_events(place, item)
    usage = {
        "input_tokens": 112,
        "input_tokens_details": {"cached_tokens": 100},
        "output_tokens": 42,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 154,
    }
    done = {**response, "status": status, "output": list(items), "usage": usage}
    events.append({"type": f"response.{status}", "response": done})
    return [
        sse.encode(msgspec.json.encode({**event, "sequence_number": number}), str(event["type"]))
        for number, event in enumerate(events)
    ]


def _item_events(place: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    where = {"output_index": place, "item_id": item["id"]}
    kind = item["type"]
    empty = {**item, "status": "in_progress"}
    middle: list[dict[str, Any]] = []
    if kind == "message":
        empty["content"] = []
        text = item["content"][0]["text"]
        part = {"type": "output_text", "text": "", "annotations": []}
        spot = {**where, "content_index": 0}
        middle = [{"type": "response.content_part.added", **spot, "part": part}]
        middle += [{"type": "response.output_text.delta", **spot, "delta": piece} for piece in _pieces(text)]
        middle += [{"type": "response.output_text.done", **spot, "text": text}]
        middle += [{"type": "response.content_part.done", **spot, "part": item["content"][0]}]
    elif kind == "reasoning":
        empty |= {"summary": [], "encrypted_content": "PARTIAL"}
        for number, part in enumerate(item["summary"]):
            spot = {**where, "summary_index": number}
            middle += [
                {"type": "response.reasoning_summary_text.delta", **spot, "delta": piece}
                for piece in _pieces(part["text"])
            ]
    elif kind == "function_call":
        empty["arguments"] = ""
        name = "response.function_call_arguments"
        middle = [{"type": f"{name}.delta", **where, "delta": piece} for piece in _pieces(item["arguments"])]
        middle.append({"type": f"{name}.done", **where, "arguments": item["arguments"]})
    elif kind == "custom_tool_call":
        empty["input"] = ""
        name = "response.custom_tool_call_input"
        middle = [{"type": f"{name}.delta", **where, "delta": piece} for piece in _pieces(item["input"])]
    added = {"type": "response.output_item.added", "output_index": place, "item": empty}
    return [added, *middle, {"type": "response.output_item.done", "output_index": place, "item": item}]


def said(text: str, id: str = "msg_1", **more: Any) -> dict[str, Any]:
    """A message item."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": id, "status": "completed", "role": "assistant", "content": [part], **more}


def called(name: str, arguments: dict[str, Any], call_id: str = "call_1") -> dict[str, Any]:
    """A function call item."""
    values = {"id": f"fc_{call_id}", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}
    return {"type": "function_call", "status": "completed", **values}


def thought(*texts: str, id: str = "rs_1", encrypted: str = "gAAAAopaque") -> dict[str, Any]:
    """A reasoning item."""
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": id, "summary": summary, "encrypted_content": encrypted}
