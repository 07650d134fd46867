"""One request converted for another dialect, and its answer converted back.

conversion = convert_request(raw, "openai_chat", profile, model="claude-sonnet-5", created=1_790_000_000)
conversion.body, conversion.headers, conversion.report
answer = conversion.stream()      # or .whole(), for a client that did not ask for a stream
answer.feed(upstream_bytes)       # bytes for the client
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ccproxy_tui.core.formats import dialects
from ccproxy_tui.core.formats.body import decode, encode
from ccproxy_tui.core.formats.canonical import BlockStarted, Delta, Done, Failed, Finished, Started, StreamEvent, Usage
from ccproxy_tui.core.formats.memory import Learner, Recall, recall_nothing, restore_phases, restore_thinking
from ccproxy_tui.core.formats.misfit import Misfit
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.options import ReplyOptions
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.reply import Folder
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Message, Part, Request, Text, Thinking
from ccproxy_tui.core.formats.seal import Seal
from ccproxy_tui.core.formats.tool_names import Restorer, ToolNames
from ccproxy_tui.core.formats.turns import merge, order_turns
from ccproxy_tui.core.limits import MODEL_NAME


def convert_request(
    raw: bytes,
    source: Format,
    profile: Profile,
    *,
    model: str,
    created: int,
    stream: bool | None = None,
    cache_key: str = "",
    recall: Recall = recall_nothing,
) -> Conversion:
    """`raw` in the dialect `source`, for the target that `profile` describes.

    `model` is the target's name for the model; `stream` overrides what the client asked for (a target may only
    stream); `cache_key` names the conversation when the client gave none. The same request always becomes the same
    bytes. Raises Misfit, with the path of the field, for what the dialect does not allow or the target can't take.
    """
    body = decode(raw)
    report = Report()
    request = dialects.parse_request(body, source, report)
    if model != request.model:
        report.changed("model", "by the model table", f"{request.model} -> {model}")
    request.model = model
    request.cache_key = request.cache_key or cache_key
    if stream is not None:
        request.stream = stream
    if source == "openai_chat":
        restore_thinking(request.messages, recall, report)
    if profile.format == "openai_responses":
        restore_phases(request.messages, recall)
    _prepare(request, profile, report)
    limit = dialects.name_limit(profile.format)
    names = ToolNames(request.tools, limit, custom_tools=_takes_custom_tools(profile), report=report)
    rendered, headers = dialects.render_request(request, profile, names, report)
    options = dialects.reply_options(body, source, created)
    return Conversion(source, profile, encode(rendered), headers, report, names, options)


def _takes_custom_tools(profile: Profile) -> bool:
    return profile.custom_tools and profile.format == "openai_responses"


def _prepare(request: Request, profile: Profile, report: Report) -> None:
    """Leave out what the target can't read, and put the turns in order."""
    messages = [Message(message.role, list(_readable(message.parts, profile, report))) for message in request.messages]
    if not profile.cache_marks:
        _drop_marks(request, report)
    request.messages = merge(order_turns(messages, report))
    if not any(message.role != "system" for message in request.messages):
        raise Misfit("There is no message with any content.", "messages")


def _drop_marks(request: Request, report: Report) -> None:
    holders: list[Any] = [*request.tools, *(part for message in request.messages for part in message.parts)]
    for holder in holders:
        if getattr(holder, "cache", None) is not None:
            report.dropped("cache_control", "the target caches by itself")


def _readable(parts: Iterable[Part], profile: Profile, report: Report) -> Iterable[Part]:
    for part in parts:
        if isinstance(part, Text) and not part.text:
            continue
        if isinstance(part, Thinking):
            if part.seal is None:
                report.dropped("thinking", "it is not signed: only for people to read")
                continue
            if not _fits(part.seal, profile):
                report.dropped("thinking", "it is sealed by another vendor; its visible turn is kept")
                continue
        yield part


def _fits(seal: Seal, profile: Profile) -> bool:
    """Whether a seal is the target vendor's, in a shape that this dialect of it takes."""
    if seal.vendor != profile.vendor:
        return False
    match profile.format:
        case "anthropic_messages":
            return seal.block.get("type") in ("thinking", "redacted_thinking")
        case "openai_responses":
            return seal.block.get("type") == "reasoning"
        case "openai_chat":
            return "reasoning_opaque" in seal.block


