"""The canonical request as a Messages request.

Rules that the API enforces: https://docs.anthropic.com/en/api/messages and errors seen from it.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec

from ccproxy_tui.core.formats.anthropic_messages.tools import render_choice, render_tools
from ccproxy_tui.core.formats.fit import fit_id
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import (
    Audio,
    Cache,
    Content,
    Document,
    Effort,
    Image,
    Message,
    Part,
    Reasoning,
    Request,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from ccproxy_tui.core.formats.tool_names import ToolNames, wrap_input

NAME_LIMIT = 128
_ID_LIMIT = 256
_MARKS_LIMIT = 4
_VERSION = "2026-10-21"  # refuses sampling parameters
_VERSION_WITH_SAMPLING = "2023-06-01"
_SYSTEM_BETA = "mid-conversation-system-2026-04-07"
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_JSON_ONLY = "Answer with one valid JSON object and nothing else: no prose, no code fences."
_FILLER = "…"
_BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 32_000,
    "max": 48_000,
}
_LEAST_BUDGET = 1024


class Rendered(NamedTuple):
    """A request's body and the headers that it needs."""

    body: Object
    headers: dict[str, str]


def render_request(request: Request, profile: Profile, names: ToolNames, report: Report) -> Rendered:
    """`request` must have its turns in order. Raises Misfit for content that Anthropic does not take."""
    leading = 0
    while leading < len(request.messages) and request.messages[leading].role == "system":
        leading += 1
    system = [_text(part) for message in request.messages[:leading] for part in message.parts if isinstance(part, Text)]
    if request.output is not None and request.output.kind == "json_object":
        system.append({"type": "text", "text": _JSON_ONLY})
        report.emulated("response_format", "asked for JSON in the system prompt")
    messages = [_message(message, names, report) for message in request.messages[leading:]]
    _fit_ends(messages, report)
    body: Object = {"model": request.model}
    if system:
        body["system"] = system
    body["messages"] = messages
    if request.tools:
        body["tools"] = render_tools(request.tools, names, profile, report)
        if (choice := render_choice(request, names, report)) is not None:
            body["tool_choice"] = choice
    body["max_tokens"] = _max_tokens(request, profile, report)
    _render_thinking(request, profile, body, report)
    _render_parameters(request, body, report)
    _limit_marks(body, report)
    if profile.auto_cache and _worth_caching(request) and not _marked(body):
        body["cache_control"] = {"type": "ephemeral"}
        report.injected("cache_control", "prompt caching is opt-in at Anthropic; clients of this dialect expect it")
    return Rendered(body, _headers(body))


def _headers(body: Object) -> dict[str, str]:
    sampling = any(name in body for name in ("temperature", "top_p", "top_k"))
    headers = {"anthropic-version": _VERSION_WITH_SAMPLING if sampling else _VERSION}
    if any(message["role"] == "system" for message in body["messages"]):
        headers["anthropic-beta"] = _SYSTEM_BETA
    return headers


# --- messages ---


def _message(message: Message, names: ToolNames, report: Report) -> Object:
    return {"role": message.role, "content": [_part(part, names, report) for part in message.parts]}


def _part(part: Part, names: ToolNames, report: Report) -> Object:
    match part:
        case Text():
            return _text(part)
        case Image():
            return _image(part, report)
        case Document():
            return _document(part)
        case Thinking():
            assert part.seal is not None  # those without a seal of Anthropic's were left out before
            return part.seal.block
        case ToolCall():
            return _tool_use(part, names, report)
        case ToolResult():
            return _tool_result(part, report)
        case Audio():
            raise Misfit("Claude does not take audio.", *part.path)


def _text(part: Text) -> Object:
    return _cached({"type": "text", "text": part.text}, part.cache)


def _cached(block: Object, cache: Cache | None) -> Object:
    if cache is not None:
        block["cache_control"] = {"type": "ephemeral"} if cache.ttl == "5m" else {"type": "ephemeral", "ttl": "1h"}
    return block


def _image(part: Image, report: Report) -> Object:
    if part.detail not in ("", "auto"):
        report.dropped("detail", "Claude has no detail setting for images", part.detail)
    source = part.source
    if source.kind == "base64" and source.media_type not in _IMAGES:
        raise Misfit(f"Claude takes JPEG, PNG, GIF and WebP images, not {source.media_type[:60]!r}.", *part.path)
    return _cached({"type": "image", "source": _source(source, part.path)}, part.cache)


