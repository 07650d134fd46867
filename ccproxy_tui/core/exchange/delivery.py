"""Hands an upstream's answer to the client: as it came, mended, converted event by event, or collected into one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from ccproxy_tui.core.errors import ProxyError, UpstreamCut, UpstreamGarbled, UpstreamRefused
from ccproxy_tui.core.exchange.preparing import Plan
from ccproxy_tui.core.exchange.sink import EVENT_STREAM, RawHeaders, Sink
from ccproxy_tui.core.exchange.tap import Tap
from ccproxy_tui.core.formats import Conversion, Misfit
from ccproxy_tui.core.formats.body import read_object, with_fields
from ccproxy_tui.core.formats.canonical import Failed, Usage
from ccproxy_tui.core.formats.conversion import AnswerReader, AnswerStream, AnswerWhole
from ccproxy_tui.core.formats.openai_chat.native import Normaliser, normalise_answer
from ccproxy_tui.core.formats.openai_responses.native import Collector
from ccproxy_tui.core.formats.upstream_error import is_openai_error, read_error, retry_seconds, status_of
from ccproxy_tui.core.limits import ANSWER, ERROR_ANSWER, EVENT, MB, SHARED_FROM
from ccproxy_tui.core.provider import Answer, Headers
from ccproxy_tui.core.records.events import EndReason
from ccproxy_tui.core.system.threads import work_on
from ccproxy_tui.core.text import sse

T = TypeVar("T")

_DRAIN_SECONDS = 0.5
# Of an upstream's headers, what concerns the client even when the body is ours: limits, quotas, ids, who answers.
_PASSED = (
    "retry-after",
    "x-ratelimit-",
    "anthropic-ratelimit-",
    "x-codex-",
    "request-id",
    "x-request-id",
    "x-claude-sdk-",
)


@dataclass(slots=True)
class Outcome:
    """How an answer ended, and what it said of itself."""

    reason: EndReason = "done"
    error: str = ""
    usage: Usage | None = None
    model: str = ""
    stop_reason: str = ""
    learned: dict[str, str] = field(default_factory=dict)


class HeaderMaker(Protocol):
    """Makes the client's headers from the upstream's."""

    def __call__(self, headers: Headers, *, stream: bool) -> RawHeaders: ...


class Delivery(Protocol):
    async def run(self, answer: Answer) -> Outcome:
        """Raises a ProxyError when the answer can't be delivered whole; the exchange then tells the client."""
        ...


def changes(plan: Plan, status: int) -> bool:
    """Whether the client gets other bytes than those of an upstream's answer with this status."""
    profile = plan.profile
    if profile is None:
        return False
    if status >= 400:
        return plan.conversion is not None or profile.format != "anthropic_messages"
    return plan.conversion is not None or _collects(plan) or profile.mends or bool(plan.shown_model)


def delivery_of(plan: Plan, answer: Answer, leg: Leg, created: int) -> Delivery:
    """How an answer to what was planned gets to the client."""
    if not changes(plan, answer.status):
        return Relayed(leg)
    if answer.status >= 400:
        return Refused(leg, same_dialect=plan.conversion is None)
    if plan.conversion is not None:
        return ConvertedStream(plan.conversion, leg) if plan.call.stream else ConvertedWhole(plan.conversion, leg)
    if _collects(plan):
        return Collected(leg, plan.shown_model)
    if plan.profile is not None and plan.profile.mends:
        return Mended(leg, plan.call.model, created, plan.shown_model)
    return Renamed(leg, plan.shown_model)


def _collects(plan: Plan) -> bool:
    return plan.profile is not None and plan.profile.stream_only and not plan.call.stream


