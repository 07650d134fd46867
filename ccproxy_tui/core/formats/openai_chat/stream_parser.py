"""Chat streams (SSE) and whole completions, parsed into canonical events.

Seen from GitHub Copilot, and read here: a prelude without choices, empty ids, one answer split over several choices,
`reasoning_text` and `reasoning_opaque`, names that come after the first piece of a call.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.errors import ErrorKind
from ccproxy_tui.core.formats.canonical import (
    Annotated,
    BlockEnded,
    BlockStarted,
    Citation,
    Delta,
    DeltaKind,
    Done,
    Failed,
    Finished,
    Sealed,
    Started,
    StopReason,
    StreamEvent,
    Usage,
)
from ccproxy_tui.core.formats.seal import Seal
from ccproxy_tui.core.formats.usage import read_usage
from ccproxy_tui.core.text import sse

_STOPS: dict[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ERRORS: dict[str, ErrorKind] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "authentication",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "insufficient_quota": "billing",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "usage_limit_reached": "rate_limit",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "overloaded": "overloaded",
    "context_length_exceeded": "invalid_request",
    "invalid_prompt": "invalid_request",
}


class _Piece(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Piece | None = None
    custom: _Piece | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning_text: str | None = None
    reasoning_opaque: str | None = None
    cot_summary: str | None = None
    tool_calls: list[_Call] | None = None
    annotations: list[dict[str, Any]] | None = None

    @property
    def thinking(self) -> str:
        return self.reasoning_content or self.reasoning_text or self.cot_summary or ""


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class _OpenCall:
    """A call under way. Its pieces are held until its id and its name are known."""

    __slots__ = ("custom", "id", "index", "name", "pieces", "sent", "started")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.custom = False
        self.pieces: list[str] = []
        self.sent = 0
        self.started = False


class StreamParser:
    """Feed it any cut of the stream. What is not understood is passed over."""

    def __init__(self) -> None:
        self._decoder = sse.Decoder()
        self._started = False
        self._over = False
        self._usage = Usage()
        self._stop: StopReason | None = None
        self._next = 0
        self._words: tuple[DeltaKind, int] | None = None  # the open block of text, thinking or refusal
        self._thoughts: list[str] = []
        self._opaque = ""
        self._calls: dict[tuple[int, int], _OpenCall] = {}
        self._called = False

    def feed(self, data: bytes) -> list[StreamEvent]:
        out: list[StreamEvent] = []
        for event in self._decoder.feed(data):
            self._take(event.data, out)
        return out

    def flush(self) -> list[StreamEvent]:
        out: list[StreamEvent] = []
        for event in self._decoder.flush():
            self._take(event.data, out)
        if self._stop is not None:  # a finish reason was seen: the answer is whole, with or without [DONE]
            self._finish(out)
        return out

    def take_answer(self, completion: dict[str, Any]) -> list[StreamEvent]:
        """A whole completion, as the events that would have built it."""
        out: list[StreamEvent] = []
        try:
            chunk = msgspec.convert(completion, _Chunk)
        except msgspec.ValidationError:
            return [Failed("api", "The upstream's answer is not a chat completion.")]
        for choice in chunk.choices or ():
            choice.delta, choice.message = choice.message, None
            for place, call in enumerate((choice.delta and choice.delta.tool_calls) or ()):
                call.index = place  # whole calls are told apart by their places, not by an index
        self._chunk(chunk, out)
        self._finish(out)
        return out

    def _take(self, data: bytes, out: list[StreamEvent]) -> None:
        if data == b"[DONE]":
            self._finish(out)
            return
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._chunk(chunk, out)

    def _chunk(self, chunk: _Chunk, out: list[StreamEvent]) -> None:
        if chunk.error is not None:
            self._over = True
            out.append(failure(chunk.error))
            return
        if chunk.usage is not None:
            self._usage = self._usage.merged(read_usage(chunk.usage, "openai_chat"))
        for choice in chunk.choices or ():
            if not self._started:
                self._started = True
                out.append(Started(chunk.id or "", chunk.model or "", Usage()))
            if choice.delta is not None:
                self._delta(choice.index, choice.delta, out)
            if choice.finish_reason:
                self._note_stop(_STOPS.get(choice.finish_reason, "unknown"))

    def _note_stop(self, reason: StopReason) -> None:
        """Of several choices of one answer, the one with the calls says how it ended."""
        if self._stop is None or reason == "tool_use":
            self._stop = reason

    # --- blocks ---

    def _delta(self, choice: int, delta: _Delta, out: list[StreamEvent]) -> None:
        if thinking := delta.thinking:
            self._say("thinking", thinking, out)
            self._thoughts.append(thinking)
        if delta.reasoning_opaque:
            self._opaque += delta.reasoning_opaque
        if delta.content:
            self._say("text", delta.content, out)
        if delta.refusal:
            self._say("refusal", delta.refusal, out)
        if self._words is not None and delta.annotations:
            out.extend(Annotated(self._words[1], read_citation(one)) for one in delta.annotations)
        for call in delta.tool_calls or ():
            self._call(choice, call, out)

    def _say(self, kind: DeltaKind, text: str, out: list[StreamEvent]) -> None:
        if self._words is None or self._words[0] != kind:
            self._end_words(out)
            assert kind != "arguments"
            self._words = (kind, self._next)
            out.append(BlockStarted(self._next, kind))
            self._next += 1
        out.append(Delta(self._words[1], kind, text))

    def _end_words(self, out: list[StreamEvent]) -> None:
        if self._words is None:
            return
        kind, index = self._words
        self._words = None
        if kind == "thinking" and (seal := self._seal()) is not None:
            out.append(Sealed(index, seal))
        out.append(BlockEnded(index))

    def _seal(self) -> Seal | None:
        if not self._opaque:
            return None
        seal = Seal("copilot", {"reasoning_text": "".join(self._thoughts), "reasoning_opaque": self._opaque})
        self._opaque = ""
        return seal

    def _call(self, choice: int, piece: _Call, out: list[StreamEvent]) -> None:
        self._end_words(out)
        key = (choice, piece.index)
        call = self._calls.get(key)
        if call is not None and piece.id and call.id and piece.id != call.id:  # a new call at an old place
            self._end_call(key, out)
            call = None
        if call is None:
            self._end_complete(out)
            call = self._calls[key] = _OpenCall(self._next)
            self._next += 1
        definition = piece.function or piece.custom or _Piece()
        call.custom = call.custom or piece.custom is not None
        call.id = call.id or piece.id or ""
        call.name = call.name or definition.name or ""
        if text := definition.arguments or definition.input:
            call.pieces.append(text)
        if call.id and call.name:
            self._send(call, out)

    def _send(self, call: _OpenCall, out: list[StreamEvent]) -> None:
        if not call.started:
            call.started = self._called = True
            out.append(BlockStarted(call.index, "custom_call" if call.custom else "tool_call", call.id, call.name))
        out.extend(Delta(call.index, "arguments", text) for text in call.pieces[call.sent :])
        call.sent = len(call.pieces)

    def _end_complete(self, out: list[StreamEvent]) -> None:
        """End the calls whose arguments are complete: another one begins, and clients may take one at a time."""
        for key, call in list(self._calls.items()):
            if call.started and _is_json("".join(call.pieces)):
                self._end_call(key, out)

    def _end_call(self, key: tuple[int, int], out: list[StreamEvent]) -> None:
        call = self._calls.pop(key)
        if not call.started and call.name:  # no id was ever given: any will do, as long as it is the same every time
            call.id = f"call_{call.index}"
            self._send(call, out)
        if call.started:
            out.append(BlockEnded(call.index))

    def _finish(self, out: list[StreamEvent]) -> None:
        if self._over:
            return
        self._over = True
        if not self._started:
            out.append(Started("", "", Usage()))
        self._end_words(out)
        if (seal := self._seal()) is not None:
            out += [BlockStarted(self._next, "thinking"), Sealed(self._next, seal), BlockEnded(self._next)]
        for key in list(self._calls):
            self._end_call(key, out)
        reason = self._stop or "unknown"
        if self._called and reason in ("end_turn", "unknown"):
            reason = "tool_use"
        out += [Finished(reason, self._usage), Done()]


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def read_citation(annotation: dict[str, Any]) -> Citation | None:
    """A `url_citation` of either OpenAI dialect; None for another kind."""
    values = annotation.get("url_citation", annotation)
    if annotation.get("type") != "url_citation" or not isinstance(values, dict):
        return None
    start, end = values.get("start_index"), values.get("end_index")
    return Citation(
        str(values.get("url") or ""),
        str(values.get("title") or ""),
        start=start if isinstance(start, int) else -1,
        end=end if isinstance(end, int) else -1,
    )


def failure(error: object) -> Failed:
    """OpenAI's error object, in a body or an event, as a canonical failure."""
    if isinstance(error, str):
        return Failed("api", error)
    values = error if isinstance(error, dict) else {}
    code, type_ = str(values.get("code") or ""), str(values.get("type") or "")
    kind = _ERRORS.get(code) or _ERRORS.get(type_) or "api"
    return Failed(kind, str(values.get("message") or "The upstream reported an error."), code or type_)
