"""An MCP server with one tool, `check_permission`, at `/mcp`: for `claude -p --permission-prompt-tool`.

Both transports are spoken: streamable HTTP (POST, answered with JSON or with events), and the older one of events
(GET gives an address to post to). Sources: modelcontextprotocol.io, revisions 2024-11-05 and 2025-06-18.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ccproxy_tui import __version__
from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound, TooManySessions
from ccproxy_tui.core.formats.body import decode_strict
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.limits import ASK_BODY, MCP_SESSIONS, MCP_UNUSED, MCP_WAITING
from ccproxy_tui.core.permissions.sources import CHECK_TOOL, check_answer, read_check
from ccproxy_tui.core.server.body import read_whole
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.shares import CLAIM
from ccproxy_tui.core.system.threads import work_on
from ccproxy_tui.core.text import sse

_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
_PING = b": waiting for the person\n\n"
_PING_SECONDS = 15.0
_NO_METHOD, _BAD_PARAMS = -32601, -32602


def mcp_routes(hub: Hub) -> list[BaseRoute]:
    server = _McpServer(hub)
    return [
        Route("/mcp", server.post, methods=["POST"]),
        Route("/mcp", server.open, methods=["GET"]),
        Route("/mcp", server.forget, methods=["DELETE"]),
        Route("/mcp/messages/", server.message, methods=["POST"]),
    ]


class _Session:
    """One client of the older transport: what it is to be told, and its questions that wait for the person."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Object | None] = asyncio.Queue()  # None ends it
        self.asking: set[asyncio.Task[None]] = set()
        self.used = False  # a client that means it sends `initialize` at once


class _McpServer:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sessions: dict[str, _Session] = {}

    # --- streamable HTTP ---

    async def post(self, request: Request) -> Response:
        message = await _read(request)
        if "id" not in message:
            return Response(status_code=202)
        client = client_name(dict(request.headers))
        await self._hub.deciders.asker_of(request.scope)
        if message.get("method") != "tools/call":
            return _json(await self._answer(message, client))
        return StreamingResponse(self._events(message, client), media_type="text/event-stream")

    async def _events(self, message: Object, client: str) -> AsyncIterator[bytes]:
        """The answer when the person has given it. A client that leaves ends this, and takes its question back."""
        answering = asyncio.ensure_future(self._answer(message, client))
        try:
            while True:
                done, _ = await asyncio.wait({answering}, timeout=_PING_SECONDS)
                if done:
                    yield sse.encode(msgspec.json.encode(answering.result()), "message")
                    return
                yield _PING
        finally:
            answering.cancel()

    async def forget(self, _: Request) -> Response:
        """A client says goodbye. Nothing is kept of it."""
        return Response(status_code=204)

    # --- the older transport ---

    async def open(self, request: Request) -> Response:
        if "mcp-protocol-version" in request.headers or "mcp-session-id" in request.headers:
            return Response(status_code=405, headers={"allow": "POST, DELETE"})  # this server starts no talk of its own
        if len(self._sessions) >= MCP_SESSIONS and not self._end_idle():
            raise TooManySessions("Too many MCP sessions are open.", hint="Use the newer transport: POST to /mcp.")
        return StreamingResponse(self._session(), media_type="text/event-stream")

    def _end_idle(self) -> bool:
        """End the session that was opened first and has not said anything. False when every one has."""
        idle = next((name for name, session in self._sessions.items() if not session.used), None)
        if idle is None:
            return False
        self._sessions.pop(idle).answers.put_nowait(None)
        return True

    async def _session(self) -> AsyncIterator[bytes]:
        name = secrets.token_urlsafe(16)
        session = self._sessions[name] = _Session()
        try:
            yield sse.encode(f"/mcp/messages/?session_id={name}".encode(), "endpoint")
            deadline = self._hub.clock.monotonic() + MCP_UNUSED
            while not self._hub.stopping.is_set():
                if not session.used and self._hub.clock.monotonic() > deadline:
                    return
                try:
                    async with asyncio.timeout(_PING_SECONDS):
                        answer = await session.answers.get()
                except TimeoutError:
                    yield _PING
                    continue
                if answer is None:
                    return
                yield sse.encode(msgspec.json.encode(answer), "message")
        finally:
            self._sessions.pop(name, None)
            for task in session.asking:  # who has left takes its questions back
                task.cancel()

    async def message(self, request: Request) -> Response:
        session = self._sessions.get(request.query_params.get("session_id", ""))
        if session is None:
            raise RouteNotFound("There is no such MCP session.")
        message = await _read(request)
        session.used = True
        if "id" in message:
            if len(session.asking) + session.answers.qsize() >= MCP_WAITING:
                raise TooManySessions("Too many messages of this MCP session wait for their answer.")
            client = client_name(dict(request.headers))
            await self._hub.deciders.asker_of(request.scope)
            claim = request.scope[CLAIM].moved()
            task = self._hub.tasks.start(self._deliver(message, client, session), name="mcp")
            session.asking.add(task)
            task.add_done_callback(session.asking.discard)
            task.add_done_callback(lambda _: claim.release())
        return Response(status_code=202)

    async def _deliver(self, message: Object, client: str, session: _Session) -> None:
        session.answers.put_nowait(await self._answer(message, client))

    # --- JSON-RPC ---

    async def _answer(self, message: Object, client: str) -> Object:
        number = message.get("id")
        given = message.get("params")
        params: Object = given if isinstance(given, dict) else {}
        match message.get("method"):
            case "initialize":
                return _result(number, _hello(params))
            case "ping":
                return _result(number, {})
            case "tools/list":
                return _result(number, {"tools": [CHECK_TOOL]})
            case "tools/call" if params.get("name") == CHECK_TOOL["name"]:
                return await self._call(number, params, client)
            case "tools/call":
                return _error(number, _BAD_PARAMS, f"There is no tool {str(params.get('name'))[:60]!r}.")
            case method:
                return _error(number, _NO_METHOD, f"There is no method {str(method)[:60]!r}.")

    async def _call(self, number: Any, params: Object, client: str) -> Object:
        arguments = params.get("arguments")
        try:
            asked = read_check(arguments if isinstance(arguments, dict) else {}, "mcp", client=client)
            entry = await self._hub.desk.settle(asked)
        except Misfit as misfit:
            return _error(number, _BAD_PARAMS, misfit.message)
        except ProxyError as problem:
            return _error(number, _BAD_PARAMS, problem.text)
        text = msgspec.json.encode(check_answer(entry)).decode()
        return _result(number, {"content": [{"type": "text", "text": text}], "isError": False})


def _hello(params: Object) -> Object:
    wanted = params.get("protocolVersion")
    return {
        "protocolVersion": wanted if wanted in _VERSIONS else _VERSIONS[0],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "ccproxy-tui", "version": __version__},
    }


async def _read(request: Request) -> Object:
    raw = await read_whole(request, ASK_BODY)
    try:
        return await work_on(len(raw), partial(decode_strict, raw))
    except Misfit as misfit:
        raise InvalidRequest(f"A JSON-RPC message is expected (one object). {misfit.message}") from misfit


def _result(number: Any, result: Object) -> Object:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def _error(number: Any, code: int, message: str) -> Object:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


def _json(value: Object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
