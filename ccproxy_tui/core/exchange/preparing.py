"""What an upstream is asked for a client's request. Every change to a request's body is made here, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.exchange.history import ANNOUNCED, NAMES_ONE, ResponseHistory, expand
from ccproxy_tui.core.formats import Conversion, Misfit, Profile, convert_request
from ccproxy_tui.core.formats.anthropic_messages.native import without_foreign_thinking
from ccproxy_tui.core.formats.body import with_fields
from ccproxy_tui.core.formats.memory import Recall
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import MARK
from ccproxy_tui.core.model_map import answer_limit
from ccproxy_tui.core.provider import Call, Headers, Provider, runs
from ccproxy_tui.core.routing import Operation
from ccproxy_tui.core.settings import Settings
from ccproxy_tui.core.settings.models import Models
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.threads import work_on

_INFERENCE: frozenset[Operation] = frozenset({"messages", "chat", "responses"})
_ENDPOINTS: dict[Format, tuple[Operation, str]] = {
    "anthropic_messages": ("messages", "v1/messages"),
    "openai_chat": ("chat", "v1/chat/completions"),
    "openai_responses": ("responses", "v1/responses"),
}
# Headers that speak of the client's own dialect or SDK; to another vendor they would be noise, or a lie.
_DIALECT_HEADERS = ("anthropic-", "openai-", "x-stainless-", "x-codex-", "x-claude-", "chatgpt-", "originator", "x-app")


@dataclass(slots=True)
class Plan:
    """What `provider` is asked, as `model`, for what the client asked, and what was changed to that end.

    `profile` is None when the operation is none of inference, `conversion` when the request stays in its dialect.
    """

    call: Call
    provider: Provider
    model: str
    profile: Profile | None = None
    is_native: bool = False  # the upstream speaks the client's dialect
    conversion: Conversion | None = None
    report: Report = field(default_factory=Report)
    shown_model: str = ""  # the name that the client knows, where the upstream knows another
    keeps_history: bool = False  # the upstream keeps no responses: this proxy remembers the answer
    turns: int = 0  # earlier ones that were put in from this proxy's memory


class Preparer:
    """Makes a plan of a client's call. One per proxy."""

    def __init__(
        self, settings: Callable[[], Settings], clock: Clock, history: ResponseHistory, recall: Recall
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._history = history
        self._recall = recall
        # Every change to a request's body, in order. There is no other place for one.
        self._steps = (
            self._expand_history,
            self._name_model,
            self._limit_answer,
            self._drop_foreign_thinking,
            self._convert,
            self._patch,
        )

    async def prepare(self, call: Call, provider: Provider, model: str) -> Plan:
        """Return how to ask `provider` for `model` what the client asked.

        Raises InvalidRequest, which names the field in the client's dialect, and RouteNotFound.
        """
        if call.operation == "compact" and provider.profile(model, "openai_responses").format != "openai_responses":
            raise RouteNotFound(f"{provider.name} can't compact a conversation.")
        plan = Plan(call, provider, model)
        if call.format is not None and call.operation in _INFERENCE:
            plan.profile = _profile(provider, model, call.format, self._settings().models)
            plan.is_native = plan.profile.format == call.format
        try:
            for step in self._steps:
                await step(plan)
        except Misfit as misfit:
            raise invalid(misfit, plan.call.format) from misfit
        return plan

    async def _expand_history(self, plan: Plan) -> None:
        """Put the whole conversation in place of `previous_response_id`, where the upstream keeps nothing itself."""
        call, profile = plan.call, plan.profile
        if profile is None or call.operation != "responses" or not self._settings().codex.local_history:
            return
        keeps = profile.format == "openai_responses" and not profile.stream_only
        plan.keeps_history = not keeps
        if NAMES_ONE not in call.body or (keeps and ANNOUNCED.encode() not in call.body):
            return
        turns = self._history.before(call.body)
        if turns:
            body = await work_on(sum(turn.size for turn in turns), partial(expand, call.body, turns))
            plan.call = replace(call, body=body)
            plan.turns = len(turns)

    async def _name_model(self, plan: Plan) -> None:
        """Write the name that the upstream knows the model by."""
        call, model = plan.call, plan.model
        if model == call.model or plan.profile is None:
            return
        body = call.body
        if plan.is_native:
            plan.report.changed("model", "by the model table", f"{call.model} -> {model}")
            plan.shown_model = call.model
            body = with_fields(body, {"model": model})
        plan.call = replace(call, model=model, body=body)

    async def _limit_answer(self, plan: Plan) -> None:
        """Lower the length of an answer to what the model allows, where the settings want that."""
        profile, call = plan.profile, plan.call
        if profile is None or profile.max_tokens is None or not plan.is_native or call.format != "anthropic_messages":
            return
        given = msgspec.json.decode(call.body, type=_Limit).max_tokens
        if isinstance(given, int) and given > profile.max_tokens:
            plan.report.changed("max_tokens", f"the model's limit is {profile.max_tokens}", str(given))
            plan.call = replace(call, body=with_fields(call.body, {"max_tokens": profile.max_tokens}))

    async def _drop_foreign_thinking(self, plan: Plan) -> None:
        """Take out thinking that another vendor signed: only that vendor reads it."""
        call = plan.call
        if plan.is_native and call.format == "anthropic_messages" and MARK in call.body:
            plan.report.dropped(
                "messages[].content[] (thinking)", "it is sealed by another vendor; its visible turn is kept"
            )
            plan.call = replace(call, body=without_foreign_thinking(call.body))

    async def _convert(self, plan: Plan) -> None:
        """Write the request in the upstream's dialect. The model's name and limits are part of that."""
        profile, call = plan.profile, plan.call
        if profile is None or call.format is None or plan.is_native:
            return
        conversion = plan.conversion = await work_on(
            len(call.body),
            partial(
                convert_request,
                call.body,
                call.format,
                profile,
                model=call.model,
                created=int(self._clock.now()),
                stream=True if profile.stream_only else None,
                cache_key=call.session,
                recall=self._recall,
            ),
        )
        plan.report = conversion.report
        operation, path = _ENDPOINTS[profile.format]
        plan.call = replace(
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

    async def _patch(self, plan: Plan) -> None:
        """Let the provider change what its upstream does not take, or needs besides."""
        if runs(plan.provider) or (patch := plan.provider.patch(plan.call)) is None:
            return
        notes = Report()
        call = await work_on(len(plan.call.body), partial(patch, plan.call, notes))
        plan.call = replace(call, notes=tuple(notes)) if len(notes) else call


class _Limit(msgspec.Struct):
    max_tokens: Any = None


def _profile(provider: Provider, model: str, dialect: Format, models: Models) -> Profile:
    """The target of a request, as the settings want it."""
    profile = provider.profile(model, dialect)
    if models.limit_max_tokens:
        profile = msgspec.structs.replace(profile, max_tokens=answer_limit(model, models.max_tokens))
    if not models.auto_cache:
        profile = msgspec.structs.replace(profile, auto_cache=False)
    return profile


def _headers(call: Call, conversion: Conversion) -> Headers:
    kept = [(name, value) for name, value in call.headers if not name.startswith(_DIALECT_HEADERS)]
    return [*kept, *conversion.headers.items()]


def invalid(misfit: Misfit, dialect: Format | None) -> InvalidRequest:
    """A misfit as an error for the client: the path in the words of its dialect."""
    if dialect == "anthropic_messages":
        where = misfit.dotted()
        return InvalidRequest(f"{where}: {misfit.message}" if where else misfit.message, field=where)
    return InvalidRequest(misfit.message, field=misfit.bracketed())
