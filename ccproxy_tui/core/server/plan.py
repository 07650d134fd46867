"""What to ask of an upstream for a client's request: as it came, or converted into what the provider speaks."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import msgspec

from ccproxy_tui.core.errors import InvalidRequest
from ccproxy_tui.core.formats import Conversion, Misfit, Profile, convert_request
from ccproxy_tui.core.formats.memory import Recall
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.provider import Answer, Call
from ccproxy_tui.core.routing import Operation
from ccproxy_tui.core.server.delivery import (
    Collected,
    ConvertedStream,
    ConvertedWhole,
    Delivery,
    Leg,
    Mended,
    Refused,
    Relayed,
)

# Requests above this size are converted in a thread, so that the loop goes on meanwhile.
THREAD_FROM = 128 * 1024
_HEADER_LIMIT = 6 * 1024
_ENDPOINTS: dict[Format, tuple[Operation, str]] = {
    "anthropic_messages": ("messages", "v1/messages"),
    "openai_chat": ("chat", "v1/chat/completions"),
    "openai_responses": ("responses", "v1/responses"),
}
# Headers that speak of the client's own dialect or SDK; to another vendor they would be noise, or a lie.
_DIALECT_HEADERS = ("anthropic-", "openai-", "x-stainless-", "x-codex-", "x-claude-", "chatgpt-", "originator", "x-app")


@dataclass(slots=True)
class Plan:
    """`conversion` is None when the request stays in its dialect."""

    call: Call
    profile: Profile | None = None
    conversion: Conversion | None = None

    @property
    def _collects(self) -> bool:
        return self.profile is not None and self.profile.stream_only and not self.call.stream

    def changes(self, status: int) -> bool:
        """Whether the client gets other bytes than the upstream's."""
        profile = self.profile
        if profile is None:
            return False
        if status >= 400:
            return self.conversion is not None or profile.format != "anthropic_messages"
        return self.conversion is not None or self._collects or profile.mends

    def delivery(self, answer: Answer, leg: Leg, created: int) -> Delivery:
        """How this answer gets to the client."""
        if not self.changes(answer.status):
            return Relayed(leg)
        if answer.status >= 400:
            return Refused(leg, same_dialect=self.conversion is None)
        if self.conversion is not None:
            return ConvertedStream(self.conversion, leg) if self.call.stream else ConvertedWhole(self.conversion, leg)
        return Collected(leg) if self._collects else Mended(leg, self.call.model, created)


async def convert_call(call: Call, profile: Profile, *, created: int, recall: Recall) -> Plan:
    """The call in the target's dialect. Raises InvalidRequest, naming the field in the client's words."""
    source = call.format
    assert source is not None

    def convert() -> Conversion:
        return convert_request(
            call.body,
            source,
            profile,
            model=call.model,
            created=created,
            stream=True if profile.stream_only else None,
            cache_key=call.session,
            recall=recall,
        )

    try:
        conversion = convert() if len(call.body) < THREAD_FROM else await asyncio.to_thread(convert)
    except Misfit as misfit:
        raise invalid(misfit, source) from misfit
    operation, path = _ENDPOINTS[profile.format]
    converted = Call(
        exchange=call.exchange,
        operation=operation,
        method="POST",
        path=path,
        query="",
        headers=_headers(call, conversion),
        body=conversion.body,
        format=profile.format,
        model=call.model,
        stream=call.stream,
        session=call.session,
        converted=True,
    )
    return Plan(converted, profile, conversion)


def _headers(call: Call, conversion: Conversion) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in call.headers if not name.startswith(_DIALECT_HEADERS)]
    return [*kept, *conversion.headers.items()]


def invalid(misfit: Misfit, dialect: Format) -> InvalidRequest:
    """A misfit as an error for the client: the path in the words of its dialect."""
    if dialect == "anthropic_messages":
        where = misfit.dotted()
        return InvalidRequest(f"{where}: {misfit.message}" if where else misfit.message, field=where)
    return InvalidRequest(misfit.message, field=misfit.bracketed())


def with_model(body: bytes, model: str) -> bytes:
    """`body` with another model; every other value keeps its bytes."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def report_header(report: Report) -> bytes:
    """The conversion report as a header's value: JSON in ASCII, as many notes as fit."""
    notes = [[note.action, note.field, note.reason] for note in report]
    while notes and len(value := json.dumps(notes, separators=(",", ":"))) > _HEADER_LIMIT:
        notes = notes[: len(notes) // 2]
    return (value if notes else "[]").encode()


def client_status(dialect: Format, status: int) -> int:
    """An overloaded upstream has a status of its own in Anthropic's dialect."""
    if dialect == "anthropic_messages" and status == 503:
        return 529
    return 503 if dialect != "anthropic_messages" and status == 529 else status
