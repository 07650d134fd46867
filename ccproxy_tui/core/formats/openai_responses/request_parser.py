"""A Responses request, parsed into the canonical one."""

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
    one_of,
    refuse,
    string,
)
from ccproxy_tui.core.formats.openai_responses.tools import parse_choice, parse_tools
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import (
    EFFORTS,
    Content,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Request,
    Role,
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
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stream",
        "reasoning",
        "text",
        "service_tier",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "include",
        "store",
        "stream_options",
        "session_id",
    ]
)
_STORED = "this proxy keeps no answers (store is false); send the whole conversation."
# What only OpenAI's stores can resolve. Passing over it would answer another question than the one that was asked.
_REFUSED = {
    "previous_response_id": f"An earlier response can't be looked up: {_STORED}",
    "conversation": f"A stored conversation can't be looked up: {_STORED}",
    "prompt": "A stored prompt can't be looked up; send its text.",
}
# Records of what ran on OpenAI's servers. Other models can't read them; the visible turns stay.
_RECORDS = frozenset(
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
        "configuration_update",
        "compaction_trigger",
        "program",
        "program_output",
    ]
)


def parse_request(body: Object, report: Report) -> Request:
    """Raises Misfit for what the dialect does not allow, and for what only OpenAI's own stores can answer."""
    for name, why in _REFUSED.items():
        if body.get(name) is not None:
            raise Misfit(why, name)
    if maybe_bool(body, "background"):
        raise Misfit("Background responses are kept by OpenAI; this provider answers at once.", "background")
    instructions = maybe_string(body, "instructions")
    messages = [Message("system", [Text(instructions)])] if instructions else []
    more_tools: list[Any] = []
    messages += _input(body, report, more_tools)
    for name, value in body.items():
        if name not in _KNOWN and value not in (None, False, [], {}):
            report.dropped(name, "the target has no counterpart")
    return Request(
        model=string(body, "model"),
        messages=messages,
        tools=parse_tools(_joined_tools(maybe_list(body, "tools"), more_tools), report),
        choice=parse_choice(body),
        parallel=maybe_bool(body, "parallel_tool_calls"),
        max_tokens=maybe_int(body, "max_output_tokens"),
        temperature=maybe_number(body, "temperature"),
        top_p=maybe_number(body, "top_p"),
        stream=maybe_bool(body, "stream") or False,
        reasoning=_reasoning(body),
        output=_output(body),
        verbosity=maybe_string(maybe_object(body, "text") or {}, "verbosity"),
        fast=maybe_string(body, "service_tier") in ("priority", "fast"),
        user=maybe_string(body, "safety_identifier") or maybe_string(body, "user") or "",
        cache_key=maybe_string(body, "prompt_cache_key") or "",
    )


def _joined_tools(tools: list[Any], more: list[Any]) -> list[Any]:
    """Tools of `additional_tools` items come after those of the request, which win."""
    names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
    return tools + [tool for tool in more if not isinstance(tool, dict) or tool.get("name") not in names]


def _input(body: Object, report: Report, more_tools: list[Any]) -> list[Message]:
    value = body.get("input")
    if isinstance(value, str):
        return [Message("user", [Text(value)])]
    if value is None:
        raise Misfit("This field is required.", "input")
    items = as_list(value, "input")
    if not items:
        raise Misfit("At least one item is required.", "input")
    messages: list[Message] = []
    for place, raw in enumerate(items):
        try:
            message = _item(as_object(raw), report, more_tools)
        except Misfit as misfit:
            raise misfit.inside("input", place) from None
        if message is not None:
            mark_places(message.parts, "input", place)
            messages.append(message)
    return messages


def _item(raw: Object, report: Report, more_tools: list[Any]) -> Message | None:
    kind = maybe_string(raw, "type") or ("message" if "role" in raw else "")
    if kind == "message":
        return _message(raw)
    if (parse := _ITEMS.get(kind)) is not None:
        parts = parse(raw, report)
        return Message("user" if kind.endswith("_output") else "assistant", parts) if parts else None
    if kind == "additional_tools":
        more_tools += maybe_list(raw, "tools")
        return None
    if kind == "item_reference":
        raise Misfit(f"A stored item can't be looked up: {_STORED}", "id")
    if kind == "compaction":
        return _compaction(raw, report)
    if kind in _RECORDS:
        report.dropped(f"input[] ({kind})", "a record of OpenAI's own servers; other models can't read it")
        return None
    if not kind:
        raise Misfit("This field is required.", "type")
    raise Misfit(f"An item of type {kind[:60]!r} has no counterpart at this provider.", "type")


_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def _message(raw: Object) -> Message:
    role = one_of(raw, "role", tuple(_ROLES))
    if role is None:
        raise Misfit("This field is required.", "role")
    content = raw.get("content")
    phase = maybe_string(raw, "phase") or ""
    if isinstance(content, str):
        return Message(_ROLES[role], [Text(content, phase=phase)])
    if not isinstance(content, list):
        refuse("a string or a list of parts", content, "content")
    parts: list[Part] = list(_parts(content, "content"))
    for part in parts:
        if isinstance(part, Text):
            part.phase = phase
    return Message(_ROLES[role], parts)


