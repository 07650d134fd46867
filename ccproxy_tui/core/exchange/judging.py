"""What an answer says of the account that it came with, found out before anything goes to the client."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ccproxy_tui.core.auth.refusal import Refusal, read_refusal, refusal_inside
from ccproxy_tui.core.formats.opening import Opening
from ccproxy_tui.core.provider import Answer, Call, close_answer, held_answer, keep_answer


async def judge(answer: Answer, call: Call, now: float, *, is_only: bool) -> tuple[Answer, Refusal | None]:
    """Return the answer, and why another account may serve better. `now` is in seconds since the epoch.

    A refusal's body is in memory then, its connection free. The first events of a stream are looked at when the account
    is not the only one.
    """
    if answer.status < 400:
        if call.format is None or is_only or "event-stream" not in answer.header("content-type"):
            return answer, None
        return await _open(answer, Opening(call.format), call.model)
    answer, body = await keep_answer(answer)
    return answer, read_refusal(answer.status, dict(answer.headers), body, call.model, now)


async def _open(answer: Answer, opening: Opening, model: str) -> tuple[Answer, Refusal | None]:
    """Look at the first events of a stream, which then still holds them."""
    seen: list[bytes] = []
    body = aiter(answer.body)
    try:
        while not opening.decided and (chunk := await anext(body, None)) is not None:
            seen.append(chunk)
            opening.feed(chunk)
    except BaseException:  # cancelled, too: nothing else knows of this answer yet
        await close_answer(answer)
        raise
    if opening.failed is not None and (refusal := refusal_inside(opening.failed, model)) is not None:
        await close_answer(answer)
        return held_answer(answer, b"".join(seen)), refusal
    answer.body = _chained(seen, body)
    return answer, None


async def _chained(seen: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in seen:
        yield chunk
    async for chunk in rest:
        yield chunk
