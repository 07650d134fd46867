"""The canonical request as a Chat request, as GitHub Copilot takes it."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.attachment import write_url
from ccproxy_tui.core.formats.fit import fit_id
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.formats.openai_chat.tools import render_choice, render_tools
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import (
    Audio,
    Cache,
    Document,
    Image,
    Message,
    Part,
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
_STOP_LIMIT = 4
_FILES_OF_RESULTS = "Attachments of the tool results above:"


def render_request(request: Request, profile: Profile, names: ToolNames, report: Report) -> Object:
    """`request` must have its turns in order. Raises Misfit for content that the target does not take."""
    renderer = _Renderer(profile, names, report)
    messages = [rendered for message in request.messages for rendered in renderer.render(message)]
    body: Object = {"model": request.model, "messages": messages}
    if request.tools:
        body["tools"] = render_tools(request.tools, names, profile, report)
        if (choice := render_choice(request, names, report)) is not None:
            body["tool_choice"] = choice
        if request.parallel is not None:
            body["parallel_tool_calls"] = request.parallel
    body["stream"] = request.stream
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    _render_parameters(request, profile, body, report)
    return body


class _Renderer:
    """Renders one canonical message as one or more of Chat."""

    def __init__(self, profile: Profile, names: ToolNames, report: Report) -> None:
        self._profile = profile
        self._names = names
        self._report = report

    def render(self, message: Message) -> list[Object]:
        match message.role:
            case "assistant":
                return [self._assistant(message.parts)]
            case "system":
                return [self._system(message.parts)]
            case "user":
                return self._user(message.parts)

    def _system(self, parts: list[Part]) -> Object:
        texts = [part for part in parts if isinstance(part, Text)]
        message: Object = {"role": "system", "content": "\n\n".join(part.text for part in texts)}
        return self._cached(message, next((part.cache for part in texts if part.cache is not None), None))

    def _user(self, parts: list[Part]) -> list[Object]:
        attached: list[Object] = []
        messages = [self._result(part, attached) for part in parts if isinstance(part, ToolResult)]
        if attached:
            self._report.changed("tool result attachments", "sent in a user message: tool messages hold text only")
            attached.insert(0, {"type": "text", "text": _FILES_OF_RESULTS})
        content = attached + [self._content(part) for part in parts if not isinstance(part, ToolResult)]
        if content:
            marked = next((part.cache for part in parts if isinstance(part, Text) and part.cache is not None), None)
            messages.append(self._cached({"role": "user", "content": _plain(content)}, marked))
        return messages

    def _result(self, result: ToolResult, attached: list[Object]) -> Object:
        texts: list[str] = []
        for part in result.content:
            if isinstance(part, Text):
                texts.append(part.text)
            else:
                attached.append(self._content(part))
        text = "\n".join(texts)
        if result.is_error:
            self._report.emulated("is_error", "the result starts with the word Error")
            text = f"Error: {text}"
        message: Object = {
            "role": "tool",
            "tool_call_id": self._id(result.call_id),
            "content": text,
        }
        return self._cached(message, result.cache)

    def _content(self, part: Part) -> Object:
        match part:
            case Text():
                return {"type": "text", "text": part.text}
            case Image():
                return self._image(part)
            case Document():
                return self._document(part)
            case Audio():
                return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case _:
                raise Misfit(f"A {type(part).__name__} can't stand in a user message.")

    def _id(self, call_id: str) -> str:
        return fit_id(call_id, _ID_LIMIT, self._report, any_letters=True)

    def _image(self, image: Image) -> Object:
        if image.source.kind == "file_id":
            raise Misfit("A file id is known to its own vendor alone; send the image's bytes or a URL.", *image.path)
        values: Object = {"url": write_url(image.source)}
        if image.detail:
            values["detail"] = image.detail
        return {"type": "image_url", "image_url": values}

    def _document(self, document: Document) -> Object:
        source = document.source
        if source.kind == "text":
            title = f"{document.title}\n\n" if document.title else ""
            return {"type": "text", "text": f"{title}{source.value}"}
        if not self._profile.files or source.kind != "base64":
            raise Misfit(f"{self._profile.name} takes no such document from this model.", *document.path)
        file = {"filename": document.title or "document.pdf", "file_data": write_url(source)}
        return {"type": "file", "file": file}

    def _assistant(self, parts: list[Part]) -> Object:
        message: Object = {"role": "assistant", "content": None}
        texts = [part.text for part in parts if isinstance(part, Text)]
        if texts:
            message["content"] = "".join(texts)
        for part in parts:
            if isinstance(part, Thinking) and part.seal is not None:
                message.update(part.seal.block)
        if calls := [self._call(part) for part in parts if isinstance(part, ToolCall)]:
            message["tool_calls"] = calls
        return self._cached(
            message, next((part.cache for part in parts if isinstance(part, Text) and part.cache), None)
        )

    def _call(self, call: ToolCall) -> Object:
        name = self._names.wire(call.name, call.namespace)
        wrapped = call.custom or self._names.is_emulated(name)
        arguments = wrap_input(call.arguments) if wrapped else call.arguments or "{}"
        function = {"name": name, "arguments": arguments}
        return {
            "id": self._id(call.id),
            "type": "function",
            "function": function,
        }

    def _cached(self, message: Object, cache: Cache | None) -> Object:
        if cache is not None and self._profile.cache_marks:
            message["copilot_cache_control"] = {"type": "ephemeral"}
        return message


def _plain(content: list[Object]) -> str | list[Object]:
    """One text is sent as a string, which every model takes."""
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def _render_parameters(request: Request, profile: Profile, body: Object, report: Report) -> None:
    if request.max_tokens is not None:
        body[profile.tokens_field] = request.max_tokens
    stops = request.stop[:_STOP_LIMIT]
    if len(stops) < len(request.stop):
        report.dropped("stop", "only four stop sequences are taken")
    if stops:
        body["stop"] = stops
    wanted: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "reasoning_effort": None if request.reasoning is None else request.reasoning.nearest_effort,
        "verbosity": request.verbosity,
        "response_format": _response_format(request),
    }
    if request.reasoning is not None:
        note_effort(request.reasoning, report)
    for field, value in wanted.items():
        if value is None:
            continue
        if field in profile.refused:
            report.dropped(field, f"{profile.name} refuses it")
        else:
            body[field] = value
    for field, given in (("top_k", request.top_k), ("user", request.user), ("service_tier", request.fast)):
        if given:
            report.dropped(field, f"{profile.name} does not take it")


def _response_format(request: Request) -> Object | None:
    output = request.output
    if output is None:
        return None
    if output.kind == "json_object":
        return {"type": "json_object"}
    schema: Object = {"name": output.name or "output", "schema": output.schema or {"type": "object"}}
    if output.strict is not None:
        schema["strict"] = output.strict
    if output.description:
        schema["description"] = output.description
    return {"type": "json_schema", "json_schema": schema}
