"""Several accounts of one provider: which one serves, which ones rest, and for how long."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.credentials import duration_word
from ccproxy_tui.core.auth.refusal import Refusal
from ccproxy_tui.core.system.clock import Clock

Strategy = Literal["sticky", "failover", "round_robin", "soonest_reset"]

_SESSIONS = 2000
_LOOK = 5.0  # seconds: a timer of the loop does not see that the machine was suspended


@dataclass(frozen=True, slots=True)
class Rest:
    """An account serves no model whose name holds `model` until then, in seconds since the start of the machine."""

    until: float
    why: str
    model: str = ""


class Pool:
    def __init__(self, accounts: Sequence[Account], clock: Clock) -> None:
        self.accounts = list(accounts)
        self._clock = clock
        self._rests: dict[str, list[Rest]] = {}
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._turn = 0
        self._woken = asyncio.Event()
        for account in self.accounts:
            account.wake = partial(self._wake, account)
            account.resting = partial(self._words, account)

    def now(self) -> float:
        """Return the time that cooldowns are measured by: no change of the wall clock moves their end."""
        return self._clock.since_boot()

    def wall_time(self) -> float:
        """Return seconds since the epoch, as providers name times."""
        return self._clock.now()

    def order(self, session: str, model: str, strategy: Strategy) -> list[Account]:
        """Who may serve, best first; those that rest come last, the one that is back first before the others.

        Accounts that the person has set aside, and those that would cost more than their plan, are not in it.
        """
        able = [account for account in self.accounts if not account.barred()]
        ready = [account for account in able if self.rest_of(account, model) is None]
        resting = [(rest.until, account) for account in able if (rest := self.rest_of(account, model)) is not None]
        return [*self._preferred(ready, session, strategy), *(one for _, one in sorted(resting, key=lambda it: it[0]))]

    def soonest(self, model: str) -> tuple[Account, float] | None:
        """The account that is back first and when, if all that may serve are resting. Takes nobody's turn."""
        able = [account for account in self.accounts if not account.barred()]
        rests = [(account, self.rest_of(account, model)) for account in able]
        resting = [(account, rest.until) for account, rest in rests if rest is not None]
        return min(resting, key=lambda it: it[1]) if resting and len(resting) == len(able) else None

    def _preferred(self, ready: list[Account], session: str, strategy: Strategy) -> list[Account]:
        if len(ready) < 2:
            return ready
        if strategy == "round_robin":
            self._turn += 1
            start = self._turn % len(ready)
            return ready[start:] + ready[:start]
        if strategy == "soonest_reset":
            return sorted(ready, key=_reset)
        if strategy == "sticky" and (chosen := self._sessions.get(session)) is not None:
            return sorted(ready, key=lambda account: account.provider != chosen)
        return ready

    def note_served(self, account: Account, session: str, model: str) -> None:
        """It serves: evidence counts more than any clock."""
        if rests := self._rests.get(account.provider):
            self._rests[account.provider] = [rest for rest in rests if rest.model not in model]
        if session:
            self._sessions[session] = account.provider
            self._sessions.move_to_end(session)
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)

    def note_refused(self, account: Account, refusal: Refusal) -> Rest:
        rest = Rest(self.now() + refusal.seconds, refusal.why, refusal.model)
        others = [one for one in self._rests_of(account) if one.model != rest.model]
        self._rests[account.provider] = [*others, rest]
        account.note(rest_words(rest, self.now()))
        return rest

    def rest_of(self, account: Account, model: str) -> Rest | None:
        """The longest of the rests that keep an account from serving a model."""
        rests = [rest for rest in self._rests_of(account) if rest.model in model]
        return max(rests, key=lambda rest: rest.until, default=None)

    async def wait(self, seconds: float) -> None:
        """Wait so many seconds, those of a suspend included, or until you have let an account serve again."""
        self._woken.clear()
        ends = self.now() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (left := ends - self.now()) > 0 and not self._woken.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(left, _LOOK)):
                            await self._woken.wait()

    def _wake(self, account: Account) -> None:
        self._rests.pop(account.provider, None)
        self._woken.set()

    def _words(self, account: Account) -> str:
        rest = max(self._rests_of(account), key=lambda one: (not one.model, one.until), default=None)
        return "" if rest is None else rest_words(rest, self.now())

    def _rests_of(self, account: Account) -> list[Rest]:
        rests = self._rests.get(account.provider)
        if not rests:
            return []
        now = self.now()
        current = self._rests[account.provider] = [rest for rest in rests if rest.until > now]
        return current


@dataclass(frozen=True, slots=True)
class Turns:
    """How accounts are asked: in which order, and how many seconds a request may wait for one to be back."""

    pool: Pool
    strategy: Strategy
    hold_seconds: float = 0.0


def rest_words(rest: Rest, now: float) -> str:
    """`cooling 38s (too fast: claude-sonnet-5)`."""
    why = f"{rest.why}: {rest.model}" if rest.model else rest.why
    return f"cooling {duration_word(rest.until - now)} ({why})"


def _reset(account: Account) -> float:
    windows = [window.resets for window in account.view().windows if window.resets is not None]
    return min(windows, default=float("inf"))
