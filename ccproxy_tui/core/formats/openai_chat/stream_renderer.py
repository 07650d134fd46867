"""Canonical events as a Chat stream.

What Chat has no field for travels in extensions: `reasoning_content` for thinking, and `reasoning_details` for what its
vendor signed. Lists in a delta have an `index` in each element: the official SDK joins them by it.
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
from ccproxy_tui.core.formats.errors import error_event, ping
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.seal import Seal, wrap
from ccproxy_tui.core.formats.usage import chat_usage
from ccproxy_tui.core.text import sse

_encode = msgspec.json.encode

FINISH_REASONS: dict[StopReason, str] = {
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "context_window": "length",
    "refusal": "content_filter",
}
_FIELDS = {"text": b"content", "refusal": b"refusal", "thinking": b"reasoning_content"}
_CALLS: tuple[BlockKind, ...] = ("tool_call", "custom_call")


def completion_id(upstream_id: str) -> str:
    return upstream_id if upstream_id.startswith("chatcmpl-") else f"chatcmpl-{upstream_id or 'unknown'}"


def reasoning_detail(seal: Seal, index: int) -> Object:
    """A seal as an element of `reasoning_details`, to be sent back with the message."""
    return {"type": "reasoning.encrypted", "data": wrap(seal), "format": "ccproxy-v1", "index": index}


def annotation(citation: Citation, start: int, end: int) -> Object:
    values = {"url": citation.url, "title": citation.title, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": values}


class StreamRenderer:
    """Feed it events; it returns bytes: one chunk per event that Chat can show."""

    def __init__(self, options: ReplyOptions) -> None:
        self._options = options
        self._head = b""
        self._finished = Finished("unknown", Usage())
        self._kinds: dict[int, BlockKind] = {}
        self._calls: dict[int, int] = {}  # canonical index to the place in tool_calls
        self._silent: set[int] = set()  # calls without arguments so far
        self._thoughts = 0
        self._seals = 0
        self._written = 0  # characters of content
        self._block_start = 0
        self._citations: list[Citation] = []
        self._cited = 0
        self._refused = False

    def feed(self, events: list[StreamEvent]) -> bytes:
        out: list[bytes] = []
        for event in events:
            _HANDLERS[type(event)](self, event, out)
        return b"".join(out)

    def _seal(self, event: Sealed, out: list[bytes]) -> None:
        detail = reasoning_detail(event.seal, self._seals)
        self._seals += 1
        out.append(self._chunk(_encode({"reasoning_details": [detail]})))

    def _cite(self, event: Annotated, out: list[bytes]) -> None:
        if event.citation is not None:
            self._citations.append(event.citation)

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        out.append(error_event("openai_chat", event.kind, event.message))

    def _ping(self, event: Ping, out: list[bytes]) -> None:
        out.append(ping("openai_chat"))

    def _start(self, event: Started, out: list[bytes]) -> None:
        head = {
            "id": completion_id(event.id),
            "object": "chat.completion.chunk",
            "created": self._options.created,
            "model": self._options.model,
        }
        self._head = b"data: " + _encode(head)[:-1]
        out.append(self._chunk(b'{"role":"assistant","content":""}'))

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'%b,"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
            self._head,
            delta,
            finish,
        )

    def _begin(self, event: BlockStarted, out: list[bytes]) -> None:
        self._kinds[event.index] = event.kind
        if event.kind == "text":
            self._block_start = self._written
        elif event.kind in _CALLS:
            self._begin_call(event, out)

    def _begin_call(self, event: BlockStarted, out: list[bytes]) -> None:
        place = self._calls[event.index] = len(self._calls)
        self._silent.add(event.index)
        if self._options.legacy_functions:
            out.append(self._chunk(_encode({"function_call": {"name": event.name, "arguments": ""}})))
            return
        if event.kind == "custom_call":
            call: Object = {"type": "custom", "custom": {"name": event.name, "input": ""}}
        else:
            call = {"type": "function", "function": {"name": event.name, "arguments": ""}}
        out.append(self._chunk(_encode({"tool_calls": [{"index": place, "id": event.id, **call}]})))

    def _delta(self, event: Delta, out: list[bytes]) -> None:
        if not event.text:
            return
        if event.kind == "arguments":
            if event.index in self._calls:
                self._silent.discard(event.index)
                out.append(self._arguments(event.index, event.text))
            return
        text = event.text
        if event.kind == "thinking":
            text = self._thinking(event.index, text)
        elif event.kind == "refusal":
            self._refused = True
        else:
            self._written += len(text)
        out.append(self._chunk(b'{"%b":%b}' % (_FIELDS[event.kind], _encode(text))))

    def _thinking(self, index: int, text: str) -> str:
        """A blank line between thoughts: the clients join all of them into one text."""
        if self._thoughts and index + 1 != self._thoughts:
            text = f"\n\n{text}"
        self._thoughts = index + 1
        return text

    def _arguments(self, index: int, text: str) -> bytes:
        if self._options.legacy_functions:
            return self._chunk(b'{"function_call":{"arguments":%b}}' % _encode(text))
        form = (
            b'{"tool_calls":[{"index":%d,"custom":{"input":%b}}]}'
            if self._kinds[index] == "custom_call"
            else b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        )
        return self._chunk(form % (self._calls[index], _encode(text)))

    def _end(self, event: BlockEnded, out: list[bytes]) -> None:
        index = event.index
        kind = self._kinds.get(index)
        if index in self._silent and kind == "tool_call":
            out.append(self._arguments(index, "{}"))
        if kind == "text" and self._citations:
            out.append(self._chunk(_encode({"annotations": self._annotations()})))

    def _annotations(self) -> list[Object]:
        """The block's citations, with their places in the whole content."""
        elements: list[Object] = []
        for citation in self._citations:
            start = self._block_start + max(citation.start, 0)
            end = self._written if citation.end < 0 else self._block_start + citation.end
            elements.append({**annotation(citation, start, end), "index": self._cited})
            self._cited += 1
        self._citations = []
        return elements

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        """Held until the end mark: to Chat's clients a finish reason is the end."""
        self._finished = event

    def _done(self, event: Done, out: list[bytes]) -> None:
        finished = self._finished
        if finished.reason == "refusal" and finished.explanation and not self._refused:
            out.append(self._chunk(_encode({"refusal": finished.explanation})))
        reason = finish_reason(finished.reason, called=bool(self._calls), legacy=self._options.legacy_functions)
        out.append(self._chunk(b"{}", _encode(reason)))
        if self._options.include_usage:
            out.append(b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(chat_usage(finished.usage))))
        out.append(sse.encode(b"[DONE]"))


_HANDLERS: dict[type[StreamEvent], Callable[[StreamRenderer, Any, list[bytes]], None]] = {
    Delta: StreamRenderer._delta,
    Sealed: StreamRenderer._seal,
    Annotated: StreamRenderer._cite,
    BlockStarted: StreamRenderer._begin,
    BlockEnded: StreamRenderer._end,
    Started: StreamRenderer._start,
    Finished: StreamRenderer._finish,
    Done: StreamRenderer._done,
    Failed: StreamRenderer._fail,
    Ping: StreamRenderer._ping,
}


def finish_reason(reason: StopReason, *, called: bool, legacy: bool) -> str:
    """`tool_calls` is never claimed when no call was sent."""
    if reason == "tool_use":
        return ("function_call" if legacy else "tool_calls") if called else "stop"
    return FINISH_REASONS.get(reason, "stop")
