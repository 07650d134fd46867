"""What to ask of an upstream for a client's request: as it came, or converted into what the provider speaks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.formats import Conversion, Misfit, Profile, convert_request
from ccproxy_tui.core.formats.anthropic_messages.native import without_foreign_thinking
from ccproxy_tui.core.formats.body import with_fields
from ccproxy_tui.core.formats.memory import Recall
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import MARK
from ccproxy_tui.core.model_map import answer_limit
from ccproxy_tui.core.provider import Answer, Call, Provider
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
    Renamed,
)
from ccproxy_tui.core.settings.models import Models
from ccproxy_tui.core.threads import work_on

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
    report: Report = field(default_factory=Report)
    shown_model: str = ""  # the name that the client knows, where the upstream knows another

    @property
    def _collects(self) -> bool:
        return self.profile is not None and self.profile.stream_only and not self.call.stream

    @property
    def _mends(self) -> bool:
        return self.profile is not None and self.profile.mends

    def changes(self, status: int) -> bool:
        """Whether the client gets other bytes than the upstream's."""
        profile = self.profile
        if profile is None:
            return False
        if status >= 400:
            return self.conversion is not None or profile.format != "anthropic_messages"
        return self.conversion is not None or self._collects or profile.mends or bool(self.shown_model)

    def delivery(self, answer: Answer, leg: Leg, created: int) -> Delivery:
        """How this answer gets to the client."""
        if not self.changes(answer.status):
            return Relayed(leg)
        if answer.status >= 400:
            return Refused(leg, same_dialect=self.conversion is None)
        if self.conversion is not None:
            return ConvertedStream(self.conversion, leg) if self.call.stream else ConvertedWhole(self.conversion, leg)
        if self.shown_model and not (self._collects or self._mends):
            return Renamed(leg, self.shown_model)
        if self._collects:
            return Collected(leg, self.shown_model)
        return Mended(leg, self.call.model, created, self.shown_model)


async def plan_call(
    call: Call, provider: Provider, model: str, models: Models, *, created: int, recall: Recall
) -> Plan:
    """How to ask `provider` for `model` what the client asked. Raises InvalidRequest, naming the field."""
    if call.operation == "compact" and provider.profile(model, "openai_responses").format != "openai_responses":
        raise RouteNotFound(f"{provider.name} can't compact a conversation.")
    if call.operation not in ("messages", "chat", "responses") or call.format is None:
        return Plan(call)
    profile = provider.profile(model, call.format)
    if models.limit_max_tokens:
        profile = msgspec.structs.replace(profile, max_tokens=answer_limit(model, models.max_tokens))
    if not models.auto_cache:
        profile = msgspec.structs.replace(profile, auto_cache=False)
    if profile.format != call.format:
        return await convert_call(replace(call, model=model), profile, created=created, recall=recall)
    report = Report()
    try:
        body = _native_body(call, model, profile, report)
    except Misfit as misfit:
        raise invalid(misfit, call.format) from misfit
    if body is call.body:
        return Plan(call, profile)
    shown = call.model if model != call.model else ""
    return Plan(replace(call, model=model, body=body), profile, report=report, shown_model=shown)


def _native_body(call: Call, model: str, profile: Profile, report: Report) -> bytes:
    """The client's own bytes, but for the model's name, a limit, and thinking that other vendors sealed.

    Raises Misfit when something has to change in what can't be written as JSON again.
    """
    body = call.body
    changes: dict[str, object] = {}
    if model != call.model:
        changes["model"] = model
        report.changed("model", "by the model table", f"{call.model} -> {model}")
    if profile.max_tokens is not None and call.format == "anthropic_messages":
        given = msgspec.json.decode(body, type=_Limit).max_tokens
        if isinstance(given, int) and given > profile.max_tokens:
            changes["max_tokens"] = profile.max_tokens
            report.changed("max_tokens", f"the model's limit is {profile.max_tokens}", str(given))
    if call.format == "anthropic_messages" and MARK in body:
        body = without_foreign_thinking(body)
        report.dropped("messages[].content[] (thinking)", "it is sealed by another vendor; its visible turn is kept")
    return with_fields(body, changes) if changes else body


class _Limit(msgspec.Struct):
    max_tokens: Any = None


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
        conversion = await work_on(len(call.body), convert)
    except Misfit as misfit:
        raise invalid(misfit, source) from misfit
    operation, path = _ENDPOINTS[profile.format]
    converted = replace(
        call,
        operation=operation,
        method="POST",
        path=path,
        query="",
        headers=_headers(call, conversion),
        body=conversion.body,
        format=profile.format,
        converted=True,
    )
    return Plan(converted, profile, conversion, conversion.report)


def _headers(call: Call, conversion: Conversion) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in call.headers if not name.startswith(_DIALECT_HEADERS)]
    return [*kept, *conversion.headers.items()]


def invalid(misfit: Misfit, dialect: Format) -> InvalidRequest:
    """A misfit as an error for the client: the path in the words of its dialect."""
    if dialect == "anthropic_messages":
        where = misfit.dotted()
        return InvalidRequest(f"{where}: {misfit.message}" if where else misfit.message, field=where)
    return InvalidRequest(misfit.message, field=misfit.bracketed())


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
