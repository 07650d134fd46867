"""What Claude Code says during one turn, as one message of the Messages API, event by event. Pure.

A turn of an agent is several messages of the model with tools run between them. They become the blocks of one message;
what has no place in it (tools that ran, the start and the end of the turn) is told as the message mode says:

- `forward`: blocks of types of their own (`system_message`, `tool_use_sdk`, `tool_result_sdk`, `result_message`); to a
  client of another dialect, lines that begin with `[claude_code_sdk`.
- `formatted`: text with XML tags of these names, also around text and thinking.
- `ignore`: text alone, and thinking where the request asks for it.

A tool that has run is never a `tool_use`: the client would run it again. Shapes: the older programs' own, with one
index for each block; Claude Code's: observed, 2.1.330.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ccproxy_tui.core.formats.misfit import Object

Mode = Literal["forward", "formatted", "ignore"]
SOURCE = "claude_code_sdk"

_USAGE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
# Errors of Claude Code's own, from before it has asked anybody.
_ERRORS = {"authentication_failed": 401, "billing_error": 402, "rate_limit": 429, "invalid_request": 400}
_RESULT = (
    *("subtype", "duration_ms", "duration_api_ms", "is_error", "num_turns", "session_id", "total_cost_usd"),
    *("usage", "result"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """How a turn is told. `foreign`: to a client of another dialect than Anthropic's."""

    mode: Mode = "forward"
    pretty: bool = True
    foreign: bool = False
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """How a turn failed, with the status that the Messages API gave, or would give."""

    status: int
    message: str


