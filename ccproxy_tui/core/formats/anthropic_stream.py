"""Anthropic Messages streams (SSE) and whole answers, parsed into canonical events.

Source: https://docs.anthropic.com/en/api/messages-streaming and the typed models of the official SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core import sse
from ccproxy_tui.core.errors import ErrorKind
from ccproxy_tui.core.formats.canonical import (
    Annotated,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Delta,
    DeltaKind,
    Done,
    Failed,
    Finished,
    Ping,
    Started,
    StopReason,
    StreamEvent,
    Usage,
)
from ccproxy_tui.core.formats.scan import read_usage

_DELTAS: dict[str, tuple[DeltaKind, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("arguments", "partial_json"),
    "signature_delta": ("signature", "signature"),
}
_BLOCKS: dict[str, BlockKind] = {
    "text": "text",
    "thinking": "thinking",
    "redacted_thinking": "redacted_thinking",
    "tool_use": "tool_call",
    "server_tool_use": "server_tool",
}
_STOPS: dict[str, StopReason] = {
    "end_turn": "end_turn",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "context_window",
    "refusal": "refusal",
    "pause_turn": "pause_turn",
    "compaction": "compaction",
}
_ERRORS: dict[str, ErrorKind] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "billing_error": "billing",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "overloaded_error": "overloaded",
    "timeout_error": "timeout",
    "api_error": "api",
}


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    citation: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


_EVENT = msgspec.json.Decoder(_Event)


class StreamParser:
    """Feed it any cut of the stream. Unknown events, blocks and deltas are passed over."""

    def __init__(self) -> None:
        self._decoder = sse.Decoder()
        self._usage = Usage()

    def feed(self, data: bytes) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for event in self._decoder.feed(data):
            self._take(event.data, events)
        return events

    def flush(self) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for event in self._decoder.flush():
            self._take(event.data, events)
        return events

    def _take(self, data: bytes, out: list[StreamEvent]) -> None:
        try:
            event = _EVENT.decode(data)
        except msgspec.DecodeError:  # not JSON, or not the shape we know: a newer server's event
            return
        kind = event.type
        if kind == "content_block_delta":
            self._delta(event, out)
        elif kind == "content_block_start":
            out.append(_block(event.index, event.content_block or {}))
        elif kind == "content_block_stop":
            out.append(BlockEnded(event.index))
        elif kind == "message_start":
            out.append(self._start(event.message or {}))
        elif kind == "message_delta":
            self._finish(event, out)
        elif kind == "message_stop":
            out.append(Done())
        elif kind == "ping":
            out.append(Ping())
        elif kind == "error":
            out.append(failure(event.error))

    def _delta(self, event: _Event, out: list[StreamEvent]) -> None:
        delta = event.delta
        if delta is None:
            return
        known = _DELTAS.get(delta.type)
        if known is not None:
            out.append(Delta(event.index, known[0], getattr(delta, known[1])))
        elif delta.type == "citations_delta":
            out.append(Annotated(event.index, delta.citation))

    def _start(self, message: dict[str, Any]) -> Started:
        usage = message.get("usage")
        if isinstance(usage, dict):
            self._usage = read_usage(usage, "anthropic_messages")
        return Started(str(message.get("id") or ""), str(message.get("model") or ""), self._usage)

    def _finish(self, event: _Event, out: list[StreamEvent]) -> None:
        """`message_delta` carries cumulative figures: they overwrite what the start said."""
        if event.usage is not None:
            self._usage = self._usage.merged(read_usage(event.usage, "anthropic_messages"))
        delta = event.delta
        if delta is not None and delta.stop_reason:
            reason = _STOPS.get(delta.stop_reason, "unknown")
            out.append(Finished(reason, self._usage, delta.stop_sequence, delta.stop_details))


def _block(index: int, block: dict[str, Any]) -> BlockStarted:
    kind = _BLOCKS.get(str(block.get("type")), "other")
    text = block.get("text") or block.get("thinking") or block.get("data") or ""
    return BlockStarted(
        index,
        kind,
        id=str(block.get("id") or ""),
        name=str(block.get("name") or ""),
        text=text if isinstance(text, str) else "",
        data=block,
    )


def failure(error: dict[str, Any] | None) -> Failed:
    """An error object, in a body or an event, as a canonical failure."""
    error = error or {}
    kind = _ERRORS.get(str(error.get("type")), "api")
    return Failed(kind, str(error.get("message") or "the upstream reported an error"), str(error.get("type") or ""))
