"""The rules that are in force: those of the settings, and those that a person gave for a while; with their hits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.permissions.request import PermissionRequest
from ccproxy_tui.core.permissions.rules import Rule, decide


@dataclass(frozen=True, slots=True)
class Loan:
    """A rule for a while: until then, in seconds since the epoch; None for as long as the proxy runs."""

    rule: Rule
    until: float | None


class Hits(NamedTuple):
    """How often a rule has answered, and when last (seconds since the epoch; 0 for never)."""

    times: int = 0
    last: float = 0.0


class RuleBook:
    """`kept` gives the rules of the settings, as they are now."""

    def __init__(self, clock: Clock, kept: Callable[[], Iterable[Rule]]) -> None:
        self._clock = clock
        self._kept = kept
        self._loans: list[Loan] = []
        self.hits: dict[str, Hits] = {}

    def loans(self) -> list[Loan]:
        now = self._clock.now()
        self._loans = [loan for loan in self._loans if loan.until is None or loan.until > now]
        return list(self._loans)

    def rules(self) -> list[Rule]:
        return [*(loan.rule for loan in self.loans()), *self._kept()]

    def lend(self, rules: Iterable[Rule], hours: float | None) -> list[Loan]:
        until = None if hours is None else self._clock.now() + hours * 3600
        loans = [Loan(rule, until) for rule in rules]
        self._loans += loans
        return loans

    def lend_again(self, loans: Iterable[Loan]) -> None:
        self._loans += loans

    def take_back(self, loans: Iterable[Loan]) -> None:
        gone = {id(loan) for loan in loans}  # an equal one may have been lent before
        self._loans = [loan for loan in self._loans if id(loan) not in gone]

    def settle(self, request: PermissionRequest) -> Rule | None:
        """The rule that allows or denies it; None when a person must."""
        rule = decide(self.rules(), request)
        if rule is not None:
            self.hits[rule.text] = Hits(self.hits.get(rule.text, Hits()).times + 1, self._clock.now())
        return rule


def count_allowed(rules: Sequence[Rule], asked: Iterable[PermissionRequest]) -> tuple[int, int]:
    """How many of these requests the rules would have allowed, of how many."""
    requests = list(asked)
    found = [decide(rules, request) for request in requests]
    return sum(rule is not None and rule.action == "allow" for rule in found), len(requests)