class Turn:
    """Feed it the messages of one turn; it gives the events of one stream. `done` after the last."""

    def __init__(self, form: Form, model: str) -> None:
        self._form = form
        self._model = model
        self._waiting: list[Object] = []  # blocks from before the model's first word
        self._open: dict[int, _Plain] = {}
        self._next = 0
        self._streamed: set[str] = set()
        self._stop = "end_turn"
        self._tools: set[str] = set()
        self.started = False
        self.done = False
        self.failure: Failure | None = None
        self.summary = ""  # of the whole turn, in words

    @property
    def running_tools(self) -> bool:
        """Whether silence is a tool's, not the model's."""
        return bool(self._tools)

    def feed(self, message: Object) -> list[Object]:
        if message.get("parent_tool_use_id"):
            return []  # a sub-agent's own talk; what comes of it is its tool's result
        match message.get("type"):
            case "system" if message.get("subtype") == "init":
                return self._tell(self._system(message))
            case "stream_event":
                return self._stream(_object(message, "event"))
            case "assistant":
                return self._assistant(message)
            case "user":
                return self._results(_object(message, "message"))
            case "result":
                return self._end(message)
            case _:
                return []

    # --- the model's own words ---

    def _stream(self, event: Object) -> list[Object]:
        index = event.get("index")
        match event.get("type"):
            case "message_start":
                return self._start(_object(event, "message"))
            case "content_block_start" if isinstance(index, int):
                return self._begin(index, _object(event, "content_block"))
            case "content_block_delta" if isinstance(index, int) and index in self._open:
                return self._open[index].delta(_object(event, "delta"))
            case "content_block_stop" if isinstance(index, int) and index in self._open:
                return self._open.pop(index).end()
            case "message_delta":
                self._stop = str(_object(event, "delta").get("stop_reason") or self._stop)
        return []

    def _start(self, message: Object) -> list[Object]:
        self._streamed.add(str(message.get("id")))
        events = [event for block in self._open.values() for event in block.end()]  # of an attempt that broke off
        self._open.clear()
        if self.started:
            return events
        self.started = True
        head: Object = {
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        head |= {"id": message.get("id") or "msg_sdk", "model": message.get("model") or self._model}
        head["usage"] = _usage(message.get("usage"))
        waiting, self._waiting = self._waiting, []
        return [*events, {"type": "message_start", "message": head}, *self._whole(waiting)]

    def _begin(self, index: int, block: Object) -> list[Object]:
        kind = block.get("type")
        if not self.started:
            return []  # it belongs to no message
        before = self._open.pop(index).end() if index in self._open else []
        if kind not in ("text", "thinking", "redacted_thinking") or (kind != "text" and not self._wants_thinking):
            return before
        tagged = self._form.mode == "formatted"
        if kind == "redacted_thinking" and tagged:
            return before
        made = (_Tagged if tagged else _Plain)(self._next, block, pretty=self._form.pretty)
        self._next += 1
        self._open[index] = made
        return [*before, *made.begin()]

    @property
    def _wants_thinking(self) -> bool:
        return self._form.mode != "ignore" or self._form.thinking

    # --- what an agent does besides ---

    def _system(self, message: Object) -> Object:
        data = {name: value for name, value in message.items() if name not in ("type", "subtype")}
        return {"type": "system_message", "subtype": message.get("subtype"), "data": data, "source": SOURCE}

    def _assistant(self, message: Object) -> list[Object]:
        inner = _object(message, "message")
        blocks = [block for block in _list(inner.get("content")) if isinstance(block, dict)]
        if message.get("is_api_error_message") is True or message.get("error"):
            status = message.get("api_error_status") or _ERRORS.get(str(message.get("error")))
            self.failure = Failure(status if isinstance(status, int) else 502, _texts(blocks) or "the turn failed")
            return []
        events: list[Object] = []
        for block in blocks:
            if block.get("type") in ("tool_use", "server_tool_use"):
                self._tools.add(str(block.get("id")))
                events += self._tell(
                    {
                        "type": "tool_use_sdk",
                        "id": block.get("id"),
                        "name": block.get("name"),
                        "input": block.get("input"),
                        "source": SOURCE,
                    }
                )
            elif str(inner.get("id")) not in self._streamed and block.get("type") == "text":
                events += self._say(inner, str(block.get("text") or ""))
        return events

    def _say(self, message: Object, text: str) -> list[Object]:
        """A text that did not come piece by piece."""
        events = [] if self.started else self._start(message)
        block = self._begin(-1, {"type": "text", "text": ""})
        return [*events, *block, *self._open[-1].delta({"type": "text_delta", "text": text}), *self._open.pop(-1).end()]

    def _results(self, message: Object) -> list[Object]:
        events: list[Object] = []
        for block in _list(message.get("content")):
            if isinstance(block, dict) and block.get("type") == "tool_result":
                self._tools.discard(str(block.get("tool_use_id")))
                events += self._tell(
                    {
                        "type": "tool_result_sdk",
                        "tool_use_id": block.get("tool_use_id"),
                        "content": block.get("content"),
                        "is_error": block.get("is_error") is True,
                        "source": SOURCE,
                    }
                )
        return events

    def _end(self, message: Object) -> list[Object]:
        self.done = True
        self.summary = _summary(message)
        if message.get("is_error") is True and self.failure is None:
            self._fail(message)
        if self.failure is not None:
            return []
        events = [] if self.started else self._start({})
        events += [event for block in self._open.values() for event in block.end()]
        self._open.clear()
        told = {"type": "result_message", **{name: message.get(name) for name in _RESULT}, "source": SOURCE}
        events += self._tell(told)
        delta = {"stop_reason": self._stop, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": _usage(message.get("usage"))})
        return [*events, {"type": "message_stop"}]

    def _fail(self, message: Object) -> None:
        """A result that is an error. One that only met a limit of the person's is an answer, and can go on."""
        if message.get("subtype") == "error_max_turns":
            self._stop = "pause_turn"
            return
        status = message.get("api_error_status")
        errors = [text for text in _list(message.get("errors")) if isinstance(text, str)]
        text = "; ".join(errors) or str(message.get("result") or message.get("subtype") or "the turn failed")
        self.failure = Failure(status if isinstance(status, int) else 502, text)

    # --- telling ---

    def _tell(self, block: Object) -> list[Object]:
        """A block of ours; it waits for the model's first word, so that the message begins with the true figures."""
        if self._form.mode == "ignore":
            return []
        if not self.started:
            self._waiting.append(block)
            return []
        return self._whole([block])

    def _whole(self, blocks: Iterable[Object]) -> list[Object]:
        events: list[Object] = []
        for block in blocks:
            index, self._next = self._next, self._next + 1
            if self._form.mode == "forward" and not self._form.foreign:
                events += [
                    {"type": "content_block_start", "index": index, "content_block": block},
                    {"type": "content_block_stop", "index": index},
                ]
                continue
            text = _line(block) if self._form.mode == "forward" else _tagged(block, pretty=self._form.pretty)
            plain = _Plain(index, {"type": "text", "text": ""}, pretty=True)
            events += [*plain.begin(), *plain.delta({"type": "text_delta", "text": text}), *plain.end()]
        return events


class _Plain:
    """A block of the model's as it comes, under an index of ours."""

    def __init__(self, index: int, block: Object, *, pretty: bool) -> None:
        self._index = index
        self._block = block

    def begin(self) -> list[Object]:
        return [{"type": "content_block_start", "index": self._index, "content_block": self._block}]

    def delta(self, delta: Object) -> list[Object]:
        return [{"type": "content_block_delta", "index": self._index, "delta": delta}]

    def end(self) -> list[Object]:
        return [{"type": "content_block_stop", "index": self._index}]


class _Tagged(_Plain):
    """Text with a tag around it. Thinking is told at its end: its tag names the signature, which comes last."""

    def __init__(self, index: int, block: Object, *, pretty: bool) -> None:
        super().__init__(index, {"type": "text", "text": ""}, pretty=pretty)
        self._pretty = pretty
        self._thinks = block.get("type") == "thinking"
        self._thought: list[str] = []
        self._signature = ""

    def begin(self) -> list[Object]:
        return [*super().begin(), *([] if self._thinks else self._text("<text>\n" if self._pretty else "<text>"))]

    def delta(self, delta: Object) -> list[Object]:
        match delta.get("type"):
            case "text_delta":
                text = str(delta.get("text") or "")
                return self._text(text if self._pretty else html.escape(text))
            case "thinking_delta":
                self._thought.append(str(delta.get("thinking") or ""))
            case "signature_delta":
                self._signature += str(delta.get("signature") or "")
        return []

    def end(self) -> list[Object]:
        return [*self._text(self._last()), *super().end()]

    def _last(self) -> str:
        if not self._thinks:
            return "\n</text>\n" if self._pretty else "</text>"
        mark = f'<thinking signature="{html.escape(self._signature)}">'
        text = "".join(self._thought)
        return f"{mark}\n{text}\n</thinking>\n" if self._pretty else f"{mark}{html.escape(text)}</thinking>"

    def _text(self, text: str) -> list[Object]:
        return super().delta({"type": "text_delta", "text": text})


def _tagged(block: Object, *, pretty: bool) -> str:
    name = block["type"]
    inside = {key: value for key, value in block.items() if key != "source"}
    if name == "tool_use_sdk":
        inside["type"] = "tool_use"
    elif name == "tool_result_sdk":
        inside["type"] = "tool_result"
    if pretty:
        return f"<{name}>\n{json.dumps(inside, indent=2, ensure_ascii=False)}\n</{name}>\n"
    text = json.dumps(inside, separators=(",", ":"), ensure_ascii=False)
    return f"<{name}>{html.escape(text)}</{name}>"


def _line(block: Object) -> str:
    """A block in one line of text, for dialects that have no blocks."""
    match block["type"]:
        case "tool_use_sdk":
            said = f" tool_use {block['id']}]: {block['name']} {_json(block['input'])}"
        case "tool_result_sdk":
            error = " (ERROR)" if block["is_error"] else ""
            said = f" tool_result {block['tool_use_id']}{error}]: {_content(block['content'])}"
        case "result_message":
            said = f" result {block['session_id']}]: {block['subtype']}, {block['num_turns']} turns"
        case _:
            said = f"]: {block.get('subtype')} {block.get('data', {}).get('model', '')}".rstrip()
    return f"[{SOURCE}{said}\n"


def _content(content: Any) -> str:
    return content if isinstance(content, str) else _texts(_list(content)) or _json(content)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _summary(message: Object) -> str:
    turns, cost = message.get("num_turns"), message.get("total_cost_usd")
    words = [f"{turns} turn{'s' * (turns != 1)} of the model"] if isinstance(turns, int) else []
    words += [f"${cost:.4f} at the API's prices"] if isinstance(cost, int | float) else []
    return ", ".join(words)


def _usage(given: Any) -> Object:
    usage = given if isinstance(given, dict) else {}
    return {name: usage[name] if isinstance(usage.get(name), int) else 0 for name in _USAGE}


def _object(message: Object, name: str) -> Object:
    value = message.get(name)
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(blocks: Iterable[Any]) -> str:
    return "\n".join(str(block.get("text") or "") for block in blocks if isinstance(block, dict) and "text" in block)


def assembled(events: Iterable[Object]) -> Object:
    """The message that a stream of this module builds."""
    message: Object = {}
    blocks: dict[int, Object] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                message = dict(event["message"])
            case "content_block_start":
                blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                _add(blocks[event["index"]], event["delta"])
            case "message_delta":
                message |= {**event["delta"], "usage": event["usage"]}
    return {**message, "content": [blocks[index] for index in sorted(blocks)]}


_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def _add(block: Object, delta: Object) -> None:
    if (name := _PIECES.get(str(delta.get("type")))) is not None:
        block[name] = block.get(name, "") + str(delta.get(name) or "")
