"""The three dialects side by side: how each is parsed and rendered."""

from __future__ import annotations

from typing import Any, Protocol

from ccproxy_tui.core.formats.anthropic_messages import answer_renderer as messages_answer
from ccproxy_tui.core.formats.anthropic_messages import request_parser as messages_request
from ccproxy_tui.core.formats.anthropic_messages import request_renderer as messages_rendered
from ccproxy_tui.core.formats.anthropic_messages import stream_parser as messages_parser
from ccproxy_tui.core.formats.anthropic_messages import stream_renderer as messages_stream
from ccproxy_tui.core.formats.canonical import StreamEvent
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.openai_chat import answer_renderer as chat_answer
from ccproxy_tui.core.formats.openai_chat import request_parser as chat_request
from ccproxy_tui.core.formats.openai_chat import request_renderer as chat_rendered
from ccproxy_tui.core.formats.openai_chat import stream_parser as chat_parser
from ccproxy_tui.core.formats.openai_chat import stream_renderer as chat_stream
from ccproxy_tui.core.formats.openai_responses import request_parser as responses_request
from ccproxy_tui.core.formats.openai_responses import request_renderer as responses_rendered
from ccproxy_tui.core.formats.openai_responses import stream_parser as responses_parser
from ccproxy_tui.core.formats.openai_responses import stream_renderer as responses_stream
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.reply import Reply
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Request
from ccproxy_tui.core.formats.seal import Vendor
from ccproxy_tui.core.formats.tool_names import ToolNames


class StreamParser(Protocol):
    """Bytes of a stream, in any cut, to events."""

    def feed(self, data: bytes) -> list[StreamEvent]: ...

    def flush(self) -> list[StreamEvent]:
        """What the end of the stream tells."""
        ...

    def take_answer(self, answer: dict[str, Any]) -> list[StreamEvent]:
        """A whole answer, for upstreams that did not stream. Use a fresh parser."""
        ...


class StreamRenderer(Protocol):
    """Events to bytes of a stream."""

    def feed(self, events: list[StreamEvent]) -> bytes: ...


def parse_request(body: Object, dialect: Format, report: Report) -> Request:
    """Raises Misfit, with the path of the field."""
    match dialect:
        case "anthropic_messages":
            return messages_request.parse_request(body, report)
        case "openai_chat":
            return chat_request.parse_request(body, report)
        case "openai_responses":
            return responses_request.parse_request(body, report)


def name_limit(dialect: Format) -> int:
    """How long the name of a tool may be."""
    return messages_rendered.NAME_LIMIT if dialect == "anthropic_messages" else chat_rendered.NAME_LIMIT


def render_request(
    request: Request, profile: Profile, names: ToolNames, report: Report
) -> tuple[Object, dict[str, str]]:
    """The body, and the headers that it needs. Raises Misfit for what the target does not take."""
    match profile.format:
        case "anthropic_messages":
            return messages_rendered.render_request(request, profile, names, report)
        case "openai_chat":
            return chat_rendered.render_request(request, profile, names, report), {}
        case "openai_responses":
            return responses_rendered.render_request(request, profile, names, report), {}


def stream_parser(dialect: Format, vendor: Vendor = "openai") -> StreamParser:
    match dialect:
        case "anthropic_messages":
            return messages_parser.StreamParser()
        case "openai_chat":
            return chat_parser.StreamParser()
        case "openai_responses":
            return responses_parser.StreamParser(vendor)


def stream_renderer(dialect: Format, options: ReplyOptions, report: Report) -> StreamRenderer:
    match dialect:
        case "anthropic_messages":
            return messages_stream.StreamRenderer(options, report)
        case "openai_chat":
            return chat_stream.StreamRenderer(options)
        case "openai_responses":
            return responses_stream.StreamRenderer(options)


def render_answer(reply: Reply, dialect: Format, options: ReplyOptions) -> Object:
    match dialect:
        case "anthropic_messages":
            return messages_answer.render_answer(reply, options)
        case "openai_chat":
            return chat_answer.render_answer(reply, options)
        case "openai_responses":
            return responses_stream.render_answer(reply, options)


def reply_options(body: Object, dialect: Format, created: int) -> ReplyOptions:
    """What the answer to this request must know of it."""
    model = str(body.get("model") or "")
    match dialect:
        case "openai_chat":
            return ReplyOptions(model, created, chat_request.wants_usage(body), chat_request.is_legacy(body))
        case "openai_responses":
            return ReplyOptions(model, created, echo=responses_stream.echo_of(body))
        case _:
            return ReplyOptions(model, created)
