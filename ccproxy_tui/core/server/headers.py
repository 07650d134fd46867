"""Which headers pass through a proxy, in each direction (RFC 9110, section 7.6.1, and what belongs to us)."""

from __future__ import annotations

from collections.abc import Iterable

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
# Meant for this proxy, or made anew for the upstream leg. The client's own credentials never go on.
_CLIENT_ONLY = _HOP | {
    "accept-encoding",
    "authorization",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",
    "referer",
    "via",
    "x-api-key",
    "x-real-ip",
}
_OURS = "x-ccproxy-"
_CLIENT_ONLY_STARTS = ("access-control-", "sec-fetch-", "x-forwarded-", _OURS)


def decode(headers: RawHeaders) -> list[tuple[str, str]]:
    """Headers as text, names in lower case (ISO-8859-1, as HTTP has it)."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def for_upstream(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The client's headers that the upstream should see, in their order."""
    headers = list(headers)
    named = _named_by_connection(headers)
    return [
        (name, value)
        for name, value in headers
        if name not in _CLIENT_ONLY and name not in named and not name.startswith(_CLIENT_ONLY_STARTS)
    ]


def wishes(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the client asks of this proxy itself: its `x-ccproxy-` headers, without that."""
    return {name.removeprefix(_OURS): value for name, value in headers if name.startswith(_OURS)}


def for_client(headers: Iterable[tuple[str, str]], *, stream: bool) -> list[tuple[bytes, bytes]]:
    """The upstream's headers that the client should see. A stream's length is not passed: pings may be put in."""
    headers = list(headers)
    named = _named_by_connection(headers)
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if name not in _HOP and name not in named and not (stream and name == "content-length")
    ]


def _named_by_connection(headers: Iterable[tuple[str, str]]) -> set[str]:
    return {token.strip().lower() for name, value in headers if name == "connection" for token in value.split(",")}
