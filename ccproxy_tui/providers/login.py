"""What providers with a login share: asking a token endpoint, and one more try with a renewed token."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import Account, Guard
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.oauth import Headers
from ccproxy_tui.core.auth.oauth_login import CodeLogin, DeviceLogin
from ccproxy_tui.core.auth.pool import Pool, Strategy, rest_words
from ccproxy_tui.core.auth.quota import Reading
from ccproxy_tui.core.auth.refusal import Refusal, read_refusal, refusal_inside
from ccproxy_tui.core.auth.renewal import Ask, Renewal, TokenAnswer
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.errors import NoAccountServes, NoCredentials, UpstreamGarbled, UpstreamStalled
from ccproxy_tui.core.events import Billed, Marked
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.formats.opening import Opening
from ccproxy_tui.core.http_time import retry_after
from ccproxy_tui.core.limits import TOKEN_ANSWER, TOKEN_SECONDS
from ccproxy_tui.core.patience import patience
from ccproxy_tui.core.provider import Answer, Call, Report, close_answer, held_answer, keep_answer
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

_ASKS_TO_WAIT = (429, 503, 529)


def make_ask(title: str, http: Callable[[], Http], clock: Clock) -> Ask:
    """Return what asks a token endpoint. Each request has a connection of its own: they are hours apart."""

    async def ask(method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        upstream = Upstream(title, url, http().model_copy(update={"read_timeout": 20.0}))
        own = [("user-agent", f"ccproxy-tui/{__version__}"), ("accept-encoding", "identity")]
        try:
            async with patience(TOKEN_SECONDS):
                answer = await upstream.send(method, url, [*headers, *own], body)
                wait = retry_after(dict(answer.headers), clock.now()) if answer.status in _ASKS_TO_WAIT else None
                return TokenAnswer(answer.status, await _collect(answer, title), wait or 0.0)
        except TimeoutError:
            raise UpstreamStalled(f"{title} did not answer within {TOKEN_SECONDS:.0f} s.") from None
        finally:
            await upstream.close()

    return ask


async def _collect(answer: Answer, title: str) -> bytes:
    body = bytearray()
    try:
        async for chunk in answer.body:
            body += chunk
            if len(body) > TOKEN_ANSWER:
                raise UpstreamGarbled(f"{title} answered with more than a token.")
    finally:
        await close_answer(answer)
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Kind:
    """What all accounts of one provider have in common. `keys` are those of a login file that are the login."""

    name: str
    title: str
    keys: Sequence[str]
    hint: str
    renewal: Renewal
    make_login: Callable[[], CodeLogin | DeviceLogin]
    check: Callable[[Credential], Awaitable[Reading]]


def make_pool(context: Context, kind: Kind, own: JsonFile, labels: Mapping[str, Path]) -> Pool:
    """The account of the vendor's own tool, and those that the settings name: `claude`, `claude:work`."""
    accounts = [_make_account(context, kind, kind.name, kind.title, own)]
    for label, path in labels.items():
        place = path.expanduser()
        file = JsonFile([place], place, own.parse, context.clock, keys=kind.keys, owner_locks=own.owner_locks)
        accounts.append(_make_account(context, kind, f"{kind.name}:{label}", f"{kind.title} ({label})", file))
    return Pool(accounts, context.clock)


def _make_account(context: Context, kind: Kind, name: str, title: str, file: JsonFile) -> Account:
    return Account(
        name,
        title,
        file,
        kind.renewal,
        context.clock,
        context.paths.state / "logins",
        kind.hint,
        make_login=kind.make_login,
        check=kind.check,
        guard=guard_of(context, name),
    )


def guard_of(context: Context, name: str) -> Callable[[], Guard]:
    """The settings for one account, read anew each time: they may change while the proxy runs."""

    def guard() -> Guard:
        accounts = context.settings().accounts
        return Guard(plan_only="*" in accounts.plan_only or name in accounts.plan_only, alarms=accounts.quota_alarms)

    return guard


def turns_of(context: Context, strategy: Strategy) -> Turns:
    return Turns(strategy, context.settings().accounts.hold_seconds)


def account_word(account: Account, credential: Credential, default: str) -> str:
    """How an exchange names who served it: the label of one of several, else the plan."""
    return account.provider.partition(":")[2] or credential.plan or default


async def ask_usage(upstream: Upstream, url: str, headers: Headers) -> dict[str, Any]:
    """A usage document. Raises ProxyError; UpstreamGarbled when it is no JSON object."""
    document = read_object(await read_all(await upstream.send("GET", url, headers, b"")))
    if not document:
        raise UpstreamGarbled("The provider's answer is no JSON object.")
    return document


@dataclass(frozen=True, slots=True)
class Turns:
    """How a pool is asked: in which order, and how long a request may wait for an account to be back."""

    strategy: Strategy
    hold_seconds: float = 0.0