class Claim(Protocol):
    """The memory that a request may hold, as `core.server.shares` deals it out."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        ...

    async def reach(self, size: int) -> None:
        """Wait until it may hold `size` bytes. Raises TooMuchMemory."""
        ...


class Leg:
    """The client's end of an exchange, as deliveries use it."""

    def __init__(self, sink: Sink, tap: Tap, headers: HeaderMaker, claim: Claim | None) -> None:
        self.sink = sink
        self.tap = tap
        self.headers = headers
        self._claim = claim
        self._request = claim.size if claim is not None else 0
        self._taken = 0

    async def open_stream(self, answer: Answer) -> None:
        await self.sink.settle()
        if not self.sink.started:
            await self.sink.start(200, [*EVENT_STREAM, *self.headers(passed(answer), stream=True)])

    async def write(self, data: bytes) -> None:
        self.tap.sent(data)
        await self.sink.write(data)

    async def answer(self, answer: Answer, body: bytes, *, status: int = 200, headers: Headers | None = None) -> None:
        """A whole JSON response."""
        await self.sink.settle()
        self.tap.sent(body)
        given = self.headers(passed(answer) if headers is None else headers, stream=False)
        await self.sink.answer(status, body, [(b"content-type", b"application/json"), *given])

    async def end_stream(self) -> Outcome:
        """The end of an answer that is watched, not parsed. Raises UpstreamCut when it has no end mark."""
        if not self.tap.has_end_mark:
            raise cut()
        await self.sink.finish()
        error = self.tap.stream_error()
        return Outcome("upstream_error", error) if error else Outcome()

    def take(self, chunk: bytes) -> None:
        """Count and copy a piece of a stream that is taken apart. Raises UpstreamGarbled when it has no end."""
        self.tap.feed(chunk)
        self._taken += len(chunk)
        if self._taken > ANSWER:
            raise UpstreamGarbled(f"The upstream's answer is larger than {ANSWER // MB} MB.")

    async def collect(self, chunk: bytes) -> None:
        """The same for a stream of which everything is kept. Raises TooMuchMemory as well."""
        self.take(chunk)
        await self._hold(self._taken)

    async def _hold(self, size: int) -> None:
        """Count what is kept of the answer to the client, beside its request; in few steps."""
        if self._claim is not None and size > SHARED_FROM and self._request + size > self._claim.size:
            await self._claim.reach(self._request + 2 * size)

    async def read(self, answer: Answer, limit: int = ANSWER) -> bytes:
        """The whole body. Raises UpstreamGarbled when it is longer than any answer could be, TooMuchMemory."""
        parts: list[bytes] = []
        size = 0
        async for chunk in answer.body:
            self.tap.feed(chunk)
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise UpstreamGarbled(f"The upstream's answer is larger than {limit // (1024 * 1024)} MB.")
            await self._hold(size)
        return b"".join(parts)


def passed(answer: Answer) -> Headers:
    return [(name, value) for name, value in answer.headers if name.startswith(_PASSED)]


def is_stream(answer: Answer) -> bool:
    return answer.header("content-type").startswith("text/event-stream")


class Refused:
    """An error status. What the client's SDK can read passes; anything else is said in the client's dialect."""

    def __init__(self, leg: Leg, *, same_dialect: bool) -> None:
        self._leg = leg
        self._same_dialect = same_dialect

    async def run(self, answer: Answer) -> Outcome:
        body = await _read_refusal(self._leg, answer)
        failed = read_error(answer.status, body)
        headers = passed(answer)
        if (seconds := retry_seconds(body)) and not answer.header("retry-after"):
            headers.append(("retry-after", seconds))
        await self._leg.sink.settle()
        if self._leg.sink.started or not self._same_dialect or not is_openai_error(body):
            raise UpstreamRefused(answer.status, failed.kind, failed.message, code=failed.code, headers=tuple(headers))
        await self._leg.answer(answer, body, status=answer.status, headers=headers)
        return Outcome("upstream_error", failed.message)


async def _read_refusal(leg: Leg, answer: Answer) -> bytes:
    """The body of an error; nothing when it is too large or can't be unpacked. Its status counts in any case."""
    try:
        return await leg.read(answer, ERROR_ANSWER)
    except UpstreamGarbled:
        return b""


