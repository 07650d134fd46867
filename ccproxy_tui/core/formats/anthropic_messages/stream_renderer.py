"""Canonical events as a Messages stream: one block open at a time, numbered without gaps.

Source: https://docs.anthropic.com/en/api/messages-streaming.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ccproxy_tui.core.formats.canonical import (
    Annotated,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Delta,
    Done,
    Failed,
    Finished,
    Ping,
    Sealed,
    Started,
    StopReason,
    StreamEvent,
)
from ccproxy_tui.core.formats.errors import error_event, ping
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import Seal, wrap
from ccproxy_tui.core.formats.usage import anthropic_usage
from ccproxy_tui.core.text import sse

_encode = msgspec.json.encode

_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%%d,"delta":{"type":"%b","%b":%%b}}\n\n'
)
_TEXT = _DELTA % (b"text_delta", b"text")
_THINKING = _DELTA % (b"thinking_delta", b"thinking")
_SIGNATURE = _DELTA % (b"signature_delta", b"signature")
_ARGUMENTS = _DELTA % (b"input_json_delta", b"partial_json")
_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_FORMS = {"text": _TEXT, "refusal": _TEXT, "thinking": _THINKING, "arguments": _ARGUMENTS}
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

# What an answer may consist of in this dialect; blocks of other kinds are passed over, without a gap in the numbers.
_SHOWN: frozenset[BlockKind] = frozenset(
    {"text", "refusal", "thinking", "tool_call", "custom_call", "server_call", "server_result"}
)
STOP_REASONS: dict[StopReason, str] = {
    "context_window": "model_context_window_exceeded",
    "unknown": "end_turn",
}


def message_id(upstream_id: str) -> str:
    """An id as this dialect's clients know it."""
    if upstream_id.startswith("msg_"):
        return upstream_id
    return f"msg_{upstream_id.removeprefix('resp_').removeprefix('chatcmpl-') or 'unknown'}"