async def send_by(
    pool: Pool, turns: Turns, call: Call, report: Report, send: Callable[[Account, Credential], Awaitable[Answer]]
) -> Answer:
    """Ask with one account after the other until one serves. Nothing has gone to the client by then.

    One that rests is asked only when nobody else gave any answer at all. When all rest and holding is on, the request
    waits for the first that is back; the person can stop it, or let an account serve again. Raises NoCredentials,
    NoAccountServes.
    """
    asking = _Asking(pool, turns, call, report, send)
    return await asking.run()


class _Asking:
    def __init__(
        self,
        pool: Pool,
        turns: Turns,
        call: Call,
        report: Report,
        send: Callable[[Account, Credential], Awaitable[Answer]],
    ) -> None:
        self._pool = pool
        self._turns = turns
        self._call = call
        self._report = report
        self._send = send
        self._deadline = time.monotonic() + turns.hold_seconds

    async def run(self) -> Answer:
        await self._hold()
        while True:
            answer, served = await self._round()
            if served or not await self._hold():
                return answer

    async def _round(self) -> tuple[Answer, bool]:
        """Everybody's turn. The answer, and whether it is more than the last one's refusal."""
        refused: Answer | None = None
        problem: NoCredentials | None = None
        for account in self._order():
            if refused is not None and self._pool.rest_of(account, self._call.model):
                continue  # another request may have heard its refusal since the order was made
            try:
                answer = await send_with(account, self._call.exchange, self._report, self._send)
            except NoCredentials as found:
                problem = found
                self._mark("account unusable", f"{account.provider}: {found.text}")
                continue
            answer, refusal = await self._judge(answer)
            if refusal is None:
                if answer.status < 400:
                    self._pool.note_served(account, self._call.session, self._call.model)
                return answer, True
            rest = self._pool.note_refused(account, refusal)
            self._mark("account refused", f"{account.provider}: {rest_words(rest, self._pool.now())}")
            refused = answer
        if refused is not None:
            return refused, False
        assert problem is not None  # there is at least one account, and it had no credentials
        raise problem

    def _order(self) -> list[Account]:
        order = self._pool.order(self._call.session, self._call.model, self._turns.strategy)
        if order:
            return order
        barred = "; ".join(f"{account.provider} {account.barred()}" for account in self._pool.accounts)
        raise NoAccountServes(f"No account may serve: {barred}.", hint="The Accounts screen lets one serve again.")

    async def _judge(self, answer: Answer) -> tuple[Answer, Refusal | None]:
        """Whether another account may serve better. A refusal's body is in memory then, its connection free."""
        model, dialect = self._call.model, self._call.format
        if answer.status < 400:
            if dialect is None or len(self._pool.accounts) < 2 or "event-stream" not in answer.header("content-type"):
                return answer, None
            return await _open(answer, Opening(dialect), model)
        answer, body = await keep_answer(answer)
        return answer, read_refusal(answer.status, dict(answer.headers), body, model, self._pool.wall_time())

    async def _hold(self) -> bool:
        """Wait until somebody is back, when everybody rests and that is soon enough. Whether it is worth asking."""
        if self._turns.hold_seconds <= 0 or (soonest := self._pool.soonest(self._call.model)) is None:
            return False
        first, until = soonest
        left = until - self._pool.now()
        if left > self._deadline - time.monotonic():
            return False
        self._mark("holding", f"{first.provider} is back in {left:.0f} s")
        await self._pool.wait(left)
        return True

    def _mark(self, name: str, detail: str) -> None:
        self._report(Marked(self._call.exchange, name, detail))


async def _open(answer: Answer, opening: Opening, model: str) -> tuple[Answer, Refusal | None]:
    """Look at the first events of a stream, which then still holds them."""
    seen: list[bytes] = []
    body = aiter(answer.body)
    try:
        while not opening.decided and (chunk := await anext(body, None)) is not None:
            seen.append(chunk)
            opening.feed(chunk)
    except BaseException:  # cancelled, too: nobody else knows of this answer yet
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


async def send_with(
    account: Account, exchange: str, report: Report, send: Callable[[Account, Credential], Awaitable[Answer]]
) -> Answer:
    """Send; when the token is refused, once more with a renewed one. Nothing has gone to the client by then."""
    credential = await account.credential()
    answer = await send(account, credential)
    if answer.status == 401 and credential.renewable:
        try:
            renewed = await account.credential_after_refusal(credential.secret)
        except NoCredentials as problem:
            report(Marked(exchange, "login refused", problem.text))
            return answer
        await close_answer(answer)
        report(Marked(exchange, "token renewed", "after a 401"))
        answer = await send(account, renewed)
    if account.note_answer(answer.headers) == "paid" and answer.status < 400:
        report(Billed(exchange, "extra usage"))
    return answer
