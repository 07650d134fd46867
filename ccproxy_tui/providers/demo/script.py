"""What the simulated provider says, and when: a seeded list of timed steps, made without any I/O."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ccproxy_tui.core.formats.errors import error_event
from ccproxy_tui.core.text import sse
from ccproxy_tui.providers.demo.prose import CLOSINGS, CODE, OPENINGS, SENTENCES, THOUGHTS
from ccproxy_tui.providers.demo.wishes import Wishes, read_wishes

# Where a run of text may be cut into "tokens": words with their leading space, and runs of other characters.
_TOKENS = re.compile(r"\s?\w{1,6}|\s*[^\w\s]{1,3}|\s+")
_HARMLESS: dict[str, dict[str, Any]] = {
    "bash": {"command": "pytest -q tests/test_stream.py", "description": "Run the stream tests"},
    "read": {"file_path": "src/stream.py", "limit": 80},
    "grep": {"pattern": "def flush", "path": "src"},
    "glob": {"pattern": "**/*.py"},
    "edit": {"file_path": "src/stream.py", "old_string": "return None", "new_string": "return self._flush()"},
    "get_weather": {"location": "Lisbon"},
}


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `delay` seconds, then send `data`. `cut` ends the connection instead."""

    delay: float
    data: bytes = b""
    cut: bool = False


@dataclass(slots=True)
class Script:
    """A whole answer: its timed steps, made as they are played, and the same as one message."""

    steps: Iterator[Step]
    message: dict[str, Any]


@dataclass(slots=True)
class _Block:
    """A content block: how it opens, its pieces (with the kind of delta they come as), and the same as a whole."""

    start: dict[str, Any]
    delta: str
    pieces: list[str]
    whole: dict[str, Any]
    signature: str = ""

    def deltas(self) -> Iterator[dict[str, Any]]:
        field = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}[self.delta]
        for piece in self.pieces:
            yield {"type": self.delta, field: piece}
        if self.signature:
            yield {"type": "signature_delta", "signature": self.signature}


