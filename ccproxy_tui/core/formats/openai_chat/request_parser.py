"""A Chat request, parsed into the canonical one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ccproxy_tui.core.formats.attachment import read_file, read_url
from ccproxy_tui.core.formats.cache import read_cache
from ccproxy_tui.core.formats.misfit import (
    Misfit,
    Object,
    as_list,
    as_object,
    maybe_bool,
    maybe_int,
    maybe_list,
    maybe_number,
    maybe_object,
    maybe_string,
    maybe_strings,
    one_of,
    refuse,
    string,
)
from ccproxy_tui.core.formats.openai_chat.tools import parse_choice, parse_tools
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import (
    EFFORTS,
    Audio,
    Content,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    mark_places,
)
from ccproxy_tui.core.formats.seal import Seal, is_wrapped, unwrap

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_KNOWN = frozenset(
    [
        "model",
        "messages",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "temperature",
        "top_p",
        "top_k",
        "stream",
        "stream_options",
        "reasoning_effort",
        "response_format",
        "verbosity",
        "service_tier",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "n",
        "modalities",
        "audio",
        "web_search_options",
        "session_id",
    ]
)


def parse_request(body: Object, report: Report) -> Request:
    """Raises Misfit for what the dialect does not allow, and for answers that only OpenAI can give."""
    _refuse_features(body)
    messages: list[Message] = []
    for place, raw in enumerate(_messages(body)):
        try:
            message = _message(as_object(raw), report)
        except Misfit as misfit:
            raise misfit.inside("messages", place) from None
        mark_places(message.parts, "messages", place, "content")
        messages.append(message)
    for name, value in body.items():
        if name not in _KNOWN and value is not None:
            report.dropped(name, "the target has no counterpart")
    tokens = maybe_int(body, "max_completion_tokens")
    effort = one_of(body, "reasoning_effort", EFFORTS)
    return Request(
        model=string(body, "model"),
        messages=messages,
        tools=parse_tools(body),
        choice=parse_choice(body),
        parallel=maybe_bool(body, "parallel_tool_calls"),
        max_tokens=maybe_int(body, "max_tokens") if tokens is None else tokens,
        stop=_stop(body),
        temperature=maybe_number(body, "temperature"),
        top_p=maybe_number(body, "top_p"),
        top_k=maybe_int(body, "top_k"),
        stream=maybe_bool(body, "stream") or False,
        reasoning=None if effort is None else Reasoning(effort),
        output=_output(body),
        verbosity=maybe_string(body, "verbosity"),
        fast=maybe_string(body, "service_tier") in ("priority", "fast"),
        user=maybe_string(body, "safety_identifier") or maybe_string(body, "user") or "",
        cache_key=maybe_string(body, "prompt_cache_key") or "",
        cache=read_cache(body),
    )


def _refuse_features(body: Object) -> None:
    if (count := maybe_int(body, "n")) not in (None, 1):
        raise Misfit(f"Only one choice can be given, not {count}.", "n")
    if "audio" in maybe_strings(body, "modalities") or maybe_object(body, "audio") is not None:
        raise Misfit("Answers in audio have no counterpart at this provider.", "modalities")


def _messages(body: Object) -> list[Any]:
    if "messages" not in body:
        raise Misfit("This field is required.", "messages")
    messages = as_list(body["messages"], "messages")
    if not messages:
        raise Misfit("At least one message is required.", "messages")
    return messages


def _message(raw: Object, report: Report) -> Message:
    role = one_of(raw, "role", _ROLES)
    match role:
        case "system" | "developer":
            return Message("system", list(_content(raw, report)))
        case "user":
            return Message("user", _content(raw, report))
        case "assistant":
            return Message("assistant", _assistant(raw, report))
        case "tool" | "function":
            call_id = string(raw, "tool_call_id" if role == "tool" else "name")
            content = [part for part in _content(raw, report) if isinstance(part, Content)]
            return Message("user", [ToolResult(call_id, content, cache=read_cache(raw))])
        case _:
            raise Misfit("This field is required.", "role")


def _content(raw: Object, report: Report) -> list[Part]:
    content = raw.get("content")
    cache = read_cache(raw)
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content, cache)]
    if not isinstance(content, list):
        refuse("a string or a list of parts", content, "content")
    parts: list[Part] = []
    for place, value in enumerate(content):
        try:
            part = as_object(value)
            kind = string(part, "type")
            parse = _PARTS.get(kind)
            if parse is None:
                raise Misfit(f"A part of type {kind[:60]!r} has no counterpart at this provider.", "type")
            parts.append(parse(part))
        except Misfit as misfit:
            raise misfit.inside("content", place) from None
    if cache is not None and parts and isinstance(parts[-1], Text):
        parts[-1].cache = cache
    return parts


def _text(part: Object) -> Part:
    return Text(string(part, "text"), read_cache(part))


def _refusal(part: Object) -> Part:
    return Text(string(part, "refusal"))


def _image(part: Object) -> Part:
    image = part.get("image_url")
    if isinstance(image, str):
        return Image(read_url(image, "image_url"), cache=read_cache(part))
    values = as_object(image, "image_url")
    detail = maybe_string(values, "detail") or ""
    return Image(read_url(string(values, "url"), "image_url", "url"), detail, read_cache(part))


def _file(part: Object) -> Part:
    values = as_object(part.get("file"), "file")
    data, name = maybe_string(values, "file_data"), maybe_string(values, "filename") or ""
    if data is None:
        raise Misfit("A file id is known to OpenAI alone; send the file's bytes.", "file", "file_id")
    return Document(read_file(data, name, "file", "file_data"), name, read_cache(part))


def _audio(part: Object) -> Part:
    values = as_object(part.get("input_audio"), "input_audio")
    return Audio(string(values, "data"), maybe_string(values, "format") or "")


_PARTS: dict[str, Callable[[Object], Part]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}


def _assistant(raw: Object, report: Report) -> list[Part]:
    parts: list[Part] = [*_thinking(raw, report), *_content(raw, report)]
    if refusal := maybe_string(raw, "refusal"):
        parts.append(Text(refusal))
    for place, value in enumerate(maybe_list(raw, "tool_calls")):
        try:
            parts.append(_call(as_object(value)))
        except Misfit as misfit:
            raise misfit.inside("tool_calls", place) from None
    legacy = maybe_object(raw, "function_call")
    if legacy is not None:
        name = string(legacy, "name")
        parts.append(ToolCall(name, name, maybe_string(legacy, "arguments") or ""))
    return parts


def _call(raw: Object) -> ToolCall:
    custom = maybe_object(raw, "custom")
    if custom is not None:
        return ToolCall(string(raw, "id"), string(custom, "name"), string(custom, "input"), custom=True)
    function = maybe_object(raw, "function")
    if function is None:
        raise Misfit("This field is required.", "function")
    arguments = maybe_string(function, "arguments") or ""
    return ToolCall(string(raw, "id"), string(function, "name"), arguments, cache=read_cache(raw))


def _thinking(raw: Object, report: Report) -> list[Part]:
    """What came with an earlier answer: our envelopes, or Copilot's own two fields."""
    thoughts: list[Part] = []
    for detail in maybe_list(raw, "reasoning_details"):
        token = detail.get("data") if isinstance(detail, dict) else None
        if not isinstance(token, str):
            continue
        if (seal := unwrap(token)) is not None:
            thoughts.append(Thinking(str(seal.block.get("thinking") or ""), seal))
        elif is_wrapped(token):
            report.dropped("messages[].reasoning_details[]", "the envelope was damaged on the way")
    if opaque := maybe_string(raw, "reasoning_opaque"):
        text = maybe_string(raw, "reasoning_text") or ""
        thoughts.append(Thinking(text, Seal("copilot", {"reasoning_text": text, "reasoning_opaque": opaque})))
    return thoughts


def _stop(body: Object) -> list[str]:
    stop = body.get("stop")
    return [stop] if isinstance(stop, str) else maybe_strings(body, "stop")


def _output(body: Object) -> OutputFormat | None:
    form = maybe_object(body, "response_format")
    if form is None:
        return None
    try:
        kind = one_of(form, "type", ("text", "json_object", "json_schema"))
        if kind == "json_object":
            return OutputFormat("json_object")
        if kind != "json_schema":
            return None
        values = maybe_object(form, "json_schema") or {}
        return OutputFormat(
            "json_schema",
            maybe_string(values, "name") or "",
            maybe_object(values, "schema"),
            maybe_bool(values, "strict"),
            maybe_string(values, "description") or "",
        )
    except Misfit as misfit:
        raise misfit.inside("response_format") from None


def wants_usage(body: Object) -> bool:
    """Whether a stream is to end with a usage chunk."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def is_legacy(body: Object) -> bool:
    """Whether the client knows only the functions of 2023."""
    return "functions" in body and "tools" not in body
