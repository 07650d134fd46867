"""Canonical events as a Responses stream, and as the whole response that such a stream ends with.

Grammar: https://platform.openai.com/docs/api-reference/responses-streaming. Every item is announced, filled and done;
the terminal event repeats all of them in their order.
"""

from __future__ import annotations

from collections.abc import Callable
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
from ccproxy_tui.core.formats.errors import error_event, ping
from ccproxy_tui.core.formats.fit import fit
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.reply import Reply
from ccproxy_tui.core.formats.seal import wrap
from ccproxy_tui.core.formats.usage import responses_usage
from ccproxy_tui.core.text import sse

_encode = msgspec.json.encode
_ID_LIMIT = 64

_FORMS: dict[BlockKind, bytes] = {
    "text": b"response.output_text.delta",
    "refusal": b"response.refusal.delta",
    "thinking": b"response.reasoning_summary_text.delta",
    "tool_call": b"response.function_call_arguments.delta",
    "custom_call": b"response.custom_tool_call_input.delta",
}
_PLACES: dict[BlockKind, bytes] = {
    "text": b'"content_index":%d,"logprobs":[],',
    "refusal": b'"content_index":%d,',
    "thinking": b'"summary_index":%d,',
}
_INCOMPLETE: dict[StopReason, str] = {
    "max_tokens": "max_output_tokens",
    "context_window": "max_output_tokens",
    "refusal": "content_filter",
}
_CODES: dict[ErrorKind, str] = {
    "rate_limit": "rate_limit_exceeded",
    "overloaded": "server_is_overloaded",
    "invalid_request": "invalid_prompt",
    "billing": "insufficient_quota",
}


def response_id(upstream_id: str) -> str:
    bare = upstream_id.removeprefix("msg_").removeprefix("chatcmpl-").removeprefix("resp_")
    return f"resp_{bare or 'unknown'}"


class _Item:
    """An item of the output. `place` is its output_index; `part` counts a message's parts."""

    __slots__ = ("citations", "kind", "part", "pieces", "place", "value")

    def __init__(self, place: int, kind: BlockKind, value: Object) -> None:
        self.place = place
        self.kind = kind
        self.value = value
        self.part = 0
        self.pieces: list[str] = []
        self.citations: list[Citation] = []

    @property
    def id(self) -> str:
        return str(self.value["id"])

    def text(self) -> str:
        return "".join(self.pieces)


