"""The control API: `/control/*`, for front ends. Over the unix socket, or over TCP signed (`core.control.key`)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.control.frames import PROTOCOL, BodyPart, Watch
from ccproxy_tui.core.control.key import PROOF_PATH, address_text
from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound, Unauthorized, WrongMediaType
from ccproxy_tui.core.limits import VERB_BODY
from ccproxy_tui.core.records.record import ExchangeRecord
from ccproxy_tui.core.server.account_routes import account_routes
from ccproxy_tui.core.server.body import read_whole
from ccproxy_tui.core.server.codex_routes import codex_routes
from ccproxy_tui.core.server.deciders import Handler, Scale
from ccproxy_tui.core.server.gate import CONTROL, LOCAL
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.mcp import mcp_routes
from ccproxy_tui.core.server.model_routes import routes_of
from ccproxy_tui.core.server.permission_routes import PermissionApi, permission_routes
from ccproxy_tui.core.server.rule_routes import rule_routes
from ccproxy_tui.core.server.sdk_routes import sdk_routes
from ccproxy_tui.core.server.viewer import Viewer, detail_of, status_of
from ccproxy_tui.core.settings import SettingsError
from ccproxy_tui.core.settings.live import IN_EFFECT
from ccproxy_tui.core.system.peers import peer_of
from ccproxy_tui.core.system.threads import work_on
from ccproxy_tui.core.text import sse
from ccproxy_tui.core.text.redact import redact_body

log = logging.getLogger(__name__)


def control_routes(hub: Hub) -> list[BaseRoute]:
    api = _ControlApi(hub)
    guard = api.guard
    return [
        Route(PROOF_PATH, api.prove),
        Route("/control/status", guard(api.status)),
        Route("/control/frames/{viewer}", guard(api.frames)),
        Route("/control/watch/{viewer}", guard(api.watch, "see"), methods=["POST"]),
        Route("/control/exchanges/{exchange}", guard(api.detail)),
        Route("/control/exchanges/{exchange}/body/{part}", guard(api.body)),
        Route("/control/exchanges/{exchange}/stop", guard(api.stop), methods=["POST"]),
        Route("/control/settings", guard(api.settings)),
        Route("/control/settings/{key}", guard(api.change_setting, "decide"), methods=["POST"]),
        Route("/control/models", guard(api.models)),
        Route("/control/shutdown", guard(api.shutdown), methods=["POST"]),
        *rule_routes(hub, guard),
        *permission_routes(PermissionApi(hub), guard),
        *mcp_routes(hub),
        *account_routes(hub, guard),
        *codex_routes(hub, guard),
        *sdk_routes(hub, guard),
    ]


class _ControlApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._viewers: dict[str, Viewer] = {}

    def guard(self, handler: Handler, scale: Scale = "act") -> Handler:
        async def guarded(request: Request) -> Response:
            self._check(request)
            if request.method == "POST" and scale != "see":
                await self._hub.deciders.check(request.scope, scale)
            return await handler(request)

        return guarded

    def _check(self, request: Request) -> None:
        if not request.scope.get(LOCAL) and CONTROL not in request.scope:
            raise Unauthorized(
                "The control API takes requests that are signed with this proxy's key.",
                hint="`ccproxy-tui attach` uses its socket, where none is needed.",
            )
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            raise WrongMediaType("The control API takes JSON.", hint="Send content-type: application/json.")

    async def _json(self, request: Request, shape: type[Any]) -> Any:
        body = await read_whole(request, VERB_BODY)
        try:
            return msgspec.json.decode(body or b"{}", type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"Not what this verb takes: {error}.") from error

    def _record(self, request: Request) -> ExchangeRecord:
        record = self._hub.store.get(request.path_params["exchange"])
        if record is None:
            raise RouteNotFound("There is no such exchange (any more).")
        return record

    async def prove(self, request: Request) -> Response:
        """Show a front end that this is the proxy whose key it has, before it sends anything."""
        nonce, server = request.query_params.get("nonce", ""), request.scope["server"]
        if request.scope.get(LOCAL) or not server or not 16 <= len(nonce) <= 64:
            raise InvalidRequest("A nonce of 16 to 64 characters is needed.")
        return Response(self._hub.proofs.key.prove(nonce, address_text(*server)), media_type="text/plain")

    # --- seeing ---

    async def status(self, _: Request) -> Response:
        return _answer(status_of(self._hub))

    async def frames(self, request: Request) -> Response:
        name = request.path_params["viewer"]
        try:
            watch = msgspec.json.decode(request.query_params.get("watch", "{}"), type=Watch)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"Not a watch: {error}.") from error
        if request.query_params.get("protocol", "1") != str(PROTOCOL):
            log.warning("a front end of another version is attached: quit it and start it again")
        viewer = self._viewers[name] = Viewer(self._hub, watch)
        answers = watch.answers and await self._hub.deciders.may_decide(request.scope)
        return StreamingResponse(self._stream(name, viewer, answers=answers), media_type="text/event-stream")

    async def _stream(self, name: str, viewer: Viewer, *, answers: bool) -> AsyncIterator[bytes]:
        if answers:
            self._hub.front_end_came()
        encode = msgspec.json.Encoder().encode
        try:
            async for frame in viewer.frames():
                yield sse.encode(encode(frame))
        finally:
            if answers:
                self._hub.front_end_left()
            if self._viewers.get(name) is viewer:
                del self._viewers[name]

    async def watch(self, request: Request) -> Response:
        viewer = self._viewers.get(request.path_params["viewer"])
        if viewer is None:
            raise RouteNotFound("This front end is not connected.")
        viewer.look_at(await self._json(request, Watch))
        return Response(status_code=204)

    async def detail(self, request: Request) -> Response:
        hub = self._hub
        stall = hub.settings.server.stall_seconds
        return _answer(detail_of(self._record(request), hub.clock.monotonic(), stall))

    async def models(self, request: Request) -> Response:
        return _answer(routes_of(self._hub, request.query_params.get("name", "")))

    async def body(self, request: Request) -> Response:
        record = self._record(request)
        try:
            part = msgspec.convert(request.path_params["part"], type=BodyPart)
            offset = max(int(request.query_params.get("offset", "0")), 0)
            limit = max(int(request.query_params.get("limit", "1048576")), 0)
        except (msgspec.ValidationError, ValueError) as error:
            raise InvalidRequest(f"Not a part of a body: {error}.") from error
        capture = {
            "request": record.request_body,
            "upstream_request": record.upstream_request_body or record.request_body,
            "upstream_response": record.upstream_body,
            "response": record.client_body or record.upstream_body,
        }[part]
        whole = capture.read()
        growing = record.live or not capture.complete
        shown = await work_on(len(whole), partial(redact_body, whole, growing=growing))
        return Response(shown[offset : offset + limit], media_type="application/octet-stream")

    async def settings(self, _: Request) -> Response:
        return _answer([dataclasses.asdict(entry) for entry in await self._hub.live_settings.entries()])

    # --- doing ---

    async def stop(self, request: Request) -> Response:
        exchange = self._hub.running.get(self._record(request).id)
        if exchange is None or not exchange.interrupt("stopped"):
            raise InvalidRequest("Nothing to stop: this request has ended.")
        return Response(status_code=204)

    async def change_setting(self, request: Request) -> Response:
        key = tuple(request.path_params["key"].split("."))
        text = (await self._json(request, dict)).get("value")
        if text is not None and not isinstance(text, str):
            raise InvalidRequest("A setting's value is text, as it would be typed.")
        live = self._hub.live_settings
        try:
            effect = await live.change(key, text)
        except SettingsError as error:
            raise InvalidRequest(str(error)) from error
        except OSError as error:
            raise ProxyError(f"The settings file can't be written: {error.strerror or error}.") from error
        if key[0] == "ui" and effect == IN_EFFECT:
            effect = "written; screens read it when they start"  # their settings are their own
        return _answer({"file": str(live.loaded.write_to), "effect": effect})

    async def shutdown(self, request: Request) -> Response:
        drain = bool((await self._json(request, dict)).get("drain", True))
        pid = peer_of(request.scope).pid
        self._hub.request_stop(drain=drain, by="`ccproxy-tui stop`" + (f" (pid {pid})" if pid else ""))
        return Response(status_code=202)


def _answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
