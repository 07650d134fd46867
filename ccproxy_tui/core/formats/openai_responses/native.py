"""Responses requests that stay Responses, made acceptable to the ChatGPT Codex backend, and its streams collected.

What that backend demands and refuses: seen from it, October 2026.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.formats.body import decode, encode
from ccproxy_tui.core.formats.canonical import Failed, Usage
from ccproxy_tui.core.formats.misfit import Misfit, Object, as_list, as_object
from ccproxy_tui.core.formats.openai_chat.stream_parser import failure
from ccproxy_tui.core.formats.openai_responses.instructions import Injection, inject
from ccproxy_tui.core.formats.openai_responses.request_renderer import ENCRYPTED, conversation_key
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import unwrap
from ccproxy_tui.core.formats.usage import read_usage
from ccproxy_tui.core.text import sse

# Fields that the backend answers with 400.
CODEX_REFUSES = frozenset(
    {
        "background",
        "context_management",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tool_calls",
        "metadata",
        "moderation",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)
_STORED = "this backend keeps no answers (store is false); send the whole conversation."
_PREFIXES = {"function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs", "message": "msg"}
_ID_LIMIT = 64


_DISABLED = Injection("disabled", "")


def patch_request(
    raw: bytes,
    *,
    model: str,
    cache_key: str = "",
    report: Report,
    injection: Injection = _DISABLED,
    refused: frozenset[str] = CODEX_REFUSES,
) -> bytes:
    """The request with what the backend demands, and without what it refuses. Everything else stays as it came.

    Raises Misfit for a reference to something stored.
    """
    body = decode(raw)
    if body.get("input") is None and isinstance(body.get("messages"), list):
        body = _chat_style(body, report)
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name) is not None:
            raise Misfit(f"Nothing stored can be looked up: {_STORED}", name)
    patched = {name: value for name, value in body.items() if name not in refused}
    for name in body:
        if name not in patched and body[name] is not None:
            report.dropped(name, "the Codex backend refuses it")
    patched["model"] = model
    patched["input"] = _input(body.get("input"), report)
    patched["instructions"] = body.get("instructions") or ""
    if body.get("stream") is not True:
        report.changed("stream", "the backend only streams; the answer is collected for the client")
    if body.get("store") is not False:
        report.changed("store", "the backend stores nothing")
    patched |= {"store": False, "stream": True, "include": _include(body.get("include"))}
    _patch_options(patched, report)
    if not patched.get("prompt_cache_key"):
        patched["prompt_cache_key"] = cache_key or conversation_key(patched["instructions"], patched["input"])
        report.injected("prompt_cache_key", "named after the conversation, so that its prompt is cached")
    return encode(inject(patched, injection, report))


def inject_into(raw: bytes, injection: Injection, report: Report) -> bytes:
    """The same for a request that a conversion has made. Raises Misfit."""
    return encode(inject(decode(raw), injection, report)) if injection.changes else raw


def _chat_style(body: Object, report: Report) -> Object:
    """Chat's `messages` where `input` is expected: what a person means is plain, as long as they are only messages."""
    items: list[Any] = []
    for place, raw in enumerate(as_list(body["messages"], "messages")):
        message = as_object(raw, "messages", place)
        if message.get("role") not in ("system", "developer", "user", "assistant") or message.get("tool_calls"):
            raise Misfit("Calls and their results belong into `input` here.", "messages", place)
        kind = "output_text" if message["role"] == "assistant" else "input_text"
        items.append({"type": "message", "role": message["role"], "content": _chat_content(message, kind, place)})
    report.renamed("messages", "the Responses dialect names it input")
    return {**{name: value for name, value in body.items() if name != "messages"}, "input": items}


def _chat_content(message: Object, kind: str, place: int) -> list[Object]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": kind, "text": content}]
    parts = as_list(content, "messages", place, "content")
    if any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
        raise Misfit("Only text is taken from messages here; send it as `input`.", "messages", place, "content")
    return [{"type": kind, "text": part.get("text")} for part in parts]


