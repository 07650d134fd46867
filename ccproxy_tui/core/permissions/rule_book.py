"""The rules that are in force: those of the settings, and temporary ones; with their hits.

A rule for the session is the user's word to one agent while they watch it: it ends when it was not used for a while,
after some hours, with the process that asked, and when the last front end leaves. One with hours of its own, for a
project or everywhere, ends after these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ccproxy_tui.core.permissions.request import PermissionRequest
from ccproxy_tui.core.permissions.rules import Rule, decide
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.processes import Process


@dataclass(slots=True, eq=False)
class TemporaryRule:
    """Times are seconds since the start of the machine. `idle` is None for one that stays however seldom it is used.

    `asker` is the process whose requests it answers; None: those of its session, whoever sends them. `watch` counts
    how often all front ends had left before it was made; None: that does not matter to it.
    """

    rule: Rule
    ends: float
    used: float
    idle: float | None = None
    asker: Process | None = None
    watch: int | None = None

    @property
    def idle_end(self) -> float | None:
        return None if self.idle is None else self.used + self.idle


class Limits(NamedTuple):
    """Of a rule for the session, in seconds."""

    idle: float
    longest: float


class Hits(NamedTuple):
    """How often a rule has answered, and when last (seconds since the epoch; 0 for never)."""

    times: int = 0
    last: float = 0.0


class RuleBook:
    """`kept` gives the rules of the settings, as they are now; `runs` says whether a process still runs."""

    def __init__(
        self,
        clock: Clock,
        kept: Callable[[], Iterable[Rule]],
        limits: Callable[[], Limits],
        runs: Callable[[Process], bool],
    ) -> None:
        self._clock = clock
        self._kept = kept
        self._limits = limits
        self._runs = runs
        self._temporary: list[TemporaryRule] = []
        self._watch = 0
        self.hits: dict[str, Hits] = {}

    def temporary(self) -> list[TemporaryRule]:
        """Return those in force; those that have ended are gone for good."""
        self._temporary = [one for one in self._temporary if self._holds(one)]
        return list(self._temporary)

    def _holds(self, one: TemporaryRule) -> bool:
        now = self._clock.since_boot()
        if now >= one.ends or (one.idle_end is not None and now >= one.idle_end):
            return False
        return one.watch in (None, self._watch) and (one.asker is None or self._runs(one.asker))

    def lend(self, rules: Iterable[Rule], hours: float) -> list[TemporaryRule]:
        """Put rules in force for so many hours."""
        now = self._clock.since_boot()
        return self._add(TemporaryRule(rule, now + hours * 3600, now) for rule in rules)

    def lend_to_session(
        self, rules: Iterable[Rule], asker: Process | None, hours: float | None = None
    ) -> list[TemporaryRule]:
        """Put rules in force for a session, for the process `asker` alone where it is known; `hours` shortens them."""
        now, limits = self._clock.since_boot(), self._limits()
        longest = limits.longest if hours is None else min(hours * 3600, limits.longest)
        return self._add(TemporaryRule(rule, now + longest, now, limits.idle, asker, self._watch) for rule in rules)

    def _add(self, rules: Iterable[TemporaryRule]) -> list[TemporaryRule]:
        added = list(rules)
        self._temporary += added
        return added

    def lend_again(self, rules: Iterable[TemporaryRule]) -> None:
        """Bring back what was taken back; it ends when it would have ended."""
        self._temporary += rules

    def take_back(self, rules: Iterable[TemporaryRule]) -> None:
        gone = {id(one) for one in rules}  # an equal one may have been lent before
        self._temporary = [one for one in self._temporary if id(one) not in gone]

    def detach(self) -> None:
        """The last front end has left: rules for the session end, those that an undo could bring back as well."""
        self._watch += 1
        self.temporary()

    def rules_for(self, request: PermissionRequest) -> list[Rule]:
        """Return the rules that may answer a request: those of the settings, and temporary ones of its process."""
        given = [one.rule for one in self.temporary() if one.asker in (None, request.asker)]
        return [*given, *self._kept()]

    def count(self, rule: Rule) -> None:
        """Note that a rule has settled a request."""
        self.hits[rule.text] = Hits(self.hits.get(rule.text, Hits()).times + 1, self._clock.now())
        for one in self._temporary:
            if one.rule is rule:
                one.used = self._clock.since_boot()


def count_allowed(rules: Sequence[Rule], asked: Iterable[PermissionRequest]) -> tuple[int, int]:
    """How many of these requests the rules would have allowed, of how many."""
    requests = list(asked)
    found = [decide(rules, request) for request in requests]
    return sum(rule is not None and rule.action == "allow" for rule in found), len(requests)
