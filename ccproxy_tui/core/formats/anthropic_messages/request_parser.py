"""A Messages request, parsed into the canonical one.

What no other dialect can say is settled here: dropped with a note when it is a hint, refused when it is content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ccproxy_tui.core.formats.anthropic_messages.tools import parse_choice, parse_tools
from ccproxy_tui.core.formats.cache import read_cache
from ccproxy_tui.core.formats.misfit import (
    Misfit,
    Object,
    as_list,
    as_object,
    maybe_bool,
    maybe_int,
    maybe_number,
    maybe_object,
    maybe_string,
    maybe_strings,
    one_of,
    refuse,
    string,
)
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import (
    EFFORTS,
    ROLES,
    Content,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Request,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    mark_places,
)
from ccproxy_tui.core.formats.seal import Seal, is_wrapped, unwrap

_KNOWN = frozenset(
    [
        "model",
        "messages",
        "system",
        "max_tokens",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "metadata",
        "service_tier",
        "speed",
        "cache_control",
    ]
)
# Features of Anthropic's servers that another provider would silently not do.
_REFUSED = {
    "mcp_servers": "MCP servers that Anthropic calls have no counterpart at this provider.",
    "thread": "Threads are kept by Anthropic; this provider has no access to them.",
    "container": "Containers and skills run at Anthropic; this provider has none.",
}
# Claude Code's attribution block changes with every request; carried on, it would keep every prompt cache from hitting.
_BILLING = "x-anthropic-billing-header"


def parse_request(body: Object, report: Report) -> Request:
    """Raises Misfit for what the dialect does not allow, and for content that only Anthropic can serve."""
    messages = _system(body, report)
    for place, raw in enumerate(_messages(body)):
        try:
            message = _message(as_object(raw), report)
            for position, part in enumerate(message.parts):
                mark_places([part], "messages", place, "content", position)
            messages.append(message)
        except Misfit as misfit:
            raise misfit.inside("messages", place) from None
    choice, parallel = parse_choice(body)
    _settle_rest(body, report)
    return Request(
        model=string(body, "model"),
        messages=messages,
        tools=parse_tools(body, report),
        choice=choice,
        parallel=parallel,
        max_tokens=maybe_int(body, "max_tokens"),
        stop=maybe_strings(body, "stop_sequences"),
        temperature=maybe_number(body, "temperature"),
        top_p=maybe_number(body, "top_p"),
        top_k=maybe_int(body, "top_k"),
        stream=maybe_bool(body, "stream") or False,
        reasoning=_reasoning(body),
        output=_output(body),
        fast=maybe_string(body, "speed") == "fast",
        user=maybe_string(maybe_object(body, "metadata") or {}, "user_id") or "",
        cache=read_cache(body),
    )


def _messages(body: Object) -> list[Any]:
    if "messages" not in body:
        raise Misfit("This field is required.", "messages")
    messages = as_list(body["messages"], "messages")
    if not messages:
        raise Misfit("At least one message is required.", "messages")
    return messages


def _settle_rest(body: Object, report: Report) -> None:
    for name, value in body.items():
        if name in _KNOWN or value is None or value in ([], {}):
            continue
        if name in _REFUSED:
            raise Misfit(_REFUSED[name], name)
        report.dropped(name, "only Anthropic's API knows it")
    if (tier := maybe_string(body, "service_tier")) not in (None, "auto"):
        report.dropped("service_tier", "this provider has no such tier", str(tier))
    if "task_budget" in (maybe_object(body, "output_config") or {}):
        report.dropped("output_config.task_budget", "only Anthropic's API knows it")


def _system(body: Object, report: Report) -> list[Message]:
    system = body.get("system")
    if system is None:
        return []
    if isinstance(system, str):
        return [Message("system", [Text(system)])] if system else []
    if not isinstance(system, list):
        refuse("a string or a list of text blocks", system, "system")
    parts: list[Part] = []
    for place, raw in enumerate(system):
        block = as_object(raw, "system", place)
        try:
            text = Text(string(block, "text"), read_cache(block))
        except Misfit as misfit:
            raise misfit.inside("system", place) from None
        if text.text.startswith(_BILLING):
            report.dropped("system[]", "Claude Code's attribution is for Anthropic, and would break prompt caching")
        elif text.text:
            parts.append(text)
    return [Message("system", parts)] if parts else []


def _message(raw: Object, report: Report) -> Message:
    role = one_of(raw, "role", ROLES)
    if role is None:
        raise Misfit("This field is required.", "role")
    for hint in ("clear_at", "output_config"):
        if raw.get(hint) is not None:
            report.dropped(f"messages[].{hint}", "only Anthropic's API knows it")
    content = raw.get("content")
    if isinstance(content, str):
        return Message(role, [Text(content)])
    if not isinstance(content, list):
        refuse("a string or a list of blocks", content, "content")
    parts: list[Part] = []
    for place, block in enumerate(content):
        try:
            parts += _block(as_object(block), role, report)
        except Misfit as misfit:
            raise misfit.inside("content", place) from None
    return Message(role, parts)


def _block(block: Object, role: str, report: Report) -> list[Part]:
    kind = string(block, "type")
    parse = _BLOCKS.get(kind)
    if parse is not None:
        return parse(block, report)
    if role == "assistant":
        report.dropped(f"messages[].content[] ({kind})", "a record of Anthropic's servers; other models can't read it")
        return []
    raise Misfit(f"A block of type {kind[:60]!r} has no counterpart at this provider.", "type")


def _text(block: Object, report: Report) -> list[Part]:
    if block.get("citations"):
        report.dropped("messages[].content[].citations", "citations stay with Anthropic; the text is kept")
    return [Text(string(block, "text"), read_cache(block))]


def _image(block: Object, report: Report) -> list[Part]:
    return [Image(_source(block, report), cache=read_cache(block))]


def _document(block: Object, report: Report) -> list[Part]:
    parts: list[Part] = []
    title = maybe_string(block, "title") or ""
    if context := maybe_string(block, "context"):
        parts.append(Text(context))
        report.emulated("messages[].content[].context", "sent as text before the document")
    if (maybe_object(block, "citations") or {}).get("enabled"):
        report.dropped("messages[].content[].citations", "this provider does not cite documents")
    source = maybe_object(block, "source") or {}
    if source.get("type") == "content":
        return [*parts, *_content_source(source, report)]
    return [*parts, Document(_source(block, report), title, read_cache(block))]


def _content_source(source: Object, report: Report) -> list[Part]:
    content = source.get("content")
    if isinstance(content, str):
        return [Text(content)]
    return list(_result_parts(as_list(content, "source", "content"), report))


def _source(block: Object, report: Report) -> Source:
    source = maybe_object(block, "source")
    if source is None:
        raise Misfit("This field is required.", "source")
    kind = maybe_string(source, "type")
    try:
        if kind == "base64":
            return Source("base64", string(source, "data"), string(source, "media_type"))
        if kind == "url":
            return Source("url", string(source, "url"))
        if kind == "text":
            return Source("text", string(source, "data"), maybe_string(source, "media_type") or "text/plain")
    except Misfit as misfit:
        raise misfit.inside("source") from None
    if kind == "file":
        raise Misfit("A file id is known to Anthropic alone; send the file's bytes or a URL.", "source", "file_id")
    raise Misfit(f"Input should be 'base64', 'url' or 'text', not {str(kind)[:60]!r}.", "source", "type")


def _tool_use(block: Object, report: Report) -> list[Part]:
    arguments = maybe_object(block, "input") or {}
    if block.get("toolset_name") is not None:
        report.dropped("messages[].content[].toolset_name", "only Anthropic's API knows it")
    name = string(block, "name")
    return [ToolCall(string(block, "id"), name, msgspec.json.encode(arguments).decode(), cache=read_cache(block))]


def _tool_result(block: Object, report: Report) -> list[Part]:
    content = block.get("content")
    if content is None:
        parts: list[Content] = []
    elif isinstance(content, str):
        parts = [Text(content)]
    else:
        parts = _result_parts(as_list(content, "content"), report)
    is_error = maybe_bool(block, "is_error") or False
    return [ToolResult(string(block, "tool_use_id"), parts, is_error, read_cache(block))]


def _result_parts(content: list[Any], report: Report) -> list[Content]:
    parts: list[Content] = []
    for place, raw in enumerate(content):
        try:
            block = as_object(raw)
            kind = string(block, "type")
            if kind not in ("text", "image", "document", "search_result", "tool_reference"):
                raise Misfit(f"A block of type {kind[:60]!r} can't stand in a tool result.", "type")
            parts += [part for part in _BLOCKS[kind](block, report) if isinstance(part, Text | Image | Document)]
        except Misfit as misfit:
            raise misfit.inside("content", place) from None
    return parts


def _as_json_text(block: Object, report: Report) -> list[Part]:
    kind = block["type"]
    report.emulated(f"messages[].content[] ({kind})", "sent as JSON text")
    plain = {key: value for key, value in block.items() if key not in ("cache_control", "citations")}
    return [Text(msgspec.json.encode(plain).decode(), read_cache(block))]


def _thinking(block: Object, report: Report) -> list[Part]:
    text, token = maybe_string(block, "thinking") or "", maybe_string(block, "signature") or ""
    native = {"type": "thinking", "thinking": text, "signature": token}
    return [Thinking(text, _seal(token, native, report))]


def _redacted(block: Object, report: Report) -> list[Part]:
    token = maybe_string(block, "data") or ""
    return [Thinking("", _seal(token, {"type": "redacted_thinking", "data": token}, report))]


def _seal(token: str, native: Object, report: Report) -> Seal | None:
    if (seal := unwrap(token)) is not None:
        return seal
    if is_wrapped(token):
        report.dropped("messages[].content[] (thinking)", "its signature was damaged on the way")
        return None
    return Seal("anthropic", native) if token else None


def _compaction(block: Object, report: Report) -> list[Part]:
    content = block.get("content")
    if not isinstance(content, str):
        raise Misfit("This compaction can only be read by Anthropic.", "content")
    report.emulated("messages[].content[] (compaction)", "its summary is sent as text")
    return [Text(content)]


_BLOCKS: dict[str, Callable[[Object, Report], list[Part]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "compaction": _compaction,
    "search_result": _as_json_text,
    "tool_reference": _as_json_text,
}


def _reasoning(body: Object) -> Reasoning | None:
    thinking = maybe_object(body, "thinking")
    effort = one_of(maybe_object(body, "output_config") or {}, "effort", EFFORTS)
    if thinking is None:
        return None if effort is None else Reasoning(effort)
    kind = maybe_string(thinking, "type")
    if kind == "disabled":
        return Reasoning("none")
    display = maybe_string(thinking, "display")
    return Reasoning(
        effort,
        budget=maybe_int(thinking, "budget_tokens"),
        adaptive=kind != "enabled",
        show=None if display is None else display != "omitted",
    )


def _output(body: Object) -> OutputFormat | None:
    form = maybe_object(maybe_object(body, "output_config") or {}, "format") or maybe_object(body, "output_format")
    if form is None:
        return None
    schema = maybe_object(form, "schema")
    if maybe_string(form, "type") != "json_schema" or schema is None:
        raise Misfit("Input should be {type: 'json_schema', schema: ...}.", "output_config", "format")
    return OutputFormat("json_schema", schema=schema)