class Conversion:
    """A converted request, and the way back for its answer."""

    def __init__(
        self,
        source: Format,
        profile: Profile,
        body: bytes,
        headers: dict[str, str],
        report: Report,
        names: ToolNames,
        options: ReplyOptions,
    ) -> None:
        self.source = source
        self.profile = profile
        self.body = body
        self.headers = headers
        self.report = report
        self._names = names
        self._options = options

    def stream(self) -> AnswerStream:
        renderer = dialects.stream_renderer(self.source, self._options, self.report)
        return AnswerStream(self._reader(), renderer)

    def whole(self) -> AnswerWhole:
        return AnswerWhole(self._reader(), self.source, self._options)

    def _reader(self) -> AnswerReader:
        return AnswerReader(self.profile, Restorer(self._names))


class AnswerReader:
    """Upstream bytes to events, with the client's names in them; keeps account of what was said at the end."""

    def __init__(self, profile: Profile, restorer: Restorer) -> None:
        self._parser = dialects.stream_parser(profile.format, profile.vendor)
        self._restorer = restorer
        self._learner = Learner()
        self.spoken = False
        self.whole = False
        self.failed: Failed | None = None
        self.usage = Usage()
        self.stop_reason = ""
        self.model = ""

    @property
    def learned(self) -> dict[str, str]:
        """What to keep for the turns to come. Empty until the answer is whole."""
        return self._learner.learned

    def feed(self, data: bytes) -> list[StreamEvent]:
        return self._read(self._parser.feed(data))

    def flush(self) -> list[StreamEvent]:
        return self._read(self._parser.flush())

    def take_answer(self, body: bytes) -> list[StreamEvent]:
        """A whole answer in JSON. Raises Misfit when it is none."""
        return self._read(self._parser.take_answer(decode(body)))

    def _read(self, events: list[StreamEvent]) -> list[StreamEvent]:
        for event in events:
            if type(event) is Delta and not self._learner.listens:
                continue
            self._learner.watch(event)
            match event:
                case BlockStarted():
                    self.spoken = True
                case Started():
                    self.model = event.model[:MODEL_NAME]
                case Finished():
                    self.usage, self.stop_reason = event.usage, event.reason
                case Done():
                    self.whole = True
                case Failed():
                    self.failed = event
                case _:
                    pass
        return self._restorer.restore(events)


_PIECE = 64 * 1024  # characters


def _pieces(event: StreamEvent) -> Iterator[StreamEvent]:
    """A long delta as several: each is then written on its own, and so much less is in memory."""
    if type(event) is not Delta or len(event.text) <= _PIECE:
        yield event
        return
    for start in range(0, len(event.text), _PIECE):
        yield Delta(event.index, event.kind, event.text[start : start + _PIECE])


class AnswerStream:
    """For clients that asked for a stream: each event upstream is rendered as soon as it is complete."""

    def __init__(self, reader: AnswerReader, renderer: dialects.StreamRenderer) -> None:
        self.reader = reader
        self._renderer = renderer

    def feed(self, data: bytes) -> bytes:
        return self._renderer.feed(self.reader.feed(data))

    def take_answer(self, body: bytes) -> list[StreamEvent]:
        """The events of a whole answer in JSON, for `render`; long texts in pieces. Raises Misfit."""
        return [piece for event in self.reader.take_answer(body) for piece in _pieces(event)]

    def render(self, event: StreamEvent) -> bytes:
        return self._renderer.feed([event])

    def flush(self) -> bytes:
        return self._renderer.feed(self.reader.flush())

    def fail(self, failed: Failed) -> bytes:
        """The error, as this stream must say it where it stands."""
        return self._renderer.feed([failed])


class AnswerWhole:
    """For clients that asked for JSON: everything is collected, whether the upstream streams or not."""

    def __init__(self, reader: AnswerReader, dialect: Format, options: ReplyOptions) -> None:
        self.reader = reader
        self._dialect = dialect
        self._options = options
        self._folder = Folder()

    def feed(self, data: bytes) -> None:
        self._folder.feed(self.reader.feed(data))

    def take_answer(self, body: bytes) -> None:
        """Raises Misfit when `body` is no answer."""
        self._folder.feed(self.reader.take_answer(body))

    def flush(self) -> None:
        self._folder.feed(self.reader.flush())

    def render(self) -> bytes:
        """The answer. Only when `reader.whole`: half an answer must not look like a whole one."""
        answer: dict[str, Any] = dialects.render_answer(self._folder.reply, self._dialect, self._options)
        return msgspec.json.encode(answer)
