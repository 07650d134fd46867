"""Helpers of the conversion tests: targets, a subset match, and answers as a client would put them together."""

from __future__ import annotations

import json
from typing import Any

from ccproxy_tui.core.formats import Conversion, Format, Profile, convert_request
from ccproxy_tui.core.formats.dialects import stream_parser
from ccproxy_tui.core.formats.memory import Recall, recall_nothing
from ccproxy_tui.core.formats.openai_responses.native import CODEX_REFUSES
from ccproxy_tui.core.formats.reply import Folder, Reply

CREATED = 1_790_000_000
CLAUDE = Profile("anthropic_messages", "anthropic", "Anthropic", thinking="budget")
ADAPTIVE = Profile("anthropic_messages", "anthropic", "Anthropic", thinking="adaptive")
CACHING = Profile("anthropic_messages", "anthropic", "Anthropic", thinking="budget", auto_cache=True)
CODEX = Profile("openai_responses", "openai", "Codex", refused=CODEX_REFUSES, stream_only=True)
COPILOT = Profile("openai_chat", "copilot", "Copilot", custom_tools=False, web_search=False, max_tools=128, mends=True)
COPILOT_RESPONSES = Profile("openai_responses", "copilot", "Copilot", web_search=False)
TARGETS = {"claude": CLAUDE, "codex": CODEX, "copilot": COPILOT}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def convert(
    source: Format, profile: Profile, body: dict[str, Any], *, model: str = "m", recall: Recall = recall_nothing
) -> Conversion:
    return convert_request(json.dumps(body).encode(), source, profile, model=model, created=CREATED, recall=recall)


def upstream_body(source: Format, profile: Profile, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(convert(source, profile, body, **more).body)
    return result


def within(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Where `actual` lacks something of `expected`. Objects may hold more; lists must have the same length."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return [f"{path}: {actual!r} is no object"]
        return [
            problem for key, value in expected.items() for problem in within(value, actual.get(key), f"{path}.{key}")
        ]
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return [f"{path}: {actual!r} is not {expected!r}"]
        return [
            problem
            for place, (one, other) in enumerate(zip(expected, actual, strict=True))
            for problem in within(one, other, f"{path}[{place}]")
        ]
    return [] if expected == actual else [f"{path}: {actual!r} is not {expected!r}"]


def read_stream(dialect: Format, data: bytes, size: int = 0) -> Reply:
    """What a client of the dialect reads from a stream, fed in pieces of `size` bytes."""
    parser, folder = stream_parser(dialect), Folder()
    for at in range(0, len(data), size or len(data) or 1):
        folder.feed(parser.feed(data[at : at + (size or len(data))]))
    folder.feed(parser.flush())
    return folder.reply


def read_answer(dialect: Format, body: bytes) -> Reply:
    folder = Folder()
    folder.feed(stream_parser(dialect).take_answer(json.loads(body)))
    return folder.reply


def texts(reply: Reply, kind: str = "text") -> str:
    return "".join(block.text for block in reply.blocks if block.kind == kind)


def calls(reply: Reply) -> list[tuple[str, str, Any]]:
    return [
        (block.id, block.name, json.loads(block.text or "{}") if block.kind == "tool_call" else block.text)
        for block in reply.blocks
        if block.kind in ("tool_call", "custom_call")
    ]
