"""HTTP to a proxy of this machine: nothing is sent before whoever listens there has shown to be ours."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import httpcore
import httpx

from ccproxy_tui.core.control.key import HEADER, PROOF_PATH, ControlKey, address_text
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import check_socket
from ccproxy_tui.core.system.peers import unix_peer

_IDLE = 4  # connections that are kept for the next request
_LONGEST_PROOF = 4096
_PROOF_SECONDS = 5.0


def control_http(
    *, socket: str = "", url: str = "http://localhost", key: ControlKey | None = None
) -> httpx.AsyncClient:
    """Return a client for a socket, or for a URL whose host is an address, and the key of the proxy there.

    It raises httpx.ConnectError where another program or user listens.
    """
    transport = httpx.AsyncHTTPTransport(uds=socket or None)
    # httpx has no argument for this; httpcore, which it builds the pool with, has.
    transport._pool = httpcore.AsyncConnectionPool(
        uds=socket or None,
        network_backend=_Verified(key),
        max_connections=None,  # slow answers of some must not make others wait
        max_keepalive_connections=_IDLE,
    )
    auth = Signature(key) if key is not None else None
    return httpx.AsyncClient(transport=transport, base_url=url, auth=auth, trust_env=False)


class Signature(httpx.Auth):
    """Signs each request for the address that its URL names."""

    requires_request_body = True

    def __init__(self, key: ControlKey) -> None:
        self._key = key
        self._clock = SystemClock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        url = request.url
        address = address_text(url.host, url.port or 80)
        target = url.raw_path.decode("ascii")
        request.headers[HEADER] = self._key.sign(request.method, target, request.content, address, self._clock.now())
        yield request


class _Verified(httpcore.AsyncNetworkBackend):
    """Connects, and looks who listens."""

    def __init__(self, key: ControlKey | None) -> None:
        self._key = key
        self._inner = httpcore.AnyIOBackend()

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            check_socket(Path(path))
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        stream = await self._inner.connect_unix_socket(path, timeout, socket_options)
        peer = _listener(stream)
        if peer is not None and peer != os.geteuid():
            await stream.aclose()
            raise httpcore.ConnectError(f"Another user (uid {peer}) listens on {path}, so nothing was sent.")
        return stream

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        if self._key is not None and not await _proves(stream, self._key, host, port):
            await stream.aclose()
            raise httpcore.ConnectError(f"Another program listens on {host}:{port}, so nothing was sent.")
        return stream

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _listener(stream: httpcore.AsyncNetworkStream) -> int | None:
    sock = stream.get_extra_info("socket")
    with socket.socket(fileno=os.dup(sock.fileno())) as copy:
        return unix_peer(copy).uid


async def _proves(stream: httpcore.AsyncNetworkStream, key: ControlKey, host: str, port: int) -> bool:
    """Ask for a proof on the fresh connection; the requests that follow go to whoever has given it."""
    nonce = secrets.token_hex(16)
    name = f"[{host}]" if ":" in host else host
    head = f"GET {PROOF_PATH}?nonce={nonce} HTTP/1.1\r\nhost: {name}:{port}\r\n\r\n"
    expected = key.prove(nonce, address_text(host, port)).encode()
    answer = b""
    try:
        async with asyncio.timeout(_PROOF_SECONDS):
            await stream.write(head.encode("ascii"))
            while len(answer.partition(b"\r\n\r\n")[2]) < len(expected):
                piece = await stream.read(_LONGEST_PROOF)
                answer += piece
                if not piece or len(answer) > _LONGEST_PROOF:
                    return False
    except (httpcore.NetworkError, TimeoutError):
        return False
    return hmac.compare_digest(answer.partition(b"\r\n\r\n")[2], expected)
