"""Reading a request's body: bounded, decompressed, and told when it is too much."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import zstandard

from ccproxy_tui.core.errors import BodyTooLarge, InvalidRequest, WrongMediaType
from ccproxy_tui.core.server.sink import Receive


class ClientGone(Exception):
    """The client closed its connection."""


async def read_body(receive: Receive, *, limit: int, declared: str, encoding: str) -> bytes:
    """The whole body, decompressed.

    Raises BodyTooLarge before the limit is passed (in both forms), InvalidRequest for a broken compression,
    WrongMediaType for one we can't undo, ClientGone when the client left.
    """
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        if chunk:
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
        if not message.get("more_body", False):
            break
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    for name in reversed([part.strip().lower() for part in encoding.split(",") if part.strip()]):
        body = _decompress(body, name, limit)
    return body


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request body is larger than {limit // 1024 // 1024} MB.",
        hint="Raise server.max_body_mb to allow it.",
    )


def _decompress(body: bytes, name: str, limit: int) -> bytes:
    if name == "identity":
        return body
    undo = _UNDO.get(name)
    if undo is None:
        raise WrongMediaType(
            f"The content encoding {name[:40]!r} is not supported.", hint="Send gzip, deflate, zstd or none."
        )
    try:
        data = undo(body, limit)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise InvalidRequest(f"The request body is not valid {name}: {error}.") from error
    if len(data) > limit:
        raise _too_large(limit)
    return data


def _gunzip(body: bytes, limit: int) -> bytes:
    # 32 + MAX_WBITS: gzip and zlib heads are told apart.
    return _inflate(zlib.decompressobj(32 + zlib.MAX_WBITS), body, limit)


def _inflate(decompressor: zlib._Decompress, body: bytes, limit: int) -> bytes:
    data = decompressor.decompress(body, limit + 1)
    if not decompressor.eof and len(data) <= limit:
        raise EOFError("it ends too early")
    return data


def _deflate(body: bytes, limit: int) -> bytes:
    try:
        return _gunzip(body, limit)
    except zlib.error:
        return _inflate(zlib.decompressobj(-zlib.MAX_WBITS), body, limit)


def _unzstd(body: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
        data: bytes = reader.read(limit + 1)
        return data


_UNDO: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _deflate,
    "zstd": _unzstd,
}
