"""Asks upstreams, and nothing else does.

Two ladders are climbed until one answers: the candidates that the model table gives, and the accounts of each. Nothing
has gone to the client by then.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.pool import Turns, rest_words
from ccproxy_tui.core.auth.reach import Reach
from ccproxy_tui.core.errors import NoAccountServes, NoCredentials, RouteNotFound, UpstreamError, UpstreamGarbled
from ccproxy_tui.core.exchange.judging import judge
from ccproxy_tui.core.exchange.preparing import Plan, Preparer
from ccproxy_tui.core.formats.report import Note
from ccproxy_tui.core.model_map import Candidate
from ccproxy_tui.core.provider import (
    Answer,
    Call,
    Prepares,
    Provider,
    Recorder,
    RunsAgents,
    UpstreamRequest,
    close_answer,
    runs,
)
from ccproxy_tui.core.records.events import Billed, Converted, Event, Marked, Routed, UpstreamAnswered, UpstreamAsked
from ccproxy_tui.core.text.redact import redact_headers

Publish = Callable[[Event], None]
Hook = Callable[[Call, UpstreamRequest], Awaitable[UpstreamRequest]]

# Refusals after which another model or provider may still serve.
_FALL_BACK = frozenset({401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529})


class Record:
    """Publishes what happens to one call while a provider serves it (`core.provider.Recorder`)."""

    def __init__(self, publish: Publish, provider: str, call: Call) -> None:
        self._publish = publish
        self._provider = provider
        self._call = call

    def routed(self, account: str, billing: str) -> None:
        call = self._call
        self._publish(Routed(call.exchange, self._provider, account, call.format or "", billing))

    def asked(self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        self._publish(UpstreamAsked(self._call.exchange, method, url, tuple(redact_headers(headers)), body))

    def changed(self, notes: Iterable[Note]) -> None:
        if found := tuple(notes):
            self._publish(Converted(self._call.exchange, found))

    def billed(self, pool: str) -> None:
        self._publish(Billed(self._call.exchange, pool))

    def mark(self, name: str, detail: str) -> None:
        self._publish(Marked(self._call.exchange, name, detail))


class Sender:
    """Sends the calls of all exchanges. One per proxy.

    `hook` may change any request just before it is sent; what it returns is what is recorded and sent.
    """

    def __init__(self, providers: Mapping[str, Provider], preparer: Preparer, reach: Reach) -> None:
        self._providers = providers
        self._preparer = preparer
        self._reach = reach
        self.hook: Hook | None = None

    def begin(self, call: Call, candidates: Sequence[Candidate], publish: Publish, path: str) -> CandidateLadder:
        """Return the way of a client's call to `path` through `candidates`, of which there is at least one."""
        return CandidateLadder(self, call, candidates, publish, path)

    async def plan(self, call: Call, candidate: Candidate, path: str) -> Plan:
        """Raises RouteNotFound, InvalidRequest."""
        provider = self._providers.get(candidate.provider)
        if provider is None:
            raise RouteNotFound(f"No provider {candidate.provider!r} serves {path!r}.")
        return await self._preparer.prepare(call, provider, candidate.model)

    async def ask(self, plan: Plan, record: Record) -> Answer:
        """Ask a provider, and note whether anything answers there. Raises a ProxyError."""
        provider = plan.provider
        try:
            answer = await self._ask(plan, record)
        except UpstreamError as error:
            if not isinstance(provider, RunsAgents):  # that an agent does not start says nothing of the accounts
                self._reach.failed(provider.accounts(), error)
            raise
        if self._reach.is_troubled:
            self._reach.answered(provider.accounts())
        return answer

    async def _ask(self, plan: Plan, record: Record) -> Answer:
        provider, call = plan.provider, plan.call
        if runs(provider):
            return await provider.run(call, record)
        access = provider.access()
        if isinstance(access, Credential):
            return await self._attempt(provider, call, record, None, access)
        return await AccountLadder(access, call, record, partial(self._attempt, provider, call, record)).run()

    async def _attempt(
        self, provider: Prepares, call: Call, record: Record, account: Account | None, credential: Credential
    ) -> Answer:
        """One request to an upstream."""
        request = provider.prepare(call, credential)
        if self.hook is not None:
            request = await self.hook(call, request)
            record.changed(request.notes)
        label = account.provider.partition(":")[2] if account is not None else ""
        record.routed(label or request.account, request.billing)
        record.asked(request.method, request.url, request.headers, request.body)
        return await provider.connection.carry(request, record.mark)