class Relayed:
    """The upstream's own bytes."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg

    async def run(self, answer: Answer) -> Outcome:
        leg, stream = self._leg, is_stream(answer)
        sink, tap = leg.sink, leg.tap
        await sink.settle()
        if sink.started and not (stream and answer.status == 200):
            raise await self._late_error(answer)
        if not sink.started:
            await sink.start(answer.status, leg.headers(answer.headers, stream=stream))
        packed = tap.packed
        async for chunk in answer.body:
            if packed:
                await tap.feed_packed(chunk)
            else:
                tap.feed(chunk)
            await sink.write(chunk)
        if stream and answer.status < 400:
            return await leg.end_stream()
        await sink.finish()
        if answer.status < 400:
            return Outcome()
        return Outcome("upstream_error", read_error(answer.status, tap.start()).message)

    async def _late_error(self, answer: Answer) -> UpstreamRefused:
        """The stream had to be opened (for a ping) before the upstream said no."""
        failed = read_error(answer.status, await _read_refusal(self._leg, answer))
        return UpstreamRefused(answer.status, failed.kind, failed.message, code=failed.code)


def refused_inside(failed: Failed) -> UpstreamRefused:
    """A failure that came inside an answer with status 200."""
    return UpstreamRefused(status_of(failed.kind), failed.kind, failed.message, code=failed.code)


def cut() -> UpstreamCut:
    return UpstreamCut("The upstream ended its answer in the middle.")


async def take_whole(take: Callable[[bytes], T], leg: Leg, answer: Answer) -> T:
    """Read a body that is no stream. Raises UpstreamGarbled when it is no answer of the upstream's dialect."""
    body = await leg.read(answer)
    try:
        return await work_on(len(body), partial(take, body))
    except Misfit as misfit:
        raise UpstreamGarbled(f"The upstream's answer can't be read: {misfit.message}") from misfit


class ConvertedStream:
    """Event by event. Nothing is sent before the first event: an error in place of an answer is an HTTP error."""

    def __init__(self, conversion: Conversion, leg: Leg) -> None:
        self._stream: AnswerStream = conversion.stream()
        self._leg = leg

    async def run(self, answer: Answer) -> Outcome:
        if not is_stream(answer):
            for event in await take_whole(self._stream.take_answer, self._leg, answer):
                await self._send(answer, self._stream.render(event))
        else:
            async for chunk in answer.body:
                self._leg.take(chunk)
                await self._send(answer, self._stream.feed(chunk))
                if self._reader.failed is not None or self._reader.whole:
                    break
            else:
                await self._send(answer, self._stream.flush())
        return await self._end(answer)

    @property
    def _reader(self) -> AnswerReader:
        return self._stream.reader

    async def _send(self, answer: Answer, data: bytes) -> None:
        failed = self._reader.failed
        if failed is not None and not self._leg.sink.started and not self._reader.spoken:
            raise refused_inside(failed)
        if data:
            await self._leg.open_stream(answer)
            await self._leg.write(data)

    async def _end(self, answer: Answer) -> Outcome:
        reader = self._reader
        if reader.failed is not None:
            await self._leg.sink.finish()
            return outcome_of(reader, "upstream_error", reader.failed.message)
        if not reader.whole:
            raise cut()
        await self._leg.sink.finish()
        await drain(answer)
        return outcome_of(reader)

    def fail(self, problem: ProxyError) -> bytes:
        """The error as this stream must say it: some dialects count their events."""
        return self._stream.fail(Failed(problem.kind, problem.text))


class ConvertedWhole:
    """Everything is collected first: half an answer must not look like a whole one."""

    def __init__(self, conversion: Conversion, leg: Leg) -> None:
        self._answer: AnswerWhole = conversion.whole()
        self._leg = leg

    async def run(self, answer: Answer) -> Outcome:
        if is_stream(answer):
            async for chunk in answer.body:
                await self._leg.collect(chunk)
                self._answer.feed(chunk)
            self._answer.flush()
        else:
            await take_whole(self._answer.take_answer, self._leg, answer)
        reader = self._answer.reader
        if reader.failed is not None:
            raise refused_inside(reader.failed)
        if not reader.whole:
            raise cut()
        await self._leg.answer(answer, self._answer.render())
        return outcome_of(reader)


