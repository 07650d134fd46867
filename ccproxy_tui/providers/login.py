"""What providers with a login share: asking a token endpoint, and one more try with a renewed token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.pool import FAILS_OVER, Pool, Strategy
from ccproxy_tui.core.auth.renewal import Ask, Headers
from ccproxy_tui.core.errors import NoCredentials
from ccproxy_tui.core.events import Marked
from ccproxy_tui.core.provider import Answer, Call, Report, close_answer, keep_answer
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.providers.upstream import Upstream

_ANSWER_LIMIT = 1024 * 1024


def make_ask(title: str, http: Callable[[], Http]) -> Ask:
    """Asks a token endpoint. A connection is made for each question: they are hours apart."""

    async def ask(method: str, url: str, headers: Headers, body: bytes) -> tuple[int, bytes]:
        upstream = Upstream(title, url, http().model_copy(update={"read_timeout": 20.0}))
        own = [("user-agent", f"ccproxy-tui/{__version__}"), ("accept-encoding", "identity")]
        try:
            answer = await upstream.send(method, url, [*headers, *own], body)
            try:
                parts = [chunk async for chunk in answer.body]
            finally:
                await close_answer(answer)
            return answer.status, b"".join(parts)[:_ANSWER_LIMIT]
        finally:
            await upstream.close()

    return ask


async def send_by(
    pool: Pool, strategy: Strategy, call: Call, report: Report, send: Callable[[Credential], Awaitable[Answer]]
) -> Answer:
    """Ask with one account after the other until one serves. Nothing has gone to the client by then.

    One that rests is asked only when nobody else gave any answer at all.
    """
    refused: Answer | None = None
    problem: NoCredentials | None = None
    for account in pool.order(call.session, strategy):
        if refused is not None and account.resting():
            break
        try:
            answer = await send_with(account, call.exchange, report, send)
        except NoCredentials as found:
            problem = found
            report(Marked(call.exchange, "account unusable", f"{account.provider}: {found.text}"))
            continue
        if len(pool.accounts) > 1:
            pool.note(account, call.session, answer.status, answer.headers)
        if answer.status not in FAILS_OVER:
            return answer
        report(Marked(call.exchange, "next account", f"{account.provider}: {account.resting()}"))
        refused = await keep_answer(answer)
    if refused is not None:
        return refused
    assert problem is not None  # there is at least one account, and it had no credentials
    raise problem


async def send_with(
    account: Account, exchange: str, report: Report, send: Callable[[Credential], Awaitable[Answer]]
) -> Answer:
    """Send; when the token is refused, once more with a renewed one. Nothing has gone to the client by then."""
    credential = await account.credential()
    answer = await send(credential)
    account.note_answer(answer.headers)
    if answer.status != 401 or credential.kind != "oauth":
        return answer
    try:
        renewed = await account.credential(stale=credential.secret)
    except NoCredentials as problem:
        report(Marked(exchange, "login refused", problem.text))
        return answer
    await close_answer(answer)
    report(Marked(exchange, "token renewed", "after a 401"))
    answer = await send(renewed)
    account.note_answer(answer.headers)
    return answer