def text_of(content: Any) -> str:
    """The text of a message's content, whatever its form."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


def last_prompt(request: dict[str, Any]) -> str:
    """What the person said last."""
    messages = request.get("messages")
    if not isinstance(messages, list):
        return ""
    return next(
        (
            text
            for m in reversed(messages)
            if isinstance(m, dict) and m.get("role") == "user" and (text := text_of(m.get("content")))
        ),
        "",
    )


def write_script(request: dict[str, Any], *, seed: int) -> Script:
    """The answer to `request`. The same request and seed give the same script, byte for byte."""
    prompt = last_prompt(request)
    wishes = read_wishes(prompt)
    history = request.get("messages")
    turn = len(history) if isinstance(history, list) else 0
    # The seed only shapes made-up text.
    rng = random.Random(zlib.crc32(prompt.encode()) ^ (seed << 8) ^ turn)
    blocks = list(_blocks(request, wishes, rng))
    ends_with_tool = blocks[-1].start.get("type") == "tool_use"
    usage = _usage(request, blocks, rng)
    message = {
        "id": f"msg_demo_{rng.getrandbits(48):012x}",
        "type": "message",
        "role": "assistant",
        "model": request.get("model") or "demo-1",
        "content": [block.whole for block in blocks],
        "stop_reason": "tool_use" if ends_with_tool else "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return Script(_steps(message, blocks, wishes, rng), message)


def _blocks(request: dict[str, Any], wishes: Wishes, rng: random.Random) -> Iterator[_Block]:
    thinking = request.get("thinking")
    if wishes.think or (isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")):
        yield _thinking(rng)
    after_tool = _answers_a_tool(request)
    call = None if after_tool or wishes.tool is None else _tool_call(request, wishes.tool, rng)
    yield _text(_prose(wishes, rng, short=call is not None))
    if call is not None:
        yield call


def _answers_a_tool(request: dict[str, Any]) -> bool:
    messages = request.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content") if isinstance(last, dict) else None
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "tool_result" for part in content
    )


def _pieces(text: str) -> list[str]:
    return _TOKENS.findall(text)


def _text(text: str) -> _Block:
    return _Block({"type": "text", "text": ""}, "text_delta", _pieces(text), {"type": "text", "text": text})


def _thinking(rng: random.Random) -> _Block:
    text = " ".join(rng.sample(THOUGHTS, rng.randint(2, 4)))
    signature = f"demo-signature-{rng.getrandbits(64):016x}"
    whole = {"type": "thinking", "thinking": text, "signature": signature}
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return _Block(start, "thinking_delta", _pieces(text), whole, signature)


def _tool_call(request: dict[str, Any], wanted: str, rng: random.Random) -> _Block | None:
    """A call of a tool that the client declared: the wanted one, or the first. None when it declared none."""
    declared = request.get("tools")
    tools = (
        [tool for tool in declared if isinstance(tool, dict) and tool.get("name")] if isinstance(declared, list) else []
    )
    if not tools:
        return None
    tool = next((tool for tool in tools if tool["name"].lower() == wanted.lower()), tools[0])
    arguments = _HARMLESS.get(tool["name"].lower()) or _from_schema(tool.get("input_schema"))
    call = {"type": "tool_use", "id": f"toolu_demo_{rng.getrandbits(48):012x}", "name": tool["name"]}
    text = msgspec.json.encode(arguments).decode()
    pieces = [text[index : index + 7] for index in range(0, len(text), 7)]
    return _Block({**call, "input": {}}, "input_json_delta", ["", *pieces], {**call, "input": arguments})


def _from_schema(schema: Any) -> dict[str, Any]:
    """Small values for the required properties of a JSON schema."""
    if not isinstance(schema, dict):
        return {}
    properties = schema.get("properties")
    samples: dict[str, Any] = {
        "string": "demo",
        "integer": 1,
        "number": 1.5,
        "boolean": True,
        "array": [],
        "object": {},
    }
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    return {
        name: samples.get(properties[name].get("type"), "demo")
        for name in names
        if isinstance(properties, dict) and isinstance(properties.get(name), dict)
    }


def _prose(wishes: Wishes, rng: random.Random, *, short: bool) -> str:
    if wishes.echo is not None:
        return wishes.echo
    budget = wishes.tokens or (24 if short else rng.randint(120, 420))
    parts = [rng.choice(OPENINGS)]
    written = len(_pieces(parts[0]))
    while written < budget:
        code = rng.random() < 0.12 and not short
        parts.append(f"\n\n{rng.choice(CODE)}\n\n" if code else rng.choice(SENTENCES))
        written += len(_pieces(parts[-1]))
    if not short:
        parts.append(rng.choice(CLOSINGS))
    text = " ".join(parts)
    return "".join(_pieces(text)[: wishes.tokens]) if wishes.tokens else text


def _usage(request: dict[str, Any], blocks: list[_Block], rng: random.Random) -> dict[str, Any]:
    size = estimate_tokens(request)
    cached = int(size * rng.uniform(0.6, 0.95)) if size > 2000 else 0
    return {
        "input_tokens": size - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": sum(len(block.pieces) for block in blocks),
        "service_tier": "standard",
    }


def estimate_tokens(request: dict[str, Any]) -> int:
    """About four bytes of JSON a token."""
    return max(len(msgspec.json.encode(request)) // 4, 1)


def _event(type_: str, **values: Any) -> bytes:
    return sse.encode(msgspec.json.encode({"type": type_, **values}), type_)


def _steps(message: dict[str, Any], blocks: list[_Block], wishes: Wishes, rng: random.Random) -> Iterator[Step]:
    pace = wishes.pace or rng.uniform(35, 90)
    first = rng.uniform(0.25, 1.1) if wishes.wait is None else wishes.wait
    start = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield Step(first, _event("message_start", message=start))
    sent = 0
    breaking = sum(len(block.pieces) for block in blocks) // 2
    for index, block in enumerate(blocks):
        yield Step(0, _event("content_block_start", index=index, content_block=block.start))
        for delta in block.deltas():
            yield Step(rng.expovariate(pace), _event("content_block_delta", index=index, delta=delta))
            sent += 1
            if sent == breaking and (trouble := _trouble(wishes)) is not None:
                yield trouble
                if wishes.stall is None:
                    return
        yield Step(0, _event("content_block_stop", index=index))
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield Step(0, _event("message_delta", delta=end, usage=usage))
    yield Step(0, _event("message_stop"))


def _trouble(wishes: Wishes) -> Step | None:
    if wishes.cut:
        return Step(0, cut=True)
    if wishes.overload:
        return Step(0, error_event("anthropic_messages", "overloaded", "Overloaded"))
    return None if wishes.stall is None else Step(wishes.stall)