def _document(part: Document) -> Object:
    source = part.source
    block: Object = {"type": "document"}
    if source.kind == "base64" and source.media_type.startswith("text/"):
        block["source"] = _source(Source("text", _decoded(source.value, part.path)), part.path)
    elif source.kind == "base64" and source.media_type != "application/pdf":
        raise Misfit(f"Claude takes PDF and text documents, not {source.media_type[:60]!r}.", *part.path)
    else:
        block["source"] = _source(source, part.path)
    if part.title:
        block["title"] = part.title
    return _cached(block, part.cache)


def _decoded(data: str, path: tuple[str | int, ...]) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Misfit("The file is not valid base64 of UTF-8 text.", *path) from None


def _source(source: Source, path: tuple[str | int, ...]) -> Object:
    match source.kind:
        case "base64":
            return {"type": "base64", "media_type": source.media_type, "data": source.value}
        case "text":
            return {"type": "text", "media_type": "text/plain", "data": source.value}
        case "url" if source.value.startswith("https://"):
            return {"type": "url", "url": source.value}
        case "url":
            raise Misfit("Only https URLs are supported by Claude.", *path)
        case _:
            raise Misfit("A file id is known to its own vendor alone; send the file's bytes or a URL.", *path)


def _tool_use(call: ToolCall, names: ToolNames, report: Report) -> Object:
    name = names.wire(call.name, call.namespace)
    if call.custom or names.is_emulated(name):
        arguments = wrap_input(call.arguments).encode()
    else:
        arguments = _arguments(call, report)
    block = {
        "type": "tool_use",
        "id": fit_id(call.id, _ID_LIMIT, report),
        "name": name,
        "input": msgspec.Raw(arguments),
    }
    return _cached(block, call.cache)


def _arguments(call: ToolCall, report: Report) -> bytes:
    """The arguments as they came when they are a JSON object; else an empty one: the API takes nothing else."""
    try:
        if isinstance(msgspec.json.decode(call.arguments or "null"), dict):
            return call.arguments.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    if call.arguments.strip() not in ("", "null"):
        report.dropped("tool call arguments", "they are not a JSON object", call.id)
    return b"{}"


def _tool_result(result: ToolResult, report: Report) -> Object:
    block: Object = {"type": "tool_result", "tool_use_id": fit_id(result.call_id, _ID_LIMIT, report)}
    if content := [_result_part(part, report) for part in result.content if not _is_empty(part)]:
        block["content"] = content
    if result.is_error:
        block["is_error"] = True
    return _cached(block, result.cache)


def _result_part(part: Content, report: Report) -> Object:
    match part:
        case Text():
            return _text(part)
        case Image():
            return _image(part, report)
        case Document():
            return _document(part)


def _is_empty(part: Content) -> bool:
    return isinstance(part, Text) and not part.text


def _fit_ends(messages: list[Object], report: Report) -> None:
    """The first message must be the user's, and a last one of the assistant's must not end with white space."""
    first = next((message for message in messages if message["role"] != "system"), None)
    if first is None or first["role"] != "user":
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": _FILLER}]})
        report.injected("messages[0]", "Claude's conversations start with the user")
    last = messages[-1]
    if last["role"] != "assistant" or last["content"][-1]["type"] != "text":
        return
    stripped = last["content"][-1]["text"].rstrip()
    if stripped:
        last["content"][-1]["text"] = stripped
    else:
        last["content"].pop()
    if not last["content"]:
        messages.pop()


# --- parameters ---


def _max_tokens(request: Request, profile: Profile, report: Report) -> int:
    limit = profile.max_tokens
    if request.max_tokens is None:
        report.defaulted("max_tokens", f"Claude demands it; {profile.default_tokens} was taken")
        return profile.default_tokens
    if limit is not None and request.max_tokens > limit:
        report.changed("max_tokens", f"the model's limit is {limit}", str(request.max_tokens))
        return limit
    return request.max_tokens


