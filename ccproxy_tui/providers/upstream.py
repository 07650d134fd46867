"""Calls over HTTP: one pooled client per provider, and httpx's failures as our errors."""

from __future__ import annotations

import functools
import os
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterable
from urllib.parse import urlsplit

import httpx

from ccproxy_tui.core.errors import (
    ProxyError,
    UpstreamCut,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnreachable,
)
from ccproxy_tui.core.formats.upstream_error import read_error
from ccproxy_tui.core.provider import Answer, Headers, Mark, UpstreamRequest, close_answer
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.core.text.redact import redact_url
from ccproxy_tui.providers.transport import ForwardTransport, LeanTransport

_LONG_URL = 512  # characters; a longer one is not remembered
_TARGET = re.compile(r"[!-\"$-~]*")  # of a request: printable ASCII, and no fragment
_FALSE = frozenset({"0", "false", "no", "off"})


def _no_mark(name: str, detail: str) -> None:
    """There is no timeline."""


class Upstream:
    """One provider's connections: an httpx client, whose transport the relay asks directly when it is our own."""

    def __init__(self, name: str, base_url: str, http: Http) -> None:
        self._name = name
        self._timeouts: dict[str, float | None] = {
            "connect": http.connect_timeout,
            "read": http.read_timeout,
            "write": http.read_timeout,
            "pool": http.connect_timeout,
        }
        self._transport = _transport(base_url, http)
        self.client = httpx.AsyncClient(transport=self._transport, trust_env=False, timeout=http.read_timeout)

    async def carry(self, request: UpstreamRequest, mark: Mark = _no_mark) -> Answer:
        """Send one request. Raises UpstreamUnreachable, UpstreamGarbled, UpstreamStalled or UpstreamCut."""
        try:
            if isinstance(self._transport, LeanTransport):
                return await self._ask(self._transport, request)
            return await self._send(request)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._failure(error, request.url) from error

    async def send(self, method: str, url: str, headers: Headers, body: bytes) -> Answer:
        """The same for a request of the proxy's own: about tokens, models, or the plan."""
        return await self.carry(UpstreamRequest(method, url, tuple(headers), body))

    async def _ask(self, transport: LeanTransport, request: UpstreamRequest) -> Answer:
        method, body = request.method, request.body
        origin, target, host = _split(request.url)
        raw = [
            (b"host", host),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers),
        ]
        if body or method not in ("GET", "HEAD"):
            raw.append((b"content-length", b"%d" % len(body)))
        head, stream = await transport.ask(method.encode(), origin, target, raw, body, self._timeouts)
        return Answer(head.status, _decoded(head.headers), self._read(stream), stream.aclose)

    async def _send(self, request: UpstreamRequest) -> Answer:
        _split(request.url)  # refuses what is no URL
        response = await self.client.send(
            httpx.Request(
                request.method,
                request.url,
                headers=list(request.headers),
                content=request.body,
                extensions={"timeout": self._timeouts},
            ),
            stream=True,
        )
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        return Answer(response.status_code, _decoded(response.headers.raw), self._read(stream), response.aclose)

    async def _read(self, stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                yield chunk
        except httpx.ReadTimeout as error:
            raise UpstreamStalled(f"{self._name} stopped sending: {error}.") from error
        except httpx.TransportError as error:
            raise UpstreamCut(f"The connection to {self._name} broke in the middle of its answer: {error}.") from error

    def _failure(self, error: Exception, url: str) -> ProxyError:
        host = urlsplit(url).netloc
        reason = str(error) or type(error).__name__
        match error:
            case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.ProxyError() | httpx.InvalidURL():
                problem: ProxyError = UpstreamUnreachable(f"{self._name} ({host}) can't be reached: {reason}.")
            case httpx.PoolTimeout():
                problem = UpstreamUnreachable(f"No free connection to {self._name}: {reason}.")
            case httpx.ReadTimeout() | httpx.WriteTimeout():
                problem = UpstreamStalled(f"{self._name} did not answer in time: {reason}.")
            case httpx.RemoteProtocolError() | httpx.DecodingError():
                problem = UpstreamGarbled(f"{self._name} ({host}) did not answer properly: {reason}.")
            case _:
                problem = UpstreamUnreachable(f"The connection to {self._name} ({host}) failed: {reason}.")
        problem.provider = self._name
        return problem

    async def close(self) -> None:
        await self.client.aclose()


async def read_all(answer: Answer, limit: int = 4 * 1024 * 1024) -> bytes:
    """A small answer, whole. Raises UpstreamRefused for an error, UpstreamGarbled for one that is too large."""
    try:
        body = b""
        async for chunk in answer.body:
            body += chunk
            if len(body) > limit:
                raise UpstreamGarbled("The upstream's answer is larger than anything that was asked for.")
    finally:
        await close_answer(answer)
    if answer.status >= 400:
        failed = read_error(answer.status, body)
        raise UpstreamRefused(answer.status, failed.kind, failed.message, code=failed.code)
    return body


def _split(url: str) -> tuple[tuple[bytes, str, int], bytes, bytes]:
    """Origin, target and Host of a URL; the target is not encoded again. Raises httpx.InvalidURL."""
    return _split_anew(url) if len(url) > _LONG_URL else _split_once(url)


def _split_anew(url: str) -> tuple[tuple[bytes, str, int], bytes, bytes]:
    start = url.find("://") + 3
    end = min((at for at in (url.find(char, start) for char in "/?#") if at >= 0), default=len(url))
    target = url[end:]
    if not _TARGET.fullmatch(target):
        raise httpx.InvalidURL("The path or query holds a character that must be percent-encoded")
    origin, host = _origin(url[:end])
    return origin, (target if target.startswith("/") else f"/{target}").encode("ascii"), host


_split_once = functools.lru_cache(maxsize=256)(_split_anew)  # the same few URLs are called again and again


@functools.lru_cache(maxsize=256)
def _origin(url: str) -> tuple[tuple[bytes, str, int], bytes]:
    """Origin and Host of a URL without a path. Raises httpx.InvalidURL."""
    parsed = httpx.URL(url)
    scheme = parsed.raw_scheme
    if scheme not in (b"http", b"https") or not parsed.host:
        raise httpx.InvalidURL(f"{url!r} is not an address that can be called")
    return (scheme, parsed.host, parsed.port or (443 if scheme == b"https" else 80)), parsed.netloc


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def _transport(base_url: str, http: Http) -> httpx.AsyncBaseTransport:
    """Our own transport, unless the traffic must pass a forward proxy. Raises UpstreamUnreachable for a wrong one."""
    proxy = http.proxy or environment_proxy(base_url)
    if proxy:
        single = httpx.Limits(max_connections=1, keepalive_expiry=http.keepalive_expiry)
        make = functools.partial(httpx.AsyncHTTPTransport, verify=tls_context(http), proxy=proxy, limits=single)
        try:
            return ForwardTransport(make, max_connections=http.max_connections, keepalive_expiry=http.keepalive_expiry)
        except (ValueError, ImportError, httpx.InvalidURL) as error:  # SOCKS needs a package that is not installed
            raise UpstreamUnreachable(f"The forward proxy {redact_url(proxy)} can't be used: {error}.") from error
    return LeanTransport(
        tls=tls_context(http) if base_url.startswith("https:") else None,
        max_connections=http.max_connections,
        keepalive_expiry=http.keepalive_expiry,
    )


def environment_proxy(url: str) -> str:
    """The forward proxy that the usual variables name for `url`, or nothing."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(host):
        return ""
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def tls_context(http: Http) -> ssl.SSLContext:
    """Certificates: the setting, then SSL_CERT_FILE or REQUESTS_CA_BUNDLE, then the bundle that httpx ships."""
    if not http.ssl_verify or os.environ.get("SSL_VERIFY", "").lower() in _FALSE:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = http.ca_bundle or os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle:
        return ssl.create_default_context(cafile=str(bundle))
    return httpx.create_ssl_context()