def _parts(content: list[Any], field: str) -> list[Content]:
    parts: list[Content] = []
    for place, value in enumerate(content):
        try:
            part = as_object(value)
            kind = string(part, "type")
            parse = _PARTS.get(kind)
            if parse is None:
                raise Misfit(f"A part of type {kind[:60]!r} has no counterpart at this provider.", "type")
            parts.append(parse(part))
        except Misfit as misfit:
            raise misfit.inside(field, place) from None
    return parts


def _text(part: Object) -> Content:
    return Text(string(part, "text"), read_cache(part))


def _refusal(part: Object) -> Content:
    return Text(string(part, "refusal"))


def _image(part: Object) -> Content:
    url = maybe_string(part, "image_url")
    if url is None:
        raise Misfit("A file id is known to OpenAI alone; send the image's bytes or a URL.", "file_id")
    return Image(read_url(url, "image_url"), maybe_string(part, "detail") or "", read_cache(part))


def _file(part: Object) -> Content:
    name = maybe_string(part, "filename") or ""
    if (data := maybe_string(part, "file_data")) is not None:
        return Document(read_file(data, name, "file_data"), name, read_cache(part))
    if (url := maybe_string(part, "file_url")) is not None:
        return Document(Source("url", url), name, read_cache(part))
    raise Misfit("A file id is known to OpenAI alone; send the file's bytes or a URL.", "file_id")


_PARTS: dict[str, Callable[[Object], Content]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
}


# --- items of an assistant's turn, and their results ---


def _call(raw: Object, report: Report) -> list[Part]:
    arguments = maybe_string(raw, "arguments") or ""
    namespace = maybe_string(raw, "namespace") or ""
    return [ToolCall(string(raw, "call_id"), string(raw, "name"), arguments, namespace=namespace)]


def _custom_call(raw: Object, report: Report) -> list[Part]:
    namespace = maybe_string(raw, "namespace") or ""
    return [ToolCall(string(raw, "call_id"), string(raw, "name"), string(raw, "input"), True, namespace)]


def _result(raw: Object, report: Report) -> list[Part]:
    output = raw.get("output")
    if isinstance(output, str):
        content: list[Content] = [Text(output)]
    elif isinstance(output, list):
        content = _parts(output, "output")
    elif output is None:
        content = []
    else:
        refuse("a string or a list of parts", output, "output")
    return [ToolResult(string(raw, "call_id"), content)]


def _reasoning_item(raw: Object, report: Report) -> list[Part]:
    texts = [maybe_string(as_object(part), "text") or "" for part in maybe_list(raw, "summary")]
    text = "\n\n".join(texts)
    token = maybe_string(raw, "encrypted_content")
    if not token:
        report.dropped("input[] (reasoning)", "without its encrypted content it can't be continued")
        return []
    if (seal := unwrap(token)) is not None:
        return [Thinking(text, seal)]
    if is_wrapped(token):
        report.dropped("input[] (reasoning)", "its encrypted content was damaged on the way")
        return []
    return [Thinking(text, Seal("openai", raw))]


_ITEMS: dict[str, Callable[[Object, Report], list[Part]]] = {
    "function_call": _call,
    "custom_tool_call": _custom_call,
    "function_call_output": _result,
    "custom_tool_call_output": _result,
    "reasoning": _reasoning_item,
}


def _compaction(raw: Object, report: Report) -> Message:
    summary = raw.get("summary")
    if not isinstance(summary, str) or not summary:
        raise Misfit("This compaction is encrypted for OpenAI; other models can't read it.", "encrypted_content")
    report.emulated("input[] (compaction)", "its summary is sent as text")
    return Message("user", [Text(summary)])


# --- parameters ---


def _reasoning(body: Object) -> Reasoning | None:
    values = maybe_object(body, "reasoning")
    if not values:
        return None
    try:
        effort = one_of(values, "effort", EFFORTS)
        shown = maybe_string(values, "summary") or maybe_string(values, "generate_summary")
    except Misfit as misfit:
        raise misfit.inside("reasoning") from None
    if effort is None and shown is None:
        return None
    return Reasoning(effort, adaptive=effort is None, show=True if shown not in (None, "none") else None)


def _output(body: Object) -> OutputFormat | None:
    form = maybe_object(maybe_object(body, "text") or {}, "format")
    if form is None:
        return None
    try:
        kind = one_of(form, "type", ("text", "json_object", "json_schema"))
        if kind == "json_object":
            return OutputFormat("json_object")
        if kind != "json_schema":
            return None
        return OutputFormat(
            "json_schema",
            maybe_string(form, "name") or "",
            maybe_object(form, "schema"),
            maybe_bool(form, "strict"),
            maybe_string(form, "description") or "",
        )
    except Misfit as misfit:
        raise misfit.inside("text", "format") from None
