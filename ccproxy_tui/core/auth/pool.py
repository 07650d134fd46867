"""Several accounts of one provider: which one serves, which ones rest, and for how long.

An account that was refused rests: until its window starts anew when its plan is used up, as long as the answer says
when it was asked too fast, a while when its login is refused, a moment when the provider is overloaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.credentials import duration_word
from ccproxy_tui.core.auth.quota import read_number
from ccproxy_tui.core.clock import Clock

Strategy = Literal["sticky", "failover", "round_robin", "soonest_reset"]

_SESSIONS = 2000
_LOGIN_REST = 600.0
_OVERLOAD_REST = 20.0
_FAST_REST = 60.0
_LONGEST_REST = 7 * 24 * 3600.0
# Answers after which another account may still serve.
FAILS_OVER = frozenset({401, 403, 429, 503, 529})


@dataclass(frozen=True, slots=True)
class Rest:
    until: float
    why: str


class Pool:
    def __init__(self, accounts: Sequence[Account], clock: Clock) -> None:
        self.accounts = list(accounts)
        self._clock = clock
        self._rests: dict[str, Rest] = {}
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._turn = 0
        for account in self.accounts:
            account.wake = partial(self._wake, account)
            account.resting = partial(self._words, account)

    def order(self, session: str, strategy: Strategy) -> list[Account]:
        """Who may serve, best first; those that rest come last, the one that is back first before the others."""
        ready = [account for account in self.accounts if self._rest_of(account) is None]
        resting = [account for account in self.accounts if account not in ready]
        resting.sort(key=lambda account: self._rests[account.provider].until)
        return [*self._preferred(ready, session, strategy), *resting]

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

    def note(self, account: Account, session: str, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Learn from an answer: who served a session, and who must rest."""
        why, seconds = _rest_after(status, dict(headers), self._clock.now())
        if seconds > 0:
            self._rests[account.provider] = Rest(self._clock.now() + min(seconds, _LONGEST_REST), why)
        elif status < 400:
            self._rests.pop(account.provider, None)  # it serves: evidence counts more than any clock
            if session:
                self._sessions[session] = account.provider
                self._sessions.move_to_end(session)
                while len(self._sessions) > _SESSIONS:
                    self._sessions.popitem(last=False)

    def _wake(self, account: Account) -> None:
        self._rests.pop(account.provider, None)

    def _words(self, account: Account) -> str:
        rest = self._rest_of(account)
        return "" if rest is None else f"cooling {duration_word(rest.until - self._clock.now())} ({rest.why})"

    def _rest_of(self, account: Account) -> Rest | None:
        rest = self._rests.get(account.provider)
        if rest is not None and rest.until <= self._clock.now():
            del self._rests[account.provider]
            return None
        return rest


def _rest_after(status: int, headers: dict[str, str], now: float) -> tuple[str, float]:
    """Why and how long an account must rest after this answer; zero seconds when it need not."""
    if status in (401, 403):
        return "login refused", _LOGIN_REST
    if status == 429:
        if headers.get("anthropic-ratelimit-unified-status") == "rejected":
            resets = read_number(headers.get("anthropic-ratelimit-unified-reset", "")) or 0.0
            return "plan used up", resets - now if resets > now else _FAST_REST
        return "too fast", read_number(headers.get("retry-after", "")) or _FAST_REST
    return ("overloaded", _OVERLOAD_REST) if status in (503, 529) else ("", 0.0)


def _reset(account: Account) -> float:
    windows = [window.resets for window in account.view().windows if window.resets is not None]
    return min(windows, default=float("inf"))
