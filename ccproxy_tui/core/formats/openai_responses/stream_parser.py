"""Responses streams (SSE) and whole responses, parsed into canonical events.

Items and their parts are told apart by their places, because deltas of several items may come mixed. What a model
encrypted is taken from `output_item.done` alone: earlier events hold a part of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.formats.canonical import (
    Annotated,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Delta,
    DeltaKind,
    Done,
    Finished,
    Ping,
    Sealed,
    Started,
    StopReason,
    StreamEvent,
    Usage,
)
from ccproxy_tui.core.formats.openai_chat.stream_parser import failure, read_citation
from ccproxy_tui.core.formats.seal import Seal, Vendor
from ccproxy_tui.core.formats.usage import read_usage
from ccproxy_tui.core.text import sse

_BLOCKS: dict[str, BlockKind] = {
    "reasoning": "thinking",
    "function_call": "tool_call",
    "custom_tool_call": "custom_call",
    "web_search_call": "server_call",
}
_INCOMPLETE: dict[str, StopReason] = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    annotation: dict[str, Any] | None = None
    error: Any = None
    code: Any = None
    message: Any = None


_EVENT = msgspec.json.Decoder(_Event)
_ITEM = -1  # the place of what is not inside a message: the item itself


class _Block:
    """An open block of the canonical stream, and whether any of its words came."""

    __slots__ = ("index", "kind", "part", "spoken")

    def __init__(self, index: int, kind: BlockKind) -> None:
        self.index = index
        self.kind = kind
        self.part = 0
        self.spoken = False


class StreamParser:
    """Feed it any cut of the stream. Unknown events and items are passed over."""

    def __init__(self, vendor: Vendor = "openai") -> None:
        self._decoder = sse.Decoder()
        self._vendor: Vendor = vendor
        self._next = 0
        self._started = False
        self._over = False
        self._called = False
        self._open: dict[tuple[int, int], _Block] = {}
        self._phases: dict[int, str] = {}
        self._seen: set[int] = set()

    def feed(self, data: bytes) -> list[StreamEvent]:
        out: list[StreamEvent] = []
        for event in self._decoder.feed(data):
            self._decode(event.data, out)
        return out

    def flush(self) -> list[StreamEvent]:
        out: list[StreamEvent] = []
        for event in self._decoder.flush():
            self._decode(event.data, out)
        return out

    def take_answer(self, response: dict[str, Any]) -> list[StreamEvent]:
        """A whole response, as the events that would have built it."""
        out: list[StreamEvent] = []
        if "output" not in response and response.get("error"):
            return [failure(response["error"])]
        self._start(response, out)
        self._finish(response, out)
        return out

    def _decode(self, data: bytes, out: list[StreamEvent]) -> None:
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not self._over:
            self._take(event, out)

    def _take(self, event: _Event, out: list[StreamEvent]) -> None:
        kind = event.type
        if kind.endswith(".delta"):
            self._delta(event, out)
        elif kind == "response.output_item.added" and event.item is not None:
            self._item_added(event.output_index, event.item, out)
        elif kind == "response.output_item.done" and event.item is not None:
            self._item_done(event.output_index, event.item, out)
        elif kind.endswith(".done"):
            self._said(event, out)
        elif kind == "response.output_text.annotation.added":
            self._annotated(event, out)
        elif kind in _TERMINAL:
            self._start(event.response or {}, out)
            self._finish(event.response or {}, out)
        elif kind == "response.created":
            self._start(event.response or {}, out)
        elif kind == "error":
            self._over = True
            out.append(failure(event.error or {"code": event.code, "message": event.message}))
        elif kind == "keepalive":
            out.append(Ping())

    def _start(self, response: dict[str, Any], out: list[StreamEvent]) -> None:
        if not self._started:
            self._started = True
            out.append(Started(str(response.get("id") or ""), str(response.get("model") or ""), Usage()))

    # --- pieces ---

    def _delta(self, event: _Event, out: list[StreamEvent]) -> None:
        if not isinstance(event.delta, str):
            return
        kind = event.type
        if kind == "response.output_text.delta":
            self._say(event.output_index, event.content_index, "text", event.delta, out)
        elif kind == "response.function_call_arguments.delta" or kind == "response.custom_tool_call_input.delta":
            self._say(event.output_index, _ITEM, "arguments", event.delta, out)
        elif kind == "response.reasoning_summary_text.delta":
            self._think(event.output_index, event.summary_index, event.delta, out)
        elif kind == "response.reasoning_text.delta":
            self._think(event.output_index, event.content_index, event.delta, out)
        elif kind == "response.refusal.delta":
            self._say(event.output_index, event.content_index, "refusal", event.delta, out)

    def _say(self, item: int, part: int, kind: DeltaKind, text: str, out: list[StreamEvent]) -> None:
        block = self._open.get((item, part))
        if block is None:
            if kind == "arguments":
                return  # of a call that was never announced, or of an item that is not understood
            block = self._begin(item, part, kind, out, phase=self._phases.get(item, ""))
        block.spoken = True
        out.append(Delta(block.index, kind, text))

    def _think(self, item: int, part: int, text: str, out: list[StreamEvent]) -> None:
        """Parts of one reasoning item become one block, with a blank line between them."""
        block = self._open.get((item, _ITEM)) or self._begin(item, _ITEM, "thinking", out)
        if part != block.part and block.spoken:
            text = f"\n\n{text}"
        block.part, block.spoken = part, True
        out.append(Delta(block.index, "thinking", text))

    def _said(self, event: _Event, out: list[StreamEvent]) -> None:
        """A piece is complete. Some servers send no deltas before this."""
        item, part = event.output_index, event.content_index
        match event.type:
            case "response.output_text.done" if isinstance(event.text, str):
                self._complete(item, part, "text", event.text, out)
            case "response.refusal.done" if isinstance(event.refusal, str):
                self._complete(item, part, "refusal", event.refusal, out)
            case "response.content_part.done":
                self._end(item, part, out)
            case "response.function_call_arguments.done" if isinstance(event.arguments, str):
                self._complete(item, _ITEM, "arguments", event.arguments, out)
            case "response.custom_tool_call_input.done" if isinstance(event.input, str):
                self._complete(item, _ITEM, "arguments", event.input, out)
            case "response.reasoning_summary_text.done" if isinstance(event.text, str):
                block = self._open.get((item, _ITEM))
                if block is not None and (not block.spoken or block.part != event.summary_index):
                    self._think(item, event.summary_index, event.text, out)
            case _:
                pass

    def _complete(self, item: int, part: int, kind: DeltaKind, text: str, out: list[StreamEvent]) -> None:
        block = self._open.get((item, part))
        if text and (not block.spoken if block is not None else item not in self._seen):
            self._say(item, part, kind, text, out)

    def _annotated(self, event: _Event, out: list[StreamEvent]) -> None:
        block = self._open.get((event.output_index, event.content_index))
        if block is not None and event.annotation is not None:
            out.append(Annotated(block.index, read_citation(event.annotation)))

    # --- blocks and items ---

    def _begin(
        self,
        item: int,
        part: int,
        kind: BlockKind,
        out: list[StreamEvent],
        *,
        id: str = "",
        name: str = "",
        namespace: str = "",
        phase: str = "",
    ) -> _Block:
        block = self._open[item, part] = _Block(self._next, kind)
        self._next += 1
        self._seen.add(item)
        out.append(BlockStarted(block.index, kind, id, name, namespace, phase))
        return block

    def _end(self, item: int, part: int, out: list[StreamEvent]) -> None:
        block = self._open.pop((item, part), None)
        if block is not None:
            out.append(BlockEnded(block.index))

    def _item_added(self, place: int, item: dict[str, Any], out: list[StreamEvent]) -> None:
        type_ = str(item.get("type"))
        if type_ == "message":
            self._phases[place] = str(item.get("phase") or "")
            return
        kind = _BLOCKS.get(type_)
        if kind is None or (place, _ITEM) in self._open:
            return
        name = "web_search" if kind == "server_call" else str(item.get("name") or "")
        id_ = str(item.get("call_id") or item.get("id") or "")
        self._begin(place, _ITEM, kind, out, id=id_, name=name, namespace=str(item.get("namespace") or ""))
        self._called = self._called or kind in ("tool_call", "custom_call")

    def _item_done(self, place: int, item: dict[str, Any], out: list[StreamEvent]) -> None:
        type_ = str(item.get("type"))
        if type_ == "message":
            self._message_done(place, item, out)
        elif type_ in _BLOCKS:
            if (place, _ITEM) not in self._open:
                self._item_added(place, item, out)
            block = self._open[place, _ITEM]
            if block.kind == "thinking":
                self._reasoning_done(place, block, item, out)
            elif block.kind == "server_call":
                self._search_done(place, block, item, out)
            else:
                text = item.get("arguments" if block.kind == "tool_call" else "input")
                self._complete(place, _ITEM, "arguments", text if isinstance(text, str) else "", out)
            self._end(place, _ITEM, out)
            if block.kind == "server_call":
                self._search_result(place, item, out)

    def _message_done(self, place: int, item: dict[str, Any], out: list[StreamEvent]) -> None:
        if place not in self._seen:  # nothing of it came as it was written
            self._phases[place] = str(item.get("phase") or "")
            for number, part in enumerate(_dicts(item.get("content"))):
                kind: DeltaKind = "refusal" if part.get("type") == "refusal" else "text"
                text = part.get("refusal" if kind == "refusal" else "text")
                if isinstance(text, str) and text:
                    self._say(place, number, kind, text, out)
                    self._cite(place, number, part, out)
        for key in [key for key in self._open if key[0] == place]:
            self._end(*key, out)

    def _cite(self, place: int, number: int, part: dict[str, Any], out: list[StreamEvent]) -> None:
        index = self._open[place, number].index
        out += [Annotated(index, read_citation(one)) for one in _dicts(part.get("annotations"))]

    def _reasoning_done(self, place: int, block: _Block, item: dict[str, Any], out: list[StreamEvent]) -> None:
        if not block.spoken:
            for number, part in enumerate(_dicts(item.get("summary"))):
                if isinstance(text := part.get("text"), str) and text:
                    self._think(place, number, text, out)
        if item.get("encrypted_content"):
            out.append(Sealed(block.index, Seal(self._vendor, item)))

    def _search_done(self, place: int, block: _Block, item: dict[str, Any], out: list[StreamEvent]) -> None:
        action = item.get("action")
        query = action.get("query") if isinstance(action, dict) else None
        arguments = msgspec.json.encode({"query": query if isinstance(query, str) else ""}).decode()
        out.append(Delta(block.index, "arguments", arguments))

    def _search_result(self, place: int, item: dict[str, Any], out: list[StreamEvent]) -> None:
        """What was found, as Anthropic's clients expect it after the call."""
        action = item.get("action")
        sources = _dicts(action.get("sources")) if isinstance(action, dict) else []
        found = [
            {
                "type": "web_search_result",
                "url": str(source.get("url") or ""),
                "title": str(source.get("title") or source.get("url") or ""),
                "encrypted_content": "",
                "page_age": None,
            }
            for source in sources
        ]
        data = {"type": "web_search_tool_result", "tool_use_id": str(item.get("id") or ""), "content": found}
        out += [BlockStarted(self._next, "server_result", data=data), BlockEnded(self._next)]
        self._next += 1

    # --- the end ---

    def _finish(self, response: dict[str, Any], out: list[StreamEvent]) -> None:
        self._over = True
        for key in list(self._open):
            self._end(*key, out)
        if not self._seen:  # only the terminal event tells what was said
            for place, item in enumerate(_dicts(response.get("output"))):
                self._item_done(place, item, out)
        status = response.get("status")
        if status in ("failed", "cancelled"):
            out.append(failure(response.get("error") or {"message": f"The response was {status}."}))
            return
        usage = response.get("usage")
        figures = read_usage(usage, "openai_responses") if isinstance(usage, dict) else Usage()
        out += [Finished(self._reason(response), figures), Done()]

    def _reason(self, response: dict[str, Any]) -> StopReason:
        if response.get("status") == "incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return _INCOMPLETE.get(str(reason), "end_turn")
        return "tool_use" if self._called else "end_turn"


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