def _render_thinking(request: Request, profile: Profile, body: Object, report: Report) -> None:
    reasoning = request.reasoning
    if reasoning is None:
        return
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        report.dropped("reasoning", "Claude can't think when a tool is forced")
    elif profile.thinking == "adaptive":
        _render_adaptive(reasoning, body)
    elif profile.thinking == "budget" and reasoning.effort != "none":
        _render_budget(reasoning, request.messages, body, report)
    elif profile.thinking == "none" and reasoning.effort != "none":
        report.dropped("reasoning", "this model does not think")


def _render_adaptive(reasoning: Reasoning, body: Object) -> None:
    if reasoning.effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    thinking: Object = {"type": "adaptive"}
    if reasoning.show is not None:
        thinking["display"] = "summarized" if reasoning.show else "omitted"
    body["thinking"] = thinking
    if reasoning.effort is not None:
        body["output_config"] = {"effort": "low" if reasoning.effort == "minimal" else reasoning.effort}


def _render_budget(reasoning: Reasoning, messages: list[Message], body: Object, report: Report) -> None:
    wanted = reasoning.budget or _BUDGETS[reasoning.effort if reasoning.effort in _BUDGETS else "medium"]
    budget = min(wanted, body["max_tokens"] - 1)
    if budget < _LEAST_BUDGET:
        report.dropped("reasoning", "max_tokens leaves no room for thinking (1,024 tokens at least)")
        return
    if _thinking_is_missing(messages):
        report.dropped("reasoning", "an earlier step of this turn has lost its signed thinking; Claude demands it")
        return
    if budget < wanted:
        report.changed("reasoning", f"the budget must be below max_tokens: {budget} tokens", str(wanted))
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _thinking_is_missing(messages: list[Message]) -> bool:
    """Whether a step of the tool loop that is under way has calls but does not start with thinking."""
    for message in reversed(messages):
        if message.role == "user" and not all(isinstance(part, ToolResult) for part in message.parts):
            return False
        has_calls = any(isinstance(part, ToolCall) for part in message.parts)
        if message.role == "assistant" and has_calls and not isinstance(message.parts[0], Thinking):
            return True
    return False


def _render_parameters(request: Request, body: Object, report: Report) -> None:
    stops = [stop for stop in request.stop if stop.strip()]
    if len(stops) < len(request.stop):
        report.dropped("stop", "Claude takes no blank stop sequences")
    if stops:
        body["stop_sequences"] = stops
    _render_sampling(request, body, report)
    output = request.output
    if output is not None and output.kind == "json_schema":
        form = {"type": "json_schema", "schema": output.schema or {"type": "object"}}
        body["output_config"] = {**body.get("output_config", {}), "format": form}
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.fast:
        report.dropped("service_tier", "Claude's fast mode costs extra; ask for it in its own words")
    for field, value in (("verbosity", request.verbosity), ("prompt_cache_key", request.cache_key)):
        if value:
            report.dropped(field, "Claude has no counterpart")
    body["stream"] = request.stream


def _render_sampling(request: Request, body: Object, report: Report) -> None:
    given = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    given = {name: value for name, value in given.items() if value is not None}
    if "thinking" in body and body["thinking"]["type"] != "disabled":
        for name in given:
            report.dropped(name, "Claude takes no sampling parameters while it thinks")
        return
    if "temperature" in given and "top_p" in given:
        report.dropped("top_p", "Claude takes temperature or top_p, not both")
        del given["top_p"]
    if (request.temperature or 0) > 1:
        report.changed("temperature", "Claude's highest is 1", str(request.temperature))
        given["temperature"] = 1.0
    body.update(given)


# --- cache marks ---


def _holders(body: Object) -> list[Object]:
    """Everything that may carry a cache mark, in the order in which it is cached."""
    holders: list[Object] = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        holders += message["content"]
    return holders


def _marked(body: Object) -> list[Object]:
    return [holder for holder in _holders(body) if "cache_control" in holder]


def _limit_marks(body: Object, report: Report) -> None:
    for holder in _marked(body)[:-_MARKS_LIMIT]:
        del holder["cache_control"]
        report.dropped("cache_control", "Claude takes four marks; the last ones count")


def _worth_caching(request: Request) -> bool:
    return bool(request.tools) or any(message.role == "assistant" for message in request.messages)
