"""Reading a request's body: bounded in size and time, and unpacked. Every route that takes a body reads it here."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from ccproxy_tui.core.errors import BodyTooLarge, InvalidRequest, RequestTimeout, WrongMediaType
from ccproxy_tui.core.limits import BODY_IDLE, MB
from ccproxy_tui.core.server.sink import Receive
from ccproxy_tui.core.unpack import Broken, TooLarge, Unsupported, unpack

BODY_SECONDS = 600.0
_UNPACK_HERE = 1024  # bytes; a compressed body larger than this is unpacked in a thread


class ClientGone(Exception):
    """The client closed its connection."""


async def read_body(
    receive: Receive,
    *,
    limit: int,
    declared: str,
    encoding: str,
    seconds: float = BODY_SECONDS,
    hint: str = "",
) -> bytes:
    """Return the whole body, unpacked.

    Raise BodyTooLarge before more than the limit (and one piece) was taken, in both forms; `hint` says what can be done
    about it. Raise RequestTimeout when it does not come in time, InvalidRequest for a broken compression,
    WrongMediaType for one that can't be undone, ClientGone when the client left.
    """
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit, hint)
    body = await _collect(receive, limit, seconds, hint)
    if not encoding:
        return body
    try:
        if len(body) < _UNPACK_HERE:
            return unpack(body, encoding, limit)
        return await asyncio.to_thread(unpack, body, encoding, limit)
    except TooLarge as error:
        raise BodyTooLarge(f"The request body {error}.", hint=hint) from error
    except Broken as error:
        raise InvalidRequest(f"The request body {error}.") from error
    except Unsupported as error:
        raise WrongMediaType(f"The request body {error}.", hint="Send gzip, deflate, zstd or none.") from error


async def read_whole(request: Request, limit: int) -> bytes:
    """The same for a route of Starlette's, whose limit is no setting."""
    return await read_body(
        request.receive,
        limit=limit,
        declared=request.headers.get("content-length", ""),
        encoding=request.headers.get("content-encoding", ""),
    )


async def _collect(receive: Receive, limit: int, seconds: float, hint: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        async with asyncio.timeout(min(BODY_IDLE, seconds)) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit, hint)
                parts.append(chunk)
                if not message.get("more_body", False):
                    break
                patience.reschedule(min(loop.time() + BODY_IDLE, deadline))
    except TimeoutError:
        raise RequestTimeout(f"The request body did not come in time; {size:,} bytes came.") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int, hint: str) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit // MB} MB.", hint=hint)
