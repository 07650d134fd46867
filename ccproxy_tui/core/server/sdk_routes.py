"""The control API's verbs on the agents of SDK mode, and what `GET /sdk/status` tells of them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.control.frames import SdkView
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.provider import RunsAgents
from ccproxy_tui.core.server.deciders import Guard
from ccproxy_tui.core.server.hub import Hub

_OFF = "SDK mode is switched off (providers.claude_sdk.enabled)."


def sdk_routes(hub: Hub, guard: Guard) -> list[BaseRoute]:
    api = _SdkApi(hub)
    return [
        Route("/control/sdk", guard(api.view)),
        Route("/control/sdk/warm", guard(api.warm), methods=["POST"]),
        Route("/control/sdk/agents/{number:int}/interrupt", guard(api.interrupt), methods=["POST"]),
        Route("/control/sdk/agents/{number:int}/end", guard(api.end), methods=["POST"]),
        Route("/control/sdk/agents/{number:int}/recycle", guard(api.recycle), methods=["POST"]),
    ]


class _SdkApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def view(self, _: Request) -> Response:
        sdk = self._hub.sdk
        view = await sdk.sdk() if sdk is not None else SdkView(problem=_OFF)
        return Response(msgspec.json.encode(view), media_type="application/json")

    async def warm(self, _: Request) -> Response:
        if not agents_of(self._hub).warm_up():
            raise InvalidRequest("The pool is switched off (claude.sdk_pool.enabled).")
        return Response(status_code=202)

    async def interrupt(self, request: Request) -> Response:
        if not await agents_of(self._hub).interrupt_agent(request.path_params["number"]):
            raise InvalidRequest("This agent is idle: there is no turn to interrupt.")
        return Response(status_code=204)

    async def end(self, request: Request) -> Response:
        return await self._end(request, again=False)

    async def recycle(self, request: Request) -> Response:
        return await self._end(request, again=True)

    async def _end(self, request: Request, *, again: bool) -> Response:
        if not await agents_of(self._hub).end_agent(request.path_params["number"], again=again):
            raise RouteNotFound("This agent does not exist (any more).")
        return Response(status_code=204)


def agents_of(hub: Hub) -> RunsAgents:
    if hub.sdk is None:
        raise RouteNotFound(_OFF)
    return hub.sdk


async def sdk_status(hub: Hub) -> dict[str, Any]:
    """For clients: words and figures. No folder, no process, no other client's session."""
    view = await agents_of(hub).sdk()
    states = [agent.state for agent in view.agents]
    return {
        "message_mode": view.mode,
        "cli_version": view.version or None,
        "problem": view.problem or None,
        "permission_handler_connected": hub.desk.watched,
        "sessions": {"known": view.sessions, "limit": view.limit},
        "pool": {"enabled": view.pool, "size": view.pool_size, "ready": view.ready},
        "agents": {state: states.count(state) for state in ("starting", "idle", "busy", "interrupting", "dead")},
        "memory_bytes": sum(agent.memory for agent in view.agents),
        "memory_per_agent": [agent.memory for agent in view.agents],
    }