class CandidateLadder:
    """The way of one client's call. `plan` is how the last candidate was asked, also when that failed."""

    def __init__(
        self, sender: Sender, call: Call, candidates: Sequence[Candidate], publish: Publish, path: str
    ) -> None:
        self._sender = sender
        self._call = call
        self._candidates = candidates
        self._publish = publish
        self._path = path
        self.plan: Plan | None = None

    async def run(self) -> tuple[Answer, Plan]:
        """Ask one candidate after the other until one answers; the last one's refusal is the client's to know.

        Raises a ProxyError.
        """
        for candidate in self._candidates[:-1]:
            try:
                answer, plan = await self._try(candidate)
            except (UpstreamError, NoCredentials, NoAccountServes, RouteNotFound) as problem:
                self._mark("fell back", f"{candidate.model}: {problem.text}")
                continue
            if answer.status not in _FALL_BACK:
                return answer, plan
            self._mark("fell back", f"{candidate.model}: {answer.status}")
            await close_answer(answer)
        return await self._try(self._candidates[-1])

    async def _try(self, candidate: Candidate) -> tuple[Answer, Plan]:
        plan = self.plan = await self._sender.plan(self._call, candidate, self._path)
        provider = plan.provider
        record = Record(self._publish, provider.name, plan.call)
        if plan.turns:
            record.mark("history", "the earlier turns were put in from this proxy's memory")
        if plan.call.notes or len(plan.report):
            record.changed((*plan.report, *plan.call.notes))
        answer = await self._sender.ask(plan, record)
        if not (200 <= answer.status < 300 or 400 <= answer.status < 600):
            self._publish(UpstreamAnswered(self._call.exchange, answer.status, tuple(redact_headers(answer.headers))))
            await close_answer(answer)
            raise UpstreamGarbled(
                f"{provider.name} answered {answer.status}: redirects are not followed, and not passed on."
            )
        return answer, plan

    def _mark(self, name: str, detail: str) -> None:
        self._publish(Marked(self._call.exchange, name, detail))


class AccountLadder:
    """The way of one call through the accounts of its provider.

    One in cooldown is asked only when no other one gave any answer at all. When all are and holding is on, the request
    waits for the first that is back; the user can stop it, or let an account serve again.
    """

    def __init__(
        self, turns: Turns, call: Call, record: Recorder, ask: Callable[[Account, Credential], Awaitable[Answer]]
    ) -> None:
        self._turns = turns
        self._pool = turns.pool
        self._call = call
        self._record = record
        self._ask = ask
        self._deadline = time.monotonic() + turns.hold_seconds

    async def run(self) -> Answer:
        """Raises NoCredentials, NoAccountServes."""
        await self._hold()
        while True:
            answer, has_served = await self._round()
            if has_served or not await self._hold():
                return answer

    async def _round(self) -> tuple[Answer, bool]:
        """Ask each account once. Return the answer, and whether it is more than the last one's refusal."""
        refused: Answer | None = None
        problem: NoCredentials | None = None
        for account in self._order():
            if refused is not None and self._pool.rest_of(account, self._call.model):
                continue  # another request may have heard its refusal since the order was made
            try:
                answer = await self._ask_with(account)
            except NoCredentials as found:
                problem = found
                self._record.mark("account unusable", f"{account.provider}: {found.text}")
                continue
            is_only = len(self._pool.accounts) < 2
            answer, refusal = await judge(answer, self._call, self._pool.wall_time(), is_only=is_only)
            if refusal is None:
                if answer.status < 400:
                    self._pool.note_served(account, self._call.session, self._call.model)
                return answer, True
            rest = self._pool.note_refused(account, refusal)
            self._record.mark("account refused", f"{account.provider}: {rest_words(rest, self._pool.now())}")
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

    async def _ask_with(self, account: Account) -> Answer:
        """Ask with one account; when its token is refused, once more with a renewed one. Raises NoCredentials."""
        credential = await account.credential()
        answer = await self._ask(account, credential)
        if answer.status == 401 and credential.renewable:
            try:
                renewed = await account.credential_after_refusal(credential.secret)
            except NoCredentials as problem:
                self._record.mark("login refused", problem.text)
                return answer
            await close_answer(answer)
            self._record.mark("token renewed", "after a 401")
            answer = await self._ask(account, renewed)
        if account.note_answer(answer.headers) == "paid" and answer.status < 400:
            self._record.billed("extra usage")
        return answer

    async def _hold(self) -> bool:
        """Wait until an account is back, when all are in cooldown and that is soon enough. Whether it was."""
        if self._turns.hold_seconds <= 0 or (soonest := self._pool.soonest(self._call.model)) is None:
            return False
        first, until = soonest
        left = until - self._pool.now()
        if left > self._deadline - time.monotonic():
            return False
        self._record.mark("holding", f"{first.provider} is back in {left:.0f} s")
        await self._pool.wait(left)
        return True