async def drain(answer: Answer) -> None:
    """Read what follows an answer's end mark (nothing, as a rule), so that its connection can be used again."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in answer.body:
                pass
    except (TimeoutError, ProxyError):
        pass  # then the connection is closed; the answer was whole


def outcome_of(reader: AnswerReader, reason: EndReason = "done", error: str = "") -> Outcome:
    return Outcome(reason, error, reader.usage, reader.model, reader.stop_reason, reader.learned)


class Renamed:
    """The upstream's own answer, but for the model's name: the client sees the one that it asked for."""

    def __init__(self, leg: Leg, model: str) -> None:
        self._leg = leg
        self._value = b"\\1" + msgspec.json.encode(model).replace(b"\\", b"\\\\")
        self._model = model

    async def run(self, answer: Answer) -> Outcome:
        if not is_stream(answer):
            body = await self._leg.read(answer)
            await self._leg.answer(answer, renamed(body, self._model), status=answer.status)
            return Outcome()
        rest = bytearray()
        async for chunk in answer.body:
            self._leg.tap.feed(chunk)
            whole, left = _whole_events(chunk, bytes(rest[-_MARK:]))
            if whole:
                await self._send(answer, bytes(rest) + whole)
                rest = bytearray(left)
                continue
            if len(rest) + len(left) > EVENT:
                raise sse.EventTooLarge(f"An event of the stream is larger than {EVENT // MB} MB.")
            rest += left
        if rest:
            await self._send(answer, bytes(rest))
        return await self._leg.end_stream()

    async def _send(self, answer: Answer, events: bytes) -> None:
        await self._leg.open_stream(answer)
        await self._leg.write(_MODEL.sub(self._value, events))


# The first model of a line. Nothing is tried twice: an event may be as large as a whole answer.
# In a stream's events a model's own words stand in strings, where quotes are escaped.
_MODEL = re.compile(rb'(?m)(^data:(?:[^"\n]++|"(?!model"))*+"model"\s*:\s*)"(?:[^"\\]++|\\.)*+"')


_MARK = 3  # bytes of an event's end that may have come before the rest of it


def _whole_events(chunk: bytes, before: bytes) -> tuple[bytes, bytes]:
    """What `chunk` completes, and the start of the event that is not complete. `before` is the end of what came."""
    data = before + chunk
    end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in (b"\n\n", b"\r\n\r\n", b"\r\r"))
    end = max(end - len(before), 0)
    return chunk[:end], chunk[end:]


def renamed(body: bytes, model: str) -> bytes:
    """A JSON answer under another model's name. What names no model stays as it is."""
    return with_fields(body, {"model": model}) if "model" in read_object(body) else body


class Collected:
    """A Responses stream as one response, for a client that asked the streaming-only backend for JSON."""

    def __init__(self, leg: Leg, model: str) -> None:
        self._leg = leg
        self._model = model

    async def run(self, answer: Answer) -> Outcome:
        if not is_stream(answer):
            await self._leg.answer(answer, await self._leg.read(answer))
            return Outcome()
        collector = Collector()
        async for chunk in answer.body:
            await self._leg.collect(chunk)
            collector.feed(chunk)
        collector.flush()
        if collector.failed is not None:
            raise refused_inside(collector.failed)
        if not collector.whole:
            raise cut()
        body = collector.render()
        await self._leg.answer(answer, renamed(body, self._model) if self._model else body)
        return Outcome(usage=collector.usage)


class Mended:
    """Chat from GitHub Copilot, put right for clients that take the dialect at its word."""

    def __init__(self, leg: Leg, model: str, created: int, shown: str) -> None:
        self._leg = leg
        self._model = model
        self._created = created
        self._shown = shown

    async def run(self, answer: Answer) -> Outcome:
        if not is_stream(answer):
            body = await self._leg.read(answer)
            await self._leg.answer(answer, normalise_answer(body, self._model, self._created, shown=self._shown))
            return Outcome()
        normaliser = Normaliser(self._model, self._created, shown=self._shown)
        async for chunk in answer.body:
            self._leg.tap.feed(chunk)
            if data := normaliser.feed(chunk):
                await self._leg.open_stream(answer)
                await self._leg.write(data)
        if data := normaliser.flush():
            await self._leg.open_stream(answer)
            await self._leg.write(data)
        return await self._leg.end_stream()