def _patch_options(patched: Object, report: Report) -> None:
    options = patched.get("stream_options")
    if isinstance(options, dict) and "include_usage" in options:
        patched["stream_options"] = {name: value for name, value in options.items() if name != "include_usage"}
    tier = patched.get("service_tier")
    if tier is not None and tier != "priority":
        del patched["service_tier"]
        if tier == "fast":
            patched["service_tier"] = "priority"
        elif tier != "auto":
            report.dropped("service_tier", "the Codex backend knows only priority", str(tier))
    tools = patched.get("tools")
    if isinstance(tools, list):
        patched["tools"] = [_tool(tool) for tool in tools]


def _tool(tool: Any) -> Any:
    if isinstance(tool, dict) and str(tool.get("type")).startswith("web_search_preview"):
        return {**tool, "type": "web_search"}
    return tool


def _include(value: Any) -> list[Any]:
    given = value if isinstance(value, list) else []
    return given if ENCRYPTED in given else [*given, ENCRYPTED]


def _input(value: Any, report: Report) -> list[Any]:
    if value is None:
        raise Misfit("This field is required.", "input")
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    items: list[Any] = []
    for place, raw in enumerate(as_list(value, "input")):
        item = _item(as_object(raw, "input", place), report)
        if item is not None:
            items.append(item)
    return items


def _item(item: Object, report: Report) -> Object | None:
    kind = item.get("type") or ("message" if "role" in item else "")
    if kind == "item_reference":
        report.dropped("input[] (item_reference)", f"it can't be looked up: {_STORED}")
        return None
    if kind == "reasoning":
        return _reasoning(item, report)
    if kind == "message":
        item = _message(item, report)
    prefix = _PREFIXES.get(kind)
    given = item.get("id")
    if prefix and given is not None and (not str(given).startswith(prefix) or len(str(given)) > _ID_LIMIT):
        item = {name: value for name, value in item.items() if name != "id"}
    return item


def _reasoning(item: Object, report: Report) -> Object | None:
    token = item.get("encrypted_content")
    if not isinstance(token, str) or not token:
        report.dropped("input[] (reasoning)", f"without its encrypted content it can't be looked up: {_STORED}")
        return None
    seal = unwrap(token)
    if seal is None:
        return item
    if seal.vendor == "openai" and seal.block.get("type") == "reasoning":
        return seal.block
    report.dropped("input[] (reasoning)", "it is sealed by another vendor; its visible turn is kept")
    return None


def _message(item: Object, report: Report) -> Object:
    if item.get("role") == "system":
        report.changed("input[].role", "system messages are developer messages at this backend")
        item = {**item, "role": "developer"}
    content = item.get("content")
    if isinstance(content, list) and any(
        isinstance(part, dict) and "prompt_cache_breakpoint" in part for part in content
    ):
        report.dropped("input[].content[].prompt_cache_breakpoint", "the Codex backend refuses it")
        item = {**item, "content": [_unmarked(part) for part in content]}
    return item


def _unmarked(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name != "prompt_cache_breakpoint"}


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    output_index: int = 0
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    error: Any = None
    code: Any = None
    message: Any = None


_EVENT = msgspec.json.Decoder(_Event)


class Collector:
    """A stream of the backend as one response, for clients that did not ask for a stream.

    The terminal event often lists no output; then it is made of the items that were done.
    """

    def __init__(self) -> None:
        self._decoder = sse.Decoder()
        self._items: dict[int, Object] = {}
        self._response: Object | None = None
        self.failed: Failed | None = None

    @property
    def whole(self) -> bool:
        return self._response is not None

    @property
    def usage(self) -> Usage:
        usage = (self._response or {}).get("usage")
        return read_usage(usage, "openai_responses") if isinstance(usage, dict) else Usage()

    def feed(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            self._take(event.data)

    def flush(self) -> None:
        for event in self._decoder.flush():
            self._take(event.data)

    def _take(self, data: bytes) -> None:
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        match event.type:
            case "response.output_item.done" if event.item is not None:
                self._items[event.output_index] = event.item
            case "response.completed" | "response.incomplete":
                self._response = event.response
            case "response.failed":
                self.failed = failure((event.response or {}).get("error"))
            case "error":
                self.failed = failure(event.error or {"code": event.code, "message": event.message})
            case _:
                pass

    def render(self) -> bytes:
        """The response as JSON. Only when `whole`."""
        return msgspec.json.encode(self.response())

    def response(self) -> Object:
        """The response object. Only when `whole`."""
        response = dict(self._response or {})
        if not response.get("output"):
            response["output"] = [self._items[place] for place in sorted(self._items)]
        return response