class StreamRenderer:
    """Feed it events; it returns bytes. `response` is what the stream has built so far."""

    def __init__(self, options: ReplyOptions) -> None:
        self._options = options
        self._sequence = 0
        self._id = response_id("")
        self._started = False
        self._items: list[_Item] = []
        self._by_block: dict[int, _Item] = {}
        self._heads: dict[int, bytes] = {}  # the start of each block's delta events, up to the sequence number
        self._message: _Item | None = None  # open as long as words follow words
        self._search: _Item | None = None  # waits for its results
        self._finished = Finished("unknown", Usage())
        self.failed: Failed | None = None

    def feed(self, events: list[StreamEvent]) -> bytes:
        out: list[bytes] = []
        for event in events:
            _HANDLERS[type(event)](self, event, out)
        return b"".join(out)

    def _cite(self, event: Annotated, out: list[bytes]) -> None:
        if event.citation is not None and event.index in self._by_block:
            self._by_block[event.index].citations.append(event.citation)

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        self._finished = event

    def _ping(self, event: Ping, out: list[bytes]) -> None:
        out.append(ping("openai_responses"))

    def _event(self, name: str, values: Object) -> bytes:
        data = _encode({"type": name, "sequence_number": self._sequence, **values})
        self._sequence += 1
        return sse.encode(data, name)

    def _start(self, event: Started, out: list[bytes]) -> None:
        self._id = response_id(event.id)
        self._started = True
        values = {"response": self.response("in_progress")}
        out += [self._event("response.created", values), self._event("response.in_progress", values)]

    # --- blocks ---

    def _begin(self, event: BlockStarted, out: list[bytes]) -> None:
        if event.kind not in ("text", "refusal"):
            self._end_message(out)
        if self._search is not None and event.kind != "server_result":
            self._end_search([], out)
        match event.kind:
            case "tool_call" | "custom_call":
                self._begin_call(event, out)
            case "server_call" if event.name == "web_search":
                self._begin_search(event, out)
            case "server_result":
                self._end_search(_sources(event.data), out)
            case "text" | "refusal" | "thinking":
                # Opens with its first words: an empty one is no item at all.
                self._by_block[event.index] = _Item(-1, event.kind, {"phase": event.phase})
            case _:
                pass

    def _add(self, kind: BlockKind, prefix: str, value: Object, out: list[bytes]) -> _Item:
        place = len(self._items)
        bare = self._id.removeprefix("resp_")
        item = _Item(place, kind, {"id": fit(f"{prefix}_{bare}_{place}", _ID_LIMIT), **value})
        self._items.append(item)
        out.append(self._event("response.output_item.added", {"output_index": place, "item": item.value}))
        return item

    def _finish_item(self, item: _Item, out: list[bytes]) -> None:
        out.append(self._event("response.output_item.done", {"output_index": item.place, "item": item.value}))

    def _begin_call(self, event: BlockStarted, out: list[bytes]) -> None:
        custom = event.kind == "custom_call"
        value: Object = {
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "call_id": event.id,
            "name": event.name,
            "input" if custom else "arguments": "",
        }
        if event.namespace:
            value["namespace"] = event.namespace
        item = self._add(event.kind, "ctc" if custom else "fc", value, out)
        self._by_block[event.index] = item
        self._heads[event.index] = self._head(item)

    def _head(self, item: _Item) -> bytes:
        name = _FORMS[item.kind]
        head = b'event: %b\ndata: {"type":"%b","item_id":%b,"output_index":%d,' % (
            name,
            name,
            _encode(item.id),
            item.place,
        )
        place = _PLACES.get(item.kind)
        return head if place is None else head + place % item.part

    def _delta(self, event: Delta, out: list[bytes]) -> None:
        text = event.text
        if not text or event.index not in self._by_block:
            return
        head = self._heads.get(event.index)
        if head is None:
            if self._by_block[event.index].kind == "server_call":
                self._by_block[event.index].pieces.append(text)
                return
            head = self._open_words(event.index, out)
        self._by_block[event.index].pieces.append(text)
        self._add_delta(head, text, out)

    def _add_delta(self, head: bytes, text: str, out: list[bytes]) -> None:
        out.append(b'%b"sequence_number":%d,"delta":%b}\n\n' % (head, self._sequence, _encode(text)))
        self._sequence += 1

    def _open_words(self, index: int, out: list[bytes]) -> bytes:
        """The item, or the part of a message, that the first words of a block open."""
        block = self._by_block[index]
        if block.kind == "thinking":
            item = self._by_block[index] = self._open_thinking(out)
            part = {"type": "summary_text", "text": ""}
            values = {"item_id": item.id, "output_index": item.place, "summary_index": 0, "part": part}
            out.append(self._event("response.reasoning_summary_part.added", values))
        else:
            item = self._by_block[index] = self._open_message(block, out)
            part = _part(block.kind, "", [])
            values = {"item_id": item.id, "output_index": item.place, "content_index": item.part, "part": part}
            out.append(self._event("response.content_part.added", values))
        head = self._heads[index] = self._head(item)
        return head

    def _open_thinking(self, out: list[bytes]) -> _Item:
        return self._add("thinking", "rs", {"type": "reasoning", "summary": [], "encrypted_content": None}, out)

    def _open_message(self, block: _Item, out: list[bytes]) -> _Item:
        phase = block.value.get("phase")
        if self._message is not None and self._message.value.get("phase", "") != phase:
            self._end_message(out)
        if self._message is None:
            value: Object = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
            if phase:
                value["phase"] = phase
            self._message = self._add("text", "msg", value, out)
        self._message.kind = block.kind
        self._message.citations = block.citations
        return self._message

    def _seal(self, event: Sealed, out: list[bytes]) -> None:
        index, seal = event.index, event.seal
        block = self._by_block.get(index)
        if block is None:
            return
        if block.place < 0:  # nothing was said: the item is its seal alone
            block = self._by_block[index] = self._open_thinking(out)
            self._heads[index] = b""
        own = seal.block.get("encrypted_content") if seal.vendor == "openai" else None
        block.value["encrypted_content"] = own if isinstance(own, str) else wrap(seal)

    # --- ends ---

    def _end(self, event: BlockEnded, out: list[bytes]) -> None:
        index = event.index
        item = self._by_block.pop(index, None)
        self._heads.pop(index, None)
        if item is None or item.place < 0:
            return
        match item.kind:
            case "tool_call" | "custom_call":
                self._end_call(item, out)
            case "thinking":
                self._end_thinking(item, out)
            case "text" | "refusal":
                self._end_part(item, out)
            case _:
                pass

    def _end_call(self, item: _Item, out: list[bytes]) -> None:
        custom = item.kind == "custom_call"
        field = "input" if custom else "arguments"
        text = item.text() or ("" if custom else "{}")
        item.value = {**item.value, "status": "completed", field: text}
        name = "response.custom_tool_call_input.done" if custom else "response.function_call_arguments.done"
        values: Object = {"item_id": item.id, "output_index": item.place, field: text}
        if not custom:
            values["name"] = item.value["name"]
        out.append(self._event(name, values))
        self._finish_item(item, out)

    def _end_thinking(self, item: _Item, out: list[bytes]) -> None:
        if item.pieces:
            part = {"type": "summary_text", "text": item.text()}
            item.value = {**item.value, "summary": [part]}
            where = {"item_id": item.id, "output_index": item.place, "summary_index": 0}
            out.append(self._event("response.reasoning_summary_text.done", {**where, "text": part["text"]}))
            out.append(self._event("response.reasoning_summary_part.done", {**where, "part": part}))
        self._finish_item(item, out)

    def _end_part(self, item: _Item, out: list[bytes]) -> None:
        text = item.text()
        where = {"item_id": item.id, "output_index": item.place, "content_index": item.part}
        annotations = [_annotation(citation, len(text)) for citation in item.citations]
        for number, annotation in enumerate(annotations):
            values = {**where, "annotation_index": number, "annotation": annotation}
            out.append(self._event("response.output_text.annotation.added", values))
        part = _part(item.kind, text, annotations)
        if item.kind == "refusal":
            out.append(self._event("response.refusal.done", {**where, "refusal": text}))
        else:
            out.append(self._event("response.output_text.done", {**where, "text": text, "logprobs": []}))
        out.append(self._event("response.content_part.done", {**where, "part": part}))
        item.value = {**item.value, "content": [*item.value["content"], part]}
        item.pieces, item.citations = [], []
        item.part += 1

    def _end_message(self, out: list[bytes]) -> None:
        if self._message is not None:
            self._message.value = {**self._message.value, "status": "completed"}
            self._finish_item(self._message, out)
            self._message = None

    # --- web search ---

    def _begin_search(self, event: BlockStarted, out: list[bytes]) -> None:
        action = {"type": "search", "query": ""}
        value = {"type": "web_search_call", "status": "in_progress", "action": action}
        item = self._search = self._by_block[event.index] = self._add("server_call", "ws", value, out)
        values = {"item_id": item.id, "output_index": item.place}
        names = ("response.web_search_call.in_progress", "response.web_search_call.searching")
        out += [self._event(name, values) for name in names]

    def _end_search(self, sources: list[Object], out: list[bytes]) -> None:
        item, self._search = self._search, None
        if item is None:
            return
        action: Object = {"type": "search", "query": _query(item.text())}
        if sources:
            action["sources"] = sources
        item.value = {**item.value, "status": "completed", "action": action}
        where = {"item_id": item.id, "output_index": item.place}
        out.append(self._event("response.web_search_call.completed", where))
        self._finish_item(item, out)

    # --- the response ---

    def _done(self, event: Done, out: list[bytes]) -> None:
        for index in list(self._by_block):
            self._end(BlockEnded(index), out)
        self._end_message(out)
        self._end_search([], out)
        status = "incomplete" if self._finished.reason in _INCOMPLETE else "completed"
        out.append(self._event(f"response.{status}", {"response": self.response(status)}))

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        self.failed = event
        if not self._started:
            out.append(error_event("openai_responses", event.kind, event.message, sequence=self._sequence))
            return
        response = self.response("failed")
        response["error"] = {"code": _CODES.get(event.kind, "server_error"), "message": event.message}
        out.append(self._event("response.failed", {"response": response}))

    def answer(self) -> Object:
        """The whole response, once the stream is done."""
        return self.response("incomplete" if self._finished.reason in _INCOMPLETE else "completed")

    def response(self, status: str) -> Object:
        over = status in ("completed", "incomplete")
        reason = _INCOMPLETE.get(self._finished.reason)
        response: Object = {
            "id": self._id,
            "object": "response",
            "created_at": self._options.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "instructions": None,
            "metadata": {},
            "model": self._options.model,
            "output": [item.value for item in self._items] if over or status == "failed" else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": responses_usage(self._finished.usage) if over else None,
        }
        response.update(self._options.echo)
        return response


