"""Which headers pass through a proxy, in each direction (RFC 9110, section 7.6.1, and what belongs to us)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from ccproxy_tui.core.text.redact import is_secret_header, redact_text

RawHeaders = Iterable[tuple[bytes, bytes]]

_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Meant for this proxy, or made again for the upstream leg.
_CLIENT_ONLY = _HOP | {
    "accept-encoding",
    "alt-used",
    "client-ip",
    "content-encoding",
    "content-length",
    "early-data",
    "expect",
    "fastly-client-ip",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "max-forwards",
    "origin",
    "range",  # an answer in part would be taken for the whole one
    "referer",
    "remote-addr",
    "true-client-ip",
    "via",
}
_OURS = "x-ccproxy-"
_CLIENT_ONLY_STARTS = (
    "access-control-",
    "cf-",
    "fly-",
    "if-",  # a 304 has no meaning here
    "sec-",
    "x-amz-",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-",
    "x-forwarded",
    "x-http-method",
    "x-method-override",
    "x-original-",
    "x-originating-",
    "x-real-ip",
    "x-remote-",
    "x-rewrite-",
    _OURS,
)
# A client does not choose on whose account it runs: that goes with the credential.
_ACCOUNT = re.compile(
    r"(^|[-_])(account|organi[sz]ation|org|project|tenant|workspace|impersonate|on-behalf-of)s?([-_]|$)"
)
# What an upstream tells a browser, a cache or another proxy about its own site, which this proxy is not.
_UPSTREAM_ONLY = _HOP | {
    "accept-ch",
    "activate-storage-access",
    "alt-svc",
    "authentication-info",
    "clear-site-data",
    "content-location",
    "critical-ch",
    "document-policy",
    "expect-ct",
    "feature-policy",
    "link",
    "location",
    "nel",
    "no-vary-search",
    "origin-agent-cluster",
    "p3p",
    "permissions-policy",
    "proxy-authentication-info",
    "referrer-policy",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "server-timing",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "set-login",
    "sourcemap",
    "speculation-rules",
    "supports-loading-mode",
    "strict-transport-security",
    "timing-allow-origin",
    "trailer",
    "www-authenticate",
    "x-accel-redirect",
    "x-frame-options",
    "x-sendfile",
    "x-sourcemap",
    "x-xss-protection",
}
_UPSTREAM_ONLY_STARTS = (
    "access-control-",
    "content-security-policy",
    "cross-origin-",
    "public-key-pins",
    "sec-",
    "x-content-security-policy",
    "x-permitted-",
    "x-webkit-csp",
    _OURS,
)


def decode(headers: RawHeaders) -> list[tuple[str, str]]:
    """Headers as text, names in lower case (ISO-8859-1, as HTTP has it)."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def for_upstream(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The client's headers that the upstream should see, in their order.

    Unknown ones pass, but for those that hold a credential (by their name, or by what their value looks like) or that
    choose an account.
    """
    headers = list(headers)
    named = _named_by_connection(headers)
    return [(name, value) for name, value in headers if name not in named and _may_go_up(name, value)]


def _may_go_up(name: str, value: str) -> bool:
    return _name_may_go_up(name) and redact_text(value) == value


@functools.lru_cache(maxsize=1024)
def _name_may_go_up(name: str) -> bool:
    name = name.replace("_", "-")  # many servers read both as one name
    if name in _CLIENT_ONLY or name.startswith(_CLIENT_ONLY_STARTS):
        return False
    return not (is_secret_header(name) or _ACCOUNT.search(name))


def wishes(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the client asks of this proxy itself: its `x-ccproxy-` headers, without that."""
    return {name.removeprefix(_OURS): value for name, value in headers if name.startswith(_OURS)}


def for_client(headers: Iterable[tuple[str, str]], *, stream: bool) -> list[tuple[bytes, bytes]]:
    """The upstream's headers that the client should see. A stream's length is not passed: pings may be put in.

    Left out is what speaks to a browser about the upstream's own site (cookies, CORS, redirects, pinning): it would
    count for this proxy's origin.
    """
    headers = list(headers)
    named = _named_by_connection(headers)
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if name not in named and _may_go_down(name) and not (stream and name == "content-length")
    ]


@functools.lru_cache(maxsize=1024)
def _may_go_down(name: str) -> bool:
    name = name.replace("_", "-")
    return not (name in _UPSTREAM_ONLY or name.startswith(_UPSTREAM_ONLY_STARTS) or is_secret_header(name))


def _named_by_connection(headers: Iterable[tuple[str, str]]) -> set[str]:
    return {token.strip().lower() for name, value in headers if name == "connection" for token in value.split(",")}
