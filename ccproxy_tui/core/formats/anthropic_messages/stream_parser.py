"""Anthropic Messages streams (SSE) and whole answers, parsed into canonical events.

Source: https://docs.anthropic.com/en/api/messages-streaming and the typed models of the official SDK.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.errors import ErrorKind
from ccproxy_tui.core.formats.canonical import (
    Annotated,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Citation,
    Delta,
    Done,
    Failed,
    Finished,
    Ping,
    Sealed,
    Started,
    StopReason,
    StreamEvent,
    Usage,
)
from ccproxy_tui.core.formats.seal import Seal
from ccproxy_tui.core.formats.usage import read_usage
from ccproxy_tui.core.text import sse

_BLOCKS: dict[str, BlockKind] = {
    "text": "text",
    "thinking": "thinking",
    "redacted_thinking": "thinking",
    "tool_use": "tool_call",
    "server_tool_use": "server_call",
    "web_search_tool_result": "server_result",
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


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    citation: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


_EVENT = msgspec.json.Decoder(_Event)


class _Thought:
    """What was seen of an open thinking block: its seal is the whole block."""

    __slots__ = ("pieces", "redacted", "signature")

    def __init__(self, redacted: str) -> None:
        self.pieces: list[str] = []
        self.signature = ""
        self.redacted = redacted

    def seal(self) -> Seal | None:
        if self.redacted:
            return Seal("anthropic", {"type": "redacted_thinking", "data": self.redacted})
        if not self.signature:
            return None
        text = "".join(self.pieces)
        return Seal("anthropic", {"type": "thinking", "thinking": text, "signature": self.signature})


class StreamParser:
    """Feed it any cut of the stream. Unknown events, blocks and deltas are passed over."""

    def __init__(self) -> None:
        self._decoder = sse.Decoder()
        self._usage = Usage()
        self._thoughts: dict[int, _Thought] = {}

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

    def take_answer(self, message: dict[str, Any]) -> list[StreamEvent]:
        """A whole message, as the events that would have built it."""
        if message.get("type") == "error":
            return [failure(message.get("error"))]
        events: list[StreamEvent] = [self._start(message)]
        for index, block in enumerate(_dicts(message.get("content"))):
            self._open(index, block, events)
            events += [Annotated(index, _citation(citation)) for citation in _dicts(block.get("citations"))]
            self._close(index, events)
        reason = _STOPS.get(str(message.get("stop_reason")), "unknown")
        sequence = message.get("stop_sequence")
        details = message.get("stop_details")
        events.append(
            Finished(reason, self._usage, sequence if isinstance(sequence, str) else None, _explanation(details))
        )
        events.append(Done())
        return events

    def _take(self, data: bytes, out: list[StreamEvent]) -> None:
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # not JSON, or a newer server's event
            return
        kind = event.type
        if kind == "content_block_delta":
            self._delta(event, out)
        elif kind == "content_block_start":
            self._open(event.index, event.content_block or {}, out)
        elif kind == "content_block_stop":
            self._close(event.index, out)
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
        kind = delta.type
        if kind == "text_delta":
            out.append(Delta(event.index, "text", delta.text))
        elif kind == "input_json_delta":
            out.append(Delta(event.index, "arguments", delta.partial_json))
        elif kind == "thinking_delta":
            out.append(Delta(event.index, "thinking", delta.thinking))
            if (thought := self._thoughts.get(event.index)) is not None:
                thought.pieces.append(delta.thinking)
        elif kind == "signature_delta":
            if (thought := self._thoughts.get(event.index)) is not None:
                thought.signature += delta.signature
        elif kind == "citations_delta":
            out.append(Annotated(event.index, _citation(delta.citation)))

    def _open(self, index: int, block: dict[str, Any], out: list[StreamEvent]) -> None:
        type_ = block.get("type")
        kind = _BLOCKS.get(type_, "other") if isinstance(type_, str) else "other"
        data = block if kind == "server_result" else None
        out.append(BlockStarted(index, kind, _text(block, "id"), _text(block, "name"), data=data))
        if kind == "text":
            _say(index, block, out)
        elif kind == "thinking":
            self._think(index, block, out)
        elif kind in ("tool_call", "server_call") and block.get("input"):
            out.append(Delta(index, "arguments", msgspec.json.encode(block["input"]).decode()))

    def _think(self, index: int, block: dict[str, Any], out: list[StreamEvent]) -> None:
        thought = self._thoughts[index] = _Thought(_text(block, "data"))
        thought.signature = _text(block, "signature")
        if text := _text(block, "thinking"):
            thought.pieces.append(text)
            out.append(Delta(index, "thinking", text))

    def _close(self, index: int, out: list[StreamEvent]) -> None:
        thought = self._thoughts.pop(index, None)
        if thought is not None and (seal := thought.seal()) is not None:
            out.append(Sealed(index, seal))
        out.append(BlockEnded(index))

    def _start(self, message: dict[str, Any]) -> Started:
        usage = message.get("usage")
        if isinstance(usage, dict):
            self._usage = read_usage(usage, "anthropic_messages")
        return Started(_text(message, "id"), _text(message, "model"), self._usage)

    def _finish(self, event: _Event, out: list[StreamEvent]) -> None:
        """`message_delta` carries cumulative figures: they overwrite what the start said."""
        if event.usage is not None:
            self._usage = self._usage.merged(read_usage(event.usage, "anthropic_messages"))
        delta = event.delta
        if delta is not None and delta.stop_reason:
            reason = _STOPS.get(delta.stop_reason, "unknown")
            out.append(Finished(reason, self._usage, delta.stop_sequence, _explanation(delta.stop_details)))


def _say(index: int, block: dict[str, Any], out: list[StreamEvent]) -> None:
    if text := _text(block, "text"):
        out.append(Delta(index, "text", text))


def _citation(raw: object) -> Citation | None:
    if not isinstance(raw, dict) or not (url := _text(raw, "url")):
        return None
    return Citation(url, _text(raw, "title"), _text(raw, "cited_text"))


def _explanation(details: object) -> str:
    return _text(details, "explanation") if isinstance(details, dict) else ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def failure(error: object) -> Failed:
    """An error object, in a body or an event, as a canonical failure."""
    values = error if isinstance(error, dict) else {}
    code = _text(values, "type")
    return Failed(_ERRORS.get(code, "api"), _text(values, "message") or "The upstream reported an error.", code)
