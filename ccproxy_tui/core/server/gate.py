"""The door: who may talk to the proxy at all. Host, Origin and token are checked before anything is read or routed.

A page in the person's own browser can reach a server on loopback. It can't forge `Host` (DNS rebinding keeps its own
name) nor leave out `Origin` on a request that matters, so both are checked on every route.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ccproxy_tui.core.errors import Forbidden, ProxyError, Unauthorized
from ccproxy_tui.core.formats.errors import error_body
from ccproxy_tui.core.routing import guess_dialect
from ccproxy_tui.core.server.hub import Hub

LOCAL = "ccproxy.local"  # set in the scope of requests that came over the unix socket
_NAVIGABLE = ("/oauth/",)  # a browser comes here from another site, by a redirect
_BEARER = b"bearer "


class Gate:
    """ASGI middleware. Requests over the unix socket have passed the file system's check and skip this one."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub
        self._names = _own_names(hub.settings.server.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope.get(LOCAL):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ProxyError as error:
            await _refuse(scope, send, error)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = origin = site = b""
        tokens: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"x-api-key":
                tokens.append(value)
            elif name == b"authorization" and value[:7].lower() == _BEARER:
                tokens.append(value[7:].strip())
        self._check_host(host.decode("latin-1"))
        self._check_origin(origin.decode("latin-1"), host.decode("latin-1"), site, scope["path"])
        self._check_token(tokens, scope["path"])

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if name in self._names or _is_unforgeable(name) or name in self._hub.settings.security.allowed_hosts:
            return
        raise Forbidden(
            f"The host {name[:80]!r} is not allowed.", hint="Add it to security.allowed_hosts if it is yours."
        )

    def _check_origin(self, origin: str, host: str, site: bytes, path: str) -> None:
        if not origin:
            if site in (b"cross-site", b"same-site") and not path.startswith(_NAVIGABLE):
                raise Forbidden("Requests from other web sites are not allowed.")
            return
        cors = self._hub.settings.cors
        if origin in (f"http://{host}", f"https://{host}") or origin in cors.origins:
            return
        if cors.origin_regex and _matches(cors.origin_regex, origin):
            return
        raise Forbidden(
            f"The web origin {origin[:80]!r} is not allowed.", hint="Add it to cors.origins if it is yours."
        )

    def _check_token(self, tokens: list[bytes], path: str) -> None:
        token = self._hub.settings.security.auth_token
        if token is None or path == "/health" or path.startswith(("/health/", "/oauth/callback", "/control/")):
            return  # /control has its own token, /oauth/callback its state
        expected = token.get_secret_value().encode()
        # Every given token is compared, each in constant time.
        if not sum([hmac.compare_digest(given, expected) for given in tokens]):
            raise Unauthorized(
                "The proxy's token is missing or wrong.",
                hint="Send it as Authorization: Bearer or as x-api-key (setting: security.auth_token).",
            )


def _own_names(bind: str) -> frozenset[str]:
    names = {"localhost", bind.lower()}
    if not is_loopback(bind):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(names)


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].split("]")[0]
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


def _is_unforgeable(name: str) -> bool:
    """Names that no web site can have: addresses (the page came from that very address), `*.localhost`, and names
    without a dot, which nobody can register (containers call each other by such names)."""
    if "." not in name and ":" not in name:
        return bool(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.endswith(".localhost")
    return True


def _matches(pattern: str, origin: str) -> bool:
    import re

    return re.fullmatch(pattern, origin) is not None


async def _refuse(scope: Scope, send: Send, error: ProxyError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": error.message})
        return
    names = frozenset(name.decode("latin-1") for name, _ in scope["headers"])
    body = error_body(guess_dialect(scope["path"], names), error.kind, error.text)
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="ccproxy-tui"'))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
