"""The canonical request as a Responses request, as the Codex backend and GitHub Copilot take it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ccproxy_tui.core.formats.attachment import write_url
from ccproxy_tui.core.formats.fit import fit_id
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.formats.openai_responses.tools import render_choice, render_tools
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import (
    Audio,
    Content,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    note_effort,
)
from ccproxy_tui.core.formats.tool_names import ToolNames, wrap_input

NAME_LIMIT = 64
_ID_LIMIT = 64
_LEAST_TOKENS = 16
ENCRYPTED = "reasoning.encrypted_content"


def render_request(request: Request, profile: Profile, names: ToolNames, report: Report) -> Object:
    """`request` must have its turns in order. Raises Misfit for content that the target does not take."""
    leading = 0
    while leading < len(request.messages) and request.messages[leading].role == "system":
        leading += 1
    instructions = [
        part.text for message in request.messages[:leading] for part in message.parts if isinstance(part, Text)
    ]
    renderer = _Renderer(profile, names, report)
    for message in request.messages[leading:]:
        renderer.render(message)
    body: Object = {
        "model": request.model,
        "instructions": "\n\n".join(instructions),
        "input": renderer.items,
    }
    if request.tools:
        body["tools"] = render_tools(request.tools, names, profile, report)
        if (choice := render_choice(request, names, profile)) is not None:
            body["tool_choice"] = choice
        if request.parallel is not None:
            body["parallel_tool_calls"] = request.parallel
    _render_parameters(request, profile, body, report)
    body |= {"store": False, "stream": request.stream, "include": [ENCRYPTED]}
    return body


class _Renderer:
    """Collects the items of the input."""

    def __init__(self, profile: Profile, names: ToolNames, report: Report) -> None:
        self.items: list[Object] = []
        self._profile = profile
        self._names = names
        self._report = report
        self._custom: set[str] = set()  # ids of calls to custom tools: their results have a type of their own

    def render(self, message: Message) -> None:
        role = {"system": "developer"}.get(message.role, message.role)
        content: list[Object] = []
        phase = ""
        for part in message.parts:
            if isinstance(part, Thinking | ToolCall | ToolResult):
                self._close(role, content, phase)
                content, phase = [], ""
                self.items.append(self._item(part))
                continue
            given = part.phase if isinstance(part, Text) else ""
            if content and given != phase:
                self._close(role, content, phase)
                content = []
            phase = given
            content.append(self._content(part, message.role))
        self._close(role, content, phase)

    def _close(self, role: str, content: list[Object], phase: str) -> None:
        if not content:
            return
        item: Object = {"type": "message", "role": role, "content": content}
        if phase:
            item["phase"] = phase
        self.items.append(item)

    def _item(self, part: Thinking | ToolCall | ToolResult) -> Object:
        match part:
            case Thinking():
                assert part.seal is not None  # those without a seal of the target's vendor were left out before
                return part.seal.block
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part)

    def _call(self, call: ToolCall) -> Object:
        name = self._names.wire(call.name, call.namespace)
        call_id = self._id(call.id)
        if call.custom and self._profile.custom_tools:
            self._custom.add(call.id)
            return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": call.arguments}
        arguments = wrap_input(call.arguments) if call.custom else call.arguments or "{}"
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}

    def _result(self, result: ToolResult) -> Object:
        parts = [self._content(part, "user") for part in result.content]
        if result.is_error:
            self._report.emulated("is_error", "the result starts with the word Error")
            parts = _with_error(parts)
        output: str | list[Object] = parts
        if all(part["type"] == "input_text" for part in parts):
            output = "\n".join(part["text"] for part in parts)
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        return {
            "type": kind,
            "call_id": self._id(result.call_id),
            "output": output,
        }

    def _content(self, part: Part | Content, role: str) -> Object:
        match part:
            case Text() if role == "assistant":
                return {"type": "output_text", "text": part.text, "annotations": []}
            case Text():
                return {"type": "input_text", "text": part.text}
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                raise Misfit(f"{self._profile.name} does not take audio.", *part.path)
            case _:
                raise Misfit(f"A {type(part).__name__} can't stand in a message.")

    def _id(self, call_id: str) -> str:
        return fit_id(call_id, _ID_LIMIT, self._report, any_letters=True)

    def _image(self, image: Image) -> Object:
        if image.source.kind == "file_id":
            raise Misfit("A file id is known to its own vendor alone; send the image's bytes or a URL.", *image.path)
        return {"type": "input_image", "image_url": write_url(image.source), "detail": image.detail or "auto"}

    def _document(self, document: Document) -> Object:
        source = document.source
        if source.kind == "text":
            title = f"{document.title}\n\n" if document.title else ""
            return {"type": "input_text", "text": f"{title}{source.value}"}
        if not self._profile.files:
            raise Misfit(f"{self._profile.name} takes no documents.", *document.path)
        if source.kind == "url":
            return {"type": "input_file", "file_url": source.value}
        return {"type": "input_file", "filename": document.title or "document.pdf", "file_data": write_url(source)}


def _with_error(parts: list[Object]) -> list[Object]:
    if parts and parts[0]["type"] == "input_text":
        return [{**parts[0], "text": f"Error: {parts[0]['text']}"}, *parts[1:]]
    return [{"type": "input_text", "text": "Error: "}, *parts]


def _render_parameters(request: Request, profile: Profile, body: Object, report: Report) -> None:
    if request.reasoning is not None:
        body["reasoning"] = _reasoning(request.reasoning, report)
    if (text := _text(request)) is not None:
        body["text"] = text
    body["prompt_cache_key"] = request.cache_key or conversation_key(body["instructions"], body["input"])
    if not request.cache_key:
        report.injected("prompt_cache_key", "named after the conversation, so that its prompt is cached")
    wanted: dict[str, Any] = {
        "max_output_tokens": None if request.max_tokens is None else max(request.max_tokens, _LEAST_TOKENS),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "service_tier": "priority" if request.fast else None,
    }
    for field, value in wanted.items():
        if value is None:
            continue
        if field in profile.refused:
            report.dropped(field, f"{profile.name} refuses it")
        else:
            body[field] = value
    for field, given in (("stop", request.stop), ("top_k", request.top_k), ("user", request.user)):
        if given:
            report.dropped(field, "the Responses dialect has no such field" if field != "user" else "not passed on")


def _reasoning(reasoning: Reasoning, report: Report) -> Object:
    if reasoning.effort == "none":
        return {"effort": "none"}
    values: Object = {}
    if (effort := reasoning.nearest_effort) is not None:
        values["effort"] = effort
        note_effort(reasoning, report)
    if reasoning.show is not False:
        values["summary"] = "auto"
    return values


def _text(request: Request) -> Object | None:
    values: Object = {}
    if request.verbosity is not None:
        values["verbosity"] = request.verbosity
    output = request.output
    if output is not None and output.kind == "json_object":
        values["format"] = {"type": "json_object"}
    elif output is not None:
        form: Object = {
            "type": "json_schema",
            "name": output.name or "output",
            "schema": output.schema or {"type": "object"},
            "strict": output.strict or False,
        }
        if output.description:
            form["description"] = output.description
        values["format"] = form
    return values or None


def conversation_key(instructions: Any, items: Any) -> str:
    """A name that stays the same as a conversation grows: made of its start."""
    first = next((item for item in items if isinstance(item, dict) and item.get("role") == "user"), None)
    start = msgspec.json.encode([instructions, first])
    return f"ccproxy-{hashlib.sha256(start).hexdigest()[:32]}"
