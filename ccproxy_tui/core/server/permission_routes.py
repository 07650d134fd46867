"""Permission requests over HTTP: those who ask, those who answer, and those who only watch.

Asking is open to whoever may use the proxy. Watching and answering need the unix socket or the control key, so that
neither a web page nor a client's own token can approve anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.control.hook_proof import LONGEST_NONCE, NONCE, PROOF, prove
from ccproxy_tui.core.errors import InvalidRequest, WrongMediaType
from ccproxy_tui.core.formats.body import decode_strict
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.limits import ASK_BODY
from ccproxy_tui.core.permissions import Broker, Decision, Entry, PermissionRequest
from ccproxy_tui.core.permissions.risk import level_of
from ccproxy_tui.core.permissions.sources import (
    BLOCKING,
    TAKES_NO_EDIT,
    HookSource,
    check_answer,
    denial_of,
    hook_answer,
    opencode_answer,
    read_check,
    read_hook,
    read_opencode,
    takes_updates,
)
from ccproxy_tui.core.server.askers import Askers
from ccproxy_tui.core.server.body import ClientGone, read_whole
from ccproxy_tui.core.server.deciders import Guard, Handler, decider_of
from ccproxy_tui.core.server.desk import audit_row
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.viewer import ask_view
from ccproxy_tui.core.system.processes import Process
from ccproxy_tui.core.system.threads import work_on
from ccproxy_tui.core.text import sse

_KEEPALIVE = 30.0
_EVENTS = {"pending": "permission_request", "expired": "permission_expired"}


class _Answer(msgspec.Struct):
    """The seeds' `{"allowed": true}`, with what the user may add.

    Who answers is the server's to say: a `by` is ignored.
    """

    allowed: bool
    input: Any = None
    message: str = ""
    interrupt: bool = False
    updates: list[Any] = []


class _Extension(msgspec.Struct):
    seconds: float = 60.0


def permission_routes(api: PermissionApi, guard: Guard) -> list[BaseRoute]:
    return [
        Route("/permissions", api.proved(api.ask), methods=["POST"]),
        Route("/permissions/stream", guard(api.stream)),
        Route("/permissions/history", guard(api.history)),
        Route("/permissions/{id}", guard(api.get)),
        Route("/permissions/{id}/card", guard(api.card)),
        Route("/permissions/{id}/respond", guard(api.respond, "decide"), methods=["POST"]),
        Route("/permissions/{id}/extend", guard(api.extend, "decide"), methods=["POST"]),
        Route("/mcp/permission/check", api.proved(api.check), methods=["POST"]),
        Route("/hooks/claude-code", api.proved(api.hook("claude-code")), methods=["POST"]),
        Route("/hooks/codex", api.proved(api.hook("codex")), methods=["POST"]),
        Route("/hooks/opencode", api.proved(api.opencode), methods=["POST"]),
    ]


class PermissionApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._askers = Askers()

    # --- asking ---

    def proved(self, handler: Handler) -> Handler:
        """A handler whose answer carries a proof for those that ask for one by a nonce."""

        async def proving(request: Request) -> Response:
            try:
                response = await handler(request)
            except InvalidRequest as error:  # its tool asks elsewhere, or runs nothing: say why
                await self._hub.refusals.note(request.scope, error)
                raise
            nonce, key = request.headers.get(NONCE, ""), self._hub.hook_key
            if key and 0 < len(nonce) <= LONGEST_NONCE:
                answer = bytes(response.body)
                response.headers[PROOF] = prove(key, nonce, request.url.path, request.state.raw, answer)
            return response

        return proving

    async def ask(self, request: Request) -> Response:
        """A script's question, with its answer and the words of it."""
        asked = _read(read_check, await _body(request), "script", client=_client(request))
        entry = await self._settled(request, await self._with_asker(request, asked))
        return _json({"id": entry.id, "allowed": entry.status == "allowed", "status": entry.status, **_told(entry)})

    async def check(self, request: Request) -> Response:
        asked = _read(read_check, await _body(request), "rest", client=_client(request))
        return _json(check_answer(await self._settled(request, await self._with_asker(request, asked))))

    def hook(self, source: HookSource) -> Handler:
        async def answer(request: Request) -> Response:
            body = await _body(request)
            event = str(body.get("hook_event_name") or "PermissionRequest")
            if event not in BLOCKING:
                self._answered_there(body, event, await self._hub.deciders.asker_of(request.scope))
                return _json({})
            asked = await self._with_asker(request, _read(read_hook, body, source))
            if self._hub.sdk is not None and self._hub.sdk.runs_agent(str(body.get("session_id"))):
                return _json({})  # an agent of our own: it asks by its own way, too
            if not await self._hub.desk.answers(asked):
                return _json({})  # nobody is here: the tool asks in its own terminal
            entry = await self._settled(request, asked)
            return _json(hook_answer(entry, source, event))

        return answer

    async def opencode(self, request: Request) -> Response:
        """A question of opencode's plugin, which asks in its own dialog, too."""
        try:
            asked = await self._with_asker(request, read_opencode(await _body(request)))
        except Misfit as misfit:
            raise InvalidRequest(misfit.message, field=misfit.bracketed()) from misfit
        if not await self._hub.desk.answers(asked):
            return _json({})
        return _json(opencode_answer(await self._settled(request, asked)))

    async def _with_asker(self, request: Request, asked: PermissionRequest) -> PermissionRequest:
        return msgspec.structs.replace(asked, asker=await self._hub.deciders.asker_of(request.scope))

    def _answered_there(self, body: Object, event: str, asker: Process | None) -> None:
        """The tool has gone on: what it asked has been answered in its own terminal. Another process can't say so."""
        session = body.get("session_id")
        for entry in self._hub.broker.pending:
            asked = entry.request
            same = event != "PostToolUse" or (asked.tool, asked.input) == (
                body.get("tool_name"),
                body.get("tool_input"),
            )
            if asked.source == "claude-code" and asked.session == session and asked.asker == asker and same:
                self._hub.broker.cancel(entry.id)

    async def _settled(self, request: Request, asked: PermissionRequest) -> Entry:
        """The question when it has ended; an asker that hangs up takes it back. Raises ClientGone, InvalidRequest."""
        owner = await self._askers.owner_of(request.scope, asked, crowded=self._hub.broker.is_crowded)
        gone = asyncio.ensure_future(_disconnected(request))
        settling = asyncio.ensure_future(self._hub.desk.settle(asked, owner))
        try:
            await asyncio.wait({gone, settling}, return_when=asyncio.FIRST_COMPLETED)
            if not settling.done():
                raise ClientGone
            return settling.result()
        finally:
            gone.cancel()
            settling.cancel()

    # --- watching and answering ---

    async def stream(self, request: Request) -> Response:
        answers = await self._hub.deciders.may_decide(request.scope)
        return StreamingResponse(self._events(answers=answers), media_type="text/event-stream")

    async def _events(self, *, answers: bool) -> AsyncIterator[bytes]:
        """What waits, then what changes; a ping at first and whenever nothing else was said for a while."""
        changed = asyncio.Event()
        self._hub.on_permission.append(changed.set)
        if answers:
            self._hub.front_end_came()
        told: dict[str, str] = {}
        try:
            yield _event("ping", {"message": "Connected to permission stream"})
            while not self._hub.stopping.is_set():
                for entry in self._news(told):
                    told[entry.id] = entry.status
                    yield _event(*_change(entry, self._hub.broker))
                changed.clear()
                try:
                    async with asyncio.timeout(_KEEPALIVE):
                        await changed.wait()
                except TimeoutError:
                    yield _event("ping", {"message": "keepalive"})
        finally:
            self._hub.on_permission.remove(changed.set)
            if answers:
                self._hub.front_end_left()

    def _news(self, told: dict[str, str]) -> list[Entry]:
        """New questions, and the ends of those that this watcher was told of."""
        broker = self._hub.broker
        ended = [one for one in reversed(broker.ended) if told.get(one.id, one.status) != one.status]
        return [*ended, *(one for one in broker.pending if one.id not in told)]

    async def get(self, request: Request) -> Response:
        entry = self._hub.broker.get(request.path_params["id"])
        return _json(
            {
                "request_id": entry.id,
                "tool_name": entry.request.tool,
                **_inputs(entry),
                "status": entry.status,
                "created_at": _iso(entry.created),
                "expires_at": _iso(self._hub.broker.expires(entry)),
                "time_remaining": self._hub.broker.left(entry),
            }
        )

    async def card(self, request: Request) -> Response:
        """What front ends show of it; with `?reveal=true` credentials of ours as well."""
        entry = self._hub.broker.get(request.path_params["id"])
        return _json(ask_view(entry, self._hub.broker, revealed=request.query_params.get("reveal") == "true"))

    async def respond(self, request: Request) -> Response:
        given = await _typed(request, _Answer)
        entry = self._hub.broker.get(request.path_params["id"])
        asked, high = entry.request, level_of(entry.look.notes) == "HIGH"
        if given.allowed and given.input is not None and asked.source in TAKES_NO_EDIT:
            raise InvalidRequest(f"{asked.source} does not accept edited input; deny it with a message instead.")
        if given.updates and not takes_updates(asked, given.updates, high=high):
            raise InvalidRequest("The tool does not accept these permission updates.", field="updates")
        if given.allowed:
            await self._hub.desk.check_files(entry)
        decider = decider_of(request.scope)
        decision = Decision(
            allowed=given.allowed,
            by=decider.by,
            decider=decider.facts,
            input=given.input,
            message=given.message,
            interrupt=given.interrupt,
            updates=given.updates,
        )
        entry = self._hub.broker.answer(request.path_params["id"], decision)
        return _json({"status": "success", "permission_id": entry.id, "allowed": given.allowed})

    async def history(self, request: Request) -> Response:
        """What has ended, the latest first: from the disk where it is kept, else since the proxy runs."""
        try:
            count = min(max(int(request.query_params.get("limit", "200")), 1), 10_000)
        except ValueError as error:
            raise InvalidRequest("limit must be a number.") from error
        hub = self._hub
        rows = await hub.audit.recent(count) if hub.audit is not None else []
        return _json(rows or [audit_row(entry) for entry in hub.broker.ended[:count]])

    async def extend(self, request: Request) -> Response:
        given = await _typed(request, _Extension)
        entry = self._hub.broker.extend(request.path_params["id"], given.seconds)
        return _json({"permission_id": entry.id, "expires_at": _iso(self._hub.broker.expires(entry))})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> Object:
    """Raises InvalidRequest, WrongMediaType."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise WrongMediaType("JSON is expected.", hint="Send the header content-type: application/json.")
    raw = request.state.raw = await read_whole(request, ASK_BODY)
    try:
        return await work_on(len(raw), partial(decode_strict, raw))
    except Misfit as misfit:
        raise InvalidRequest(misfit.message) from misfit


def _read(read: Callable[..., PermissionRequest], body: Object, source: str, **more: str) -> PermissionRequest:
    try:
        return read(body, source, **more)
    except Misfit as misfit:
        raise InvalidRequest(misfit.message, field=misfit.bracketed()) from misfit


async def _typed(request: Request, shape: type[Any]) -> Any:
    try:
        return msgspec.convert(await _body(request), type=shape)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"Not what this route takes: {error}.") from error


def _client(request: Request) -> str:
    return client_name(dict(request.headers))


def _told(entry: Entry) -> Object:
    decision = entry.decision
    if decision is not None and decision.allowed:
        return {"input": decision.input if decision.input is not None else entry.request.input}
    return {"message": denial_of(entry)}


def _inputs(entry: Entry) -> Object:
    """The input as it was decided; where the user edited it, with the one that was asked for."""
    decision = entry.decision
    if decision is None or not decision.allowed or decision.input is None:
        return {"input": entry.request.input}
    return {"input": decision.input, "original_input": entry.request.input}


def _change(entry: Entry, broker: Broker) -> tuple[str, Object]:
    """An event with every key of the contract, null where it says nothing."""
    name = _EVENTS.get(entry.status, "permission_resolved")
    ended = _iso(entry.ended) if entry.ended is not None else None
    return name, {
        "type": name,
        "request_id": entry.id,
        "tool_name": entry.request.tool,
        **_inputs(entry),
        "created_at": _iso(entry.created),
        "expires_at": _iso(broker.expires(entry)),
        "timeout_seconds": round(entry.deadline - entry.listed, 3),
        "allowed": entry.status == "allowed" if entry.status != "pending" else None,
        "resolved_at": ended if name == "permission_resolved" else None,
        "expired_at": ended if name == "permission_expired" else None,
        "message": denial_of(entry) if entry.status in ("denied", "expired", "cancelled") else None,
    }


def _event(name: str, data: Object) -> bytes:
    return sse.encode(msgspec.json.encode(data), name)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
