"""Temporary rules against a simple model: whatever the user, the agents and the clock do, none answers for too long."""

from __future__ import annotations

from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ccproxy_tui.core.permissions.request import PermissionRequest
from ccproxy_tui.core.permissions.rule_book import Limits, RuleBook, TemporaryRule
from ccproxy_tui.core.permissions.rules import decide, parse_rule
from ccproxy_tui.core.system.processes import Process
from tests.fakes.clock import FakeClock

LIMITS = Limits(idle=1800, longest=8 * 3600)
PIDS = (1, 2)
SESSIONS = ("s1", "s2")
TOOLS = ("ls", "pwd")


class Model(NamedTuple):
    """A rule as the model knows it: `used` and `ends` on its own clock, `asker` as (pid, how often it was started)."""

    tool: str
    session: str
    asker: tuple[int, int] | None
    bound: bool
    ends: float
    used: float


class Rules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.lives = dict.fromkeys(PIDS, 0)
        self.ended: set[tuple[int, int]] = set()
        self.book = RuleBook(self.clock, list, lambda: LIMITS, self.runs)
        self.model: list[tuple[Model, TemporaryRule]] = []
        self.removed: list[tuple[Model, TemporaryRule]] = []

    def runs(self, process: Process) -> bool:
        life = self.lives[process.pid]
        return process.born == str(life) and (process.pid, life) not in self.ended

    def process(self, pid: int) -> tuple[Process, tuple[int, int]]:
        return Process(pid, str(self.lives[pid])), (pid, self.lives[pid])

    def holds(self, one: Model) -> bool:
        now = self.clock.steady
        if one.asker is not None and (one.asker in self.ended or self.lives[one.asker[0]] != one.asker[1]):
            return False
        return now < one.ends and not (one.bound and now >= one.used + LIMITS.idle)

    def sweep(self) -> None:
        """What has ended stays ended."""
        self.model = [pair for pair in self.model if self.holds(pair[0])]

    @rule(tool=st.sampled_from(TOOLS), session=st.sampled_from(SESSIONS), pid=st.sampled_from((0, *PIDS)))
    def lend_to_session(self, tool: str, session: str, pid: int) -> None:
        process, life = self.process(pid) if pid else (None, None)
        if life in self.ended:
            return
        rules = [parse_rule(f"Bash({tool}:*)", "allow", session=session)]
        [lent] = self.book.lend_to_session(rules, process)
        now = self.clock.steady
        self.model.append((Model(tool, session, life, True, now + LIMITS.longest, now), lent))

    @rule(tool=st.sampled_from(TOOLS), hours=st.sampled_from((0.5, 4, 24)))
    def lend(self, tool: str, hours: float) -> None:
        [lent] = self.book.lend([parse_rule(f"Bash({tool}:*)", "allow")], hours)
        now = self.clock.steady
        self.model.append((Model(tool, "", None, False, now + hours * 3600, now), lent))

    @rule(tool=st.sampled_from(TOOLS), session=st.sampled_from(SESSIONS), pid=st.sampled_from((0, *PIDS)))
    def ask(self, tool: str, session: str, pid: int) -> None:
        process, life = self.process(pid) if pid else (None, None)
        asked = PermissionRequest("Bash", {"command": tool}, "claude-code", session=session, asker=process)
        self.sweep()
        fitting = [
            place
            for place, (one, _) in enumerate(self.model)
            if one.tool == tool and one.session in ("", session) and one.asker in (None, life)
        ]
        answered = decide(self.book.rules_for(asked), asked)
        if answered is not None:
            self.book.count(answered)
        assert (answered is not None) == bool(fitting)
        for place in fitting:
            one, lent = self.model[place]
            if lent.rule is answered:
                self.model[place] = (one._replace(used=self.clock.steady), lent)

    @rule(seconds=st.sampled_from((1, 600, 1799, 1800, 3600, 4 * 3600, 9 * 3600)))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.clock.wall -= 500_000  # a wall clock that jumps prolongs nothing

    @rule()
    def detach(self) -> None:
        """The last front end leaves."""
        self.book.detach()
        self.model = [pair for pair in self.model if not pair[0].bound]
        self.removed = [pair for pair in self.removed if not pair[0].bound]

    @rule(pid=st.sampled_from(PIDS))
    def end(self, pid: int) -> None:
        self.ended.add((pid, self.lives[pid]))

    @rule(pid=st.sampled_from(PIDS))
    def reuse(self, pid: int) -> None:
        """Another program gets the number."""
        self.lives[pid] += 1

    @rule(place=st.integers(0, 5))
    def take_back(self, place: int) -> None:
        self.sweep()
        if self.model:
            pair = self.model.pop(place % len(self.model))
            self.book.take_back([pair[1]])
            self.removed.append(pair)

    @rule()
    def undo(self) -> None:
        if self.removed:
            pair = self.removed.pop()
            self.book.lend_again([pair[1]])
            self.model.append(pair)

    @invariant()
    def the_list_is_what_holds(self) -> None:
        self.sweep()
        assert [id(one) for one in self.book.temporary()] == [id(lent) for _, lent in self.model]


TestRules = Rules.TestCase


def test_hours_of_the_user_s_own_shorten_a_rule_for_the_session() -> None:
    clock = FakeClock()
    book = RuleBook(clock, list, lambda: LIMITS, lambda _: True)
    rules = [parse_rule("Bash(ls:*)", "allow", session="s")]
    [short] = book.lend_to_session(rules, None, 0.25)
    [long] = book.lend_to_session(rules, None, 1000)
    assert (short.ends - clock.steady, long.ends - clock.steady) == (900, LIMITS.longest)


@pytest.mark.parametrize("asker", [None, Process(2, "x"), Process(1, "later")])
def test_a_rule_of_a_process_answers_no_other_one_of_the_same_session(asker: Process | None) -> None:
    book = RuleBook(FakeClock(), list, lambda: LIMITS, lambda _: True)
    book.lend_to_session([parse_rule("Bash(ls:*)", "allow", session="s")], Process(1, "x"))
    asked = PermissionRequest("Bash", {"command": "ls"}, "claude-code", session="s", asker=asker)
    assert book.rules_for(asked) == []
