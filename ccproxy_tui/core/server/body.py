"""Reading a request's body: bounded in size and time, and unpacked. Every route that takes a body reads it here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from ccproxy_tui.core.errors import BodyTooLarge, InvalidRequest, RequestTimeout, TooMuchMemory, WrongMediaType
from ccproxy_tui.core.exchange.sink import Receive
from ccproxy_tui.core.limits import BODY_IDLE, MB, RATIO, RATIO_FREE, SHARED_FROM
from ccproxy_tui.core.server.shares import CLAIM, Claim
from ccproxy_tui.core.system.patience import patience
from ccproxy_tui.core.text.unpack import Broken, TooLarge, Unsupported, unpack

ARRIVED = "ccproxy.arrived"  # set in the scope of a request whose body is all here
BODY_SECONDS = 600.0
UNREAD = (BodyTooLarge, RequestTimeout)  # the rest of the body is not read: the connection ends
_UNPACK_HERE = 1024  # bytes; a compressed body larger than this is unpacked in a thread


class ClientGone(Exception):
    """The client closed its connection."""


async def read_body(
    receive: Receive,
    *,
    limit: int,
    declared: str,
    encoding: str,
    claim: Claim | None,
    arrived: bool = False,
    seconds: float = BODY_SECONDS,
    hint: str = "",
) -> bytes:
    """Return the whole body, unpacked.

    Raise BodyTooLarge before more than the limit (and one piece) was taken, in both forms; `hint` says what can be done
    about it. Raise RequestTimeout when it does not come in time, InvalidRequest for a broken compression,
    WrongMediaType for one that can't be undone, ClientGone when the client left. `claim` holds the
    memory for it: before it is read, the most that it may take; its size after that. Raise TooMuchMemory. `arrived`:
    all of it is here, so nothing is waited for.
    """
    size = int(declared) if declared.isdigit() else limit
    if size > limit:
        raise _too_large(limit, hint)
    most = size + (_most_unpacked(size, limit) if encoding else 0)
    if claim is not None and declared:
        await _claim(claim, most, receive, limit)
    if arrived and declared:
        body = _piece(await receive())
    else:
        body = await _collect(receive, limit, seconds, hint, most, claim)
    if encoding:
        if claim is not None:
            await claim.reach(len(body) + _most_unpacked(len(body), limit))
        body = await _unpack(body, encoding, limit, hint)
    if claim is not None:
        claim.settle(len(body))
    return body


def _most_unpacked(size: int, limit: int) -> int:
    return min(limit, max(RATIO_FREE, RATIO * size))


async def _unpack(body: bytes, encoding: str, limit: int, hint: str) -> bytes:
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
        claim=request.scope.get(CLAIM),
    )


async def _collect(receive: Receive, limit: int, seconds: float, hint: str, most: int, claim: Claim | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        async with patience(min(BODY_IDLE, seconds)) as end:
            while True:
                message = await receive()
                chunk = _piece(message)
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit, hint)
                parts.append(chunk)
                if claim is not None and size > max(claim.size, SHARED_FROM):
                    end.reschedule(None)
                    await _claim(claim, most, receive, limit if message.get("more_body", False) else 0)
                if not message.get("more_body", False):
                    break
                end.reschedule(min(loop.time() + BODY_IDLE, deadline))
    except TimeoutError:
        raise RequestTimeout(f"The request body did not come in time; {size:,} bytes came.") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _piece(message: Mapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    piece: bytes = message.get("body", b"")
    return piece


async def _claim(claim: Claim, size: int, receive: Receive, left: int) -> None:
    """Hold memory for a body of which up to `left` bytes may follow. Raise TooMuchMemory.

    They are read in that case, and dropped: most clients read no answer before they have sent everything.
    """
    try:
        await claim.reach(size)
    except TooMuchMemory:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BODY_IDLE):
                while left > 0 and (message := await receive()).get("more_body", False):
                    left -= len(message.get("body", b""))
        raise


def _too_large(limit: int, hint: str) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit // MB} MB.", hint=hint)
