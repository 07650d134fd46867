"""The door: who may use the proxy at all. Host, Origin and user or token are checked before anything is routed.

A page in the user's own browser can reach a server on loopback. It can't forge `Host` (DNS rebinding keeps its own
name) nor leave out `Origin` on a request that matters, so both are checked on every route.

Loopback is shared by every user of the machine. Without a configured token the owner of the peer's socket must be the
user that runs the proxy; `core.system.peers` has how that is known, and what it can't see.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ccproxy_tui.core.control.key import HEADER, BadProof, address_text, is_digest
from ccproxy_tui.core.errors import Forbidden, ProxyError, Unauthorized
from ccproxy_tui.core.formats.errors import error_body
from ccproxy_tui.core.limits import ASK_BODY
from ccproxy_tui.core.routing import guess_dialect
from ccproxy_tui.core.server.body import ClientGone, read_body
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.shares import CLAIM, Claim
from ccproxy_tui.core.system.peers import peer_of

LOCAL = "ccproxy.local"  # set in the scope of requests that came over the unix socket
KNOWN = "ccproxy.known"  # set in the scope of requests of this user, or with a token
CONTROL = "ccproxy.control"  # set in the scope of requests that are signed with the control key: the body's digest
_NAVIGABLE = ("/oauth/",)  # a browser comes here from another site, by a redirect
_HEALTH = ("/health", "/health/ready")  # asked by probes that have no token; the accounts are left out for them
_BEARER = b"bearer "
_PROOF = HEADER.encode()


class Gate:
    """ASGI middleware. Of requests over the unix socket only the user is checked; the file system has done the rest."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub
        self._names = _own_names(hub.settings.server.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        claim = scope[CLAIM] = Claim(self._hub.shares, scope)
        try:
            await self._serve(scope, receive, send)
        finally:
            claim.release()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope.get(LOCAL):
                _check_socket(scope)
            else:
                self._check(scope)
            if CONTROL in scope:
                receive = await _signed_body(scope, receive)
        except ProxyError as error:
            await self._hub.refusals.note(scope, error)
            await _refuse(scope, send, error)
            return
        except ClientGone:
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = origin = site = proof = b""
        tokens: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == _PROOF:
                proof = value
            elif name == b"x-api-key":
                tokens.append(value)
            elif name == b"authorization" and value[:7].lower() == _BEARER:
                tokens.append(value[7:].strip())
        self._check_host(host.decode("latin-1"))
        self._check_origin(origin.decode("latin-1"), host.decode("latin-1"), site, scope["path"])
        if proof and scope["type"] == "http" and self._is_signed(scope, proof.decode("latin-1")):
            return
        self._check_client(scope, tokens)

    def _is_signed(self, scope: Scope, proof: str) -> bool:
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        try:
            scope[CONTROL] = self._hub.proofs.accept(proof, scope["method"], target, address_text(*scope["server"]))
        except BadProof:
            return False
        scope[KNOWN] = True
        return True

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        allowed = (one.lower() for one in self._hub.settings.security.allowed_hosts)
        if name and (name in self._names or _is_unforgeable(name) or name in allowed):
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

    def _check_client(self, scope: Scope, tokens: list[bytes]) -> None:
        """Raises Forbidden for another user of this machine, Unauthorized where a token would help."""
        security, path = self._hub.settings.security, scope["path"]
        if path == "/health/live":
            return
        expected = [token for token in (security.token, self._hub.client_token) if token]
        # Every given token is compared, each in constant time.
        if sum([hmac.compare_digest(given, token.encode()) for given in tokens for token in expected]):
            scope[KNOWN] = True
            return
        peer = peer_of(scope)
        if security.token:
            scope[KNOWN] = peer.is_own
            if path in _HEALTH or path == "/oauth/callback" or path.startswith("/control/"):
                return  # /control has its own proof, /oauth/callback its state
            raise Unauthorized(
                "The proxy's token is missing or wrong.",
                hint="Send it as Authorization: Bearer or as x-api-key (setting: security.auth_token).",
            )
        if peer.uid is not None and not peer.is_own:
            raise Forbidden(
                "This proxy serves the user that runs it, and you connect as another user of this machine.",
                hint="Its user can set security.auth_token and share that token.",
            )
        if peer.is_own and security.peer_check == "uid":
            scope[KNOWN] = True
        elif path != "/oauth/callback" and not path.startswith("/control/"):
            raise Unauthorized(
                "The proxy's token is missing or wrong.",
                hint="`ccproxy-tui connect` gives it to a tool; send it as Authorization: Bearer or as x-api-key.",
            )


def _check_socket(scope: Scope) -> None:
    """Raises Forbidden. Root can open any socket, but is another user, too."""
    peer = peer_of(scope)
    if peer.uid is not None and not peer.is_own:
        raise Forbidden("This socket serves the user that runs the proxy, and you connect as another user.")
    scope[KNOWN] = True


async def _signed_body(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` for the body, once it has come and is what was signed. Raises ProxyError, ClientGone."""
    body = await read_body(receive, limit=ASK_BODY, declared="", encoding="", claim=scope[CLAIM])
    if not is_digest(scope[CONTROL], body):
        raise Unauthorized("The body is not the one that was signed.")
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(given, None) or await receive()

    return replay


def _own_names(bind: str) -> frozenset[str]:
    names = {"localhost", bind.lower(), socket.gethostname().lower()}
    if not is_loopback(bind):
        names.add(socket.getfqdn().lower())
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
        name, _, port = host[1:].partition("]")
        return name if not port or port.startswith(":") else host
    return host.rsplit(":", 1)[0] if host.count(":") == 1 else host


def _is_unforgeable(name: str) -> bool:
    """Names that no web site can have: `*.localhost` (RFC 6761, section 6.3) and addresses.

    An address is not looked up, so no DNS answer can turn it to this machine: a page of that origin came from there.
    The unspecified address is none: browsers take it for this machine, and send no Origin with some requests to it.
    """
    try:
        address = ipaddress.ip_address(name)
        return not (getattr(address, "ipv4_mapped", None) or address).is_unspecified
    except ValueError:
        return name.endswith(".localhost")


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
