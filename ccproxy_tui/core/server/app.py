"""The ASGI application: the gate, the providers' routes as bare ASGI, health, and the control API."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ccproxy_tui import __version__
from ccproxy_tui.core.errors import (
    InvalidRequest,
    MethodNotAllowed,
    ProxyError,
    RouteNotFound,
)
from ccproxy_tui.core.formats.errors import error_body
from ccproxy_tui.core.routing import Target, guess_dialect, parse_path, read_path
from ccproxy_tui.core.server.account_routes import oauth_routes
from ccproxy_tui.core.server.body import UNREAD, ClientGone
from ccproxy_tui.core.server.control_routes import control_routes
from ccproxy_tui.core.server.exchange import Exchange
from ccproxy_tui.core.server.gate import Gate
from ccproxy_tui.core.server.health import health_routes
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.sdk_routes import sdk_status
from ccproxy_tui.core.server.socket import ResponsesSocket, refuse_socket
from ccproxy_tui.core.text.redact import redact_text


def create_app(hub: Hub) -> ASGIApp:
    """The whole proxy as one ASGI application."""
    rest = Starlette(
        routes=[*health_routes(hub), *control_routes(hub), *oauth_routes(hub)],
        exception_handlers={ClientGone: _nobody, 404: _not_found, 405: _wrong_method, ProxyError: _proxy_error},
    )
    app: ASGIApp = Gate(Dispatch(hub, rest), hub)
    cors = hub.settings.cors
    if cors.origins or cors.origin_regex:
        app = CORSMiddleware(
            app,
            allow_origins=cors.origins,
            allow_origin_regex=cors.origin_regex,
            allow_credentials=cors.credentials,
            allow_methods=cors.methods,
            allow_headers=cors.headers,
            expose_headers=cors.expose_headers,
            max_age=cors.max_age,
        )
    return app


class Dispatch:
    """Everything below a provider's prefix is an exchange, served as bare ASGI; the rest goes to Starlette's routes."""

    def __init__(self, hub: Hub, rest: ASGIApp) -> None:
        self._hub = hub
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, send)
            return
        try:
            target = parse_path(read_path(scope["raw_path"]), self._hub.prefixes)
            _check_query(scope["query_string"])
        except InvalidRequest as problem:
            await _refuse(scope, receive, send, problem)
            return
        if scope["type"] == "websocket":
            await self._open_socket(target, scope, receive, send)
        elif target is None:
            await self._rest(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD") and (
            target.operation == "base" or target.rest in ("hello", "api/hello")
        ):
            await _hello(scope, receive, send)
        elif scope["method"] == "GET" and target.prefix and target.rest in ("status", "usage"):
            await self._tell_status(target, scope, receive, send)
        else:
            await Exchange(self._hub, target, dict(scope), receive, send).run()

    async def _open_socket(self, target: Target | None, scope: Scope, receive: Receive, send: Send) -> None:
        """Responses alone are spoken over sockets; for all else, clients go on over HTTP."""
        if target is None or target.operation != "responses" or not self._hub.settings.codex.websocket:
            await refuse_socket(scope, receive, send)
            return
        await ResponsesSocket(self._hub, target, scope, receive, send).run()

    async def _tell_status(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        """`status` is what is known; `usage` asks the provider first."""
        failures: dict[str, str] = {}
        if target.rest == "usage":
            failures = await _ask_usage(self._hub, target.provider)
        body = {**_provider_status(self._hub, target.provider), **({"failures": failures} if failures else {})}
        if self._hub.sdk is not None and self._hub.sdk.name == target.provider:
            body |= await sdk_status(self._hub)
        await JSONResponse(body)(scope, receive, send)


def _check_query(query: bytes) -> None:
    """Refuse what is no query: it goes upstream as it is. Raises InvalidRequest."""
    if not query.isascii() or not query.decode("ascii").isprintable() or b" " in query or b"#" in query:
        raise InvalidRequest("The query holds a character that must be percent-encoded.")


async def _refuse(scope: Scope, receive: Receive, send: Send, error: ProxyError) -> None:
    """Answer in the client's dialect, a WebSocket's handshake included."""
    names = frozenset(name.decode("latin-1") for name, _ in scope["headers"])
    body = error_body(guess_dialect(scope["path"], names), error.kind, error.text)
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        kind = "websocket.http.response"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": f"{kind}.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


async def _ask_usage(hub: Hub, name: str) -> dict[str, str]:
    """Have each account tell how its plan is. Why some could not, by account."""
    provider = hub.providers.get(name)
    failures: dict[str, str] = {}
    for account in provider.accounts() if provider is not None else []:
        try:
            await account.check()
        except ProxyError as problem:
            failures[account.provider] = redact_text(problem.text)
    return failures


def _provider_status(hub: Hub, name: str) -> dict[str, Any]:
    """How a provider's accounts are: words and figures, no secret and no path."""
    provider = hub.providers.get(name)
    views = [account.view() for account in provider.accounts()] if provider is not None else []
    return {"provider": name, "accounts": [msgspec.to_builtins(view) for view in views]}


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Clients probe the base URL before their first request."""
    await JSONResponse({"service": "ccproxy-tui", "version": __version__})(scope, receive, send)


def _error_response(request: Request, error: ProxyError) -> Response:
    dialect = guess_dialect(request.url.path, frozenset(request.headers.keys()))
    return Response(
        error_body(dialect, error.kind, error.text, field=error.field),
        error.status,
        {"connection": "close"} if isinstance(error, UNREAD) else None,  # the rest is not read
        media_type="application/json",
    )


async def _not_found(request: Request, _: Exception) -> Response:
    path = request.url.path
    return _error_response(
        request, RouteNotFound(f"There is nothing at {path[:200]!r}.", hint="See /health and the README.")
    )


async def _wrong_method(request: Request, _: Exception) -> Response:
    return _error_response(request, MethodNotAllowed(f"{request.method} is not allowed on {request.url.path!r}."))


async def _nobody(_: Request, __: Exception) -> Response:
    """The client has hung up."""
    return Response(status_code=499)


async def _proxy_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProxyError)
    return _error_response(request, error)