class _Silent(StreamRenderer):
    """Builds the response alone. An answer's text stands in five events of its stream."""

    def _event(self, name: str, values: Object) -> bytes:
        return b""

    def _add_delta(self, head: bytes, text: str, out: list[bytes]) -> None:
        pass


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


def _part(kind: BlockKind, text: str, annotations: list[Object]) -> Object:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _annotation(citation: Citation, length: int) -> Object:
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": max(citation.start, 0),
        "end_index": length if citation.end < 0 else citation.end,
    }


def _sources(data: Any) -> list[Object]:
    content = data.get("content") if isinstance(data, dict) else None
    if not isinstance(content, list):
        return []
    return [{"type": "url", "url": str(one.get("url"))} for one in content if isinstance(one, dict) and one.get("url")]


def _query(arguments: str) -> str:
    try:
        values = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return ""
    query = values.get("query") if isinstance(values, dict) else None
    return query if isinstance(query, str) else ""


# What a response repeats of its request.
ECHOED = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
)


def echo_of(body: Object) -> Object:
    return {field: body[field] for field in ECHOED if body.get(field) is not None}


def render_answer(reply: Reply, options: ReplyOptions) -> Object:
    """A whole answer: what a stream of it would have ended with."""
    renderer = _Silent(options)
    renderer.feed(list(reply.events()))
    return renderer.answer()