class StreamRenderer:
    """Feed it events; it returns bytes. A block that opens while another one is open waits for its turn."""

    def __init__(self, options: ReplyOptions, report: Report) -> None:
        self._options = options
        self._report = report
        self._next = 0
        self._current: int | None = None  # the canonical index whose turn it is
        self._kind: BlockKind = "other"
        self._opened = False  # whether its start was sent: thinking and text open with their first words
        self._start: BlockStarted | None = None
        self._waiting: dict[int, list[StreamEvent]] = {}
        self._refused = False
        self._called = False
        self._over = False

    def feed(self, events: list[StreamEvent]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if not self._over:
                _HANDLERS[type(event)](self, event, out)
        return b"".join(out)

    def _piece(self, event: Delta | Sealed | BlockEnded | Annotated, out: list[bytes]) -> None:
        if event.index == self._current:
            self._inside(event, out)
        elif event.index in self._waiting:
            self._waiting[event.index].append(event)

    def _block(self, event: BlockStarted, out: list[bytes]) -> None:
        if event.kind not in _SHOWN:
            return
        if self._current is None:
            self._begin(event)
            self._open_call(out)
        else:
            self._waiting[event.index] = [event]

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        self._close_all(out)
        out.append(self._message_delta(event))

    def _done(self, event: Done, out: list[bytes]) -> None:
        self._over = True
        out.append(_END)

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        self._over = True
        out.append(error_event("anthropic_messages", event.kind, event.message))

    def _ping(self, event: Ping, out: list[bytes]) -> None:
        out.append(ping("anthropic_messages"))

    # --- one block ---

    def _begin(self, event: BlockStarted) -> None:
        self._current, self._kind, self._start, self._opened = event.index, event.kind, event, False

    def _open_call(self, out: list[bytes]) -> None:
        """Calls and results open at once; words open with their first delta."""
        event = self._start
        assert event is not None
        if event.kind in ("tool_call", "custom_call"):
            self._called = True
            self._send_start({"type": "tool_use", "id": event.id, "name": event.name, "input": {}}, out)
        elif event.kind == "server_call":
            self._send_start({"type": "server_tool_use", "id": event.id, "name": event.name, "input": {}}, out)
        elif event.kind == "server_result":
            self._send_start(event.data, out)
        if event.kind == "custom_call":
            out.append(_ARGUMENTS % (self._next, b'"{\\"input\\":\\""'))

    def _send_start(self, block: Object, out: list[bytes]) -> None:
        self._opened = True
        out.append(_START % (self._next, _encode(block)))

    def _inside(self, event: Delta | Sealed | BlockEnded | Annotated, out: list[bytes]) -> None:
        if isinstance(event, Delta):
            self._say(event, out)
        elif isinstance(event, BlockEnded):
            self._end(out)
            self._next_waiting(out)
        elif isinstance(event, Sealed):
            self._seal(event.seal, out)
        elif event.citation is not None:
            self._report.dropped("annotations", "Anthropic's citations need its own search index")

    def _say(self, event: Delta, out: list[bytes]) -> None:
        text = event.text
        if not text:
            return
        if not self._opened:
            self._refused = self._refused or self._kind == "refusal"
            thinking = self._kind == "thinking"
            block = {"type": "thinking", "thinking": "", "signature": ""} if thinking else {"type": "text", "text": ""}
            self._send_start(block, out)
        if self._kind == "custom_call":  # the input is a string inside the arguments
            text = _encode(text)[1:-1].decode()
        out.append(_FORMS[event.kind] % (self._next, _encode(text)))

    def _seal(self, seal: Seal, out: list[bytes]) -> None:
        """An own signature goes as it is, a foreign one in our envelope. Without words it is a redacted block."""
        native = seal.block if seal.vendor == "anthropic" else {}
        if self._opened:
            out.append(_SIGNATURE % (self._next, _encode(native.get("signature") or wrap(seal))))
        else:
            data = native or {"type": "redacted_thinking", "data": wrap(seal)}
            self._send_start(data, out)

    def _end(self, out: list[bytes]) -> None:
        if self._kind == "custom_call":
            out.append(_ARGUMENTS % (self._next, b'"\\"}"'))
        if self._opened:
            out.append(_STOP % self._next)
            self._next += 1
        self._current = None

    def _next_waiting(self, out: list[bytes]) -> None:
        """Give the turn to the block that has waited longest, with all that it has so far."""
        while self._current is None and self._waiting:
            index = next(iter(self._waiting))
            start, *rest = self._waiting.pop(index)
            assert isinstance(start, BlockStarted)
            self._begin(start)
            self._open_call(out)
            for event in rest:
                assert isinstance(event, Delta | Sealed | BlockEnded | Annotated)
                if isinstance(event, BlockEnded):
                    self._end(out)
                else:
                    self._inside(event, out)

    def _close_all(self, out: list[bytes]) -> None:
        while self._current is not None:
            self._end(out)
            self._next_waiting(out)

    # --- the message ---

    def _message_start(self, event: Started, out: list[bytes]) -> None:
        message: Object = {
            "id": message_id(event.id),
            "type": "message",
            "role": "assistant",
            "model": self._options.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": anthropic_usage(event.usage),
        }
        out.append(sse.encode(_encode({"type": "message_start", "message": message}), "message_start"))

    def _message_delta(self, event: Finished) -> bytes:
        reason = stop_reason(event.reason, called=self._called, refused=self._refused)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": event.stop_sequence},
            "usage": anthropic_usage(event.usage),
        }
        return sse.encode(_encode(delta), "message_delta")


_HANDLERS: dict[type[StreamEvent], Callable[[StreamRenderer, Any, list[bytes]], None]] = {
    Delta: StreamRenderer._piece,
    Sealed: StreamRenderer._piece,
    Annotated: StreamRenderer._piece,
    BlockStarted: StreamRenderer._block,
    BlockEnded: StreamRenderer._piece,
    Started: StreamRenderer._message_start,
    Finished: StreamRenderer._finish,
    Done: StreamRenderer._done,
    Failed: StreamRenderer._fail,
    Ping: StreamRenderer._ping,
}


def stop_reason(reason: StopReason, *, called: bool, refused: bool) -> str:
    """`tool_use` is never claimed when no call was sent, and a refusal in words is one."""
    if reason == "tool_use" and not called:
        return "end_turn"
    if refused and reason in ("end_turn", "unknown"):
        return "refusal"
    return STOP_REASONS.get(reason, reason)
