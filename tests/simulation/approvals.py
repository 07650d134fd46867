"""The permission service of one proxy, its agents and its front ends, and account of what became of each request."""

from __future__ import annotations

import asyncio
import functools
from random import Random
from typing import TYPE_CHECKING, Any

from ccproxy_tui.core.errors import RouteNotFound
from ccproxy_tui.core.permissions import Broker, Decision, Entry, PermissionRequest
from ccproxy_tui.core.permissions.broker import AlreadyAnswered
from ccproxy_tui.core.permissions.preview import look_at
from ccproxy_tui.core.permissions.request import Look
from ccproxy_tui.core.permissions.rule_book import Limits, RuleBook
from ccproxy_tui.core.permissions.rules import parse_rule
from ccproxy_tui.core.records.store import Store
from ccproxy_tui.core.server.desk import Desk, FileChanged, audit_row
from ccproxy_tui.core.settings.models import Permissions
from tests.simulation.history import History
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

_KEPT_RULE = parse_rule("Bash(ls:*)", "allow")
_LENT_RULE = parse_rule("Bash(git status:*)", "allow")
_COMMANDS = ("ls -l", "git status", "rm -rf build", "make", "cat notes")


@functools.cache
def _looked(command: str) -> Look:
    return look_at(PermissionRequest("Bash", {"command": command}, "script"))


def quick_look(asked: PermissionRequest) -> Look:
    """In the place of the product's `look_at`: what there is to see of a command is computed once, it has no state."""
    return _looked(asked.input["command"])


class Approvals:
    def __init__(self, world: World, process: Process, rng: Random) -> None:
        self._world, self._process, self._rng = world, process, rng
        self._settings = Permissions(
            timeout_seconds=rng.choice([5, 60]), without_front_end=rng.choice(["rules", "rules", "deny", "wait"])
        )
        self.broker = Broker(world.clock)
        self.broker.on_end = self._ended
        self.history = History(world, process, world.history) if world.has_history else None
        self._rules = RuleBook(world.clock, lambda: [_KEPT_RULE], lambda: Limits(1800, 8 * 3600), lambda _: True)
        watched = lambda: bool(self._front_ends)  # noqa: E731
        self._desk = Desk(self.broker, self._rules, lambda: self._settings, watched, Store(), lambda _: None)
        self._front_ends: set[str] = set()
        self._lent = False  # the user has lent a rule while the front ends were there that are there now
        self._recorded: dict[str, tuple[str, Decision | None]] = {}  # how each request ended
        self._decided: dict[str, Decision] = {}  # by a front end that was not told that it was late
        self._deadlines: dict[str, float] = {}  # as front ends have put them off
        self._late: set[asyncio.Task[Any]] = set()  # at the last look
        self._asking: dict[asyncio.Task[Any], float] = {}  # and when each request must have its answer

    # --- agents ---

    async def agent(self, name: str) -> None:
        """Ask now and then; go away now and then. In the proxy's own process: the connection ends with it."""
        rng = self._rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / 120))
            for _ in range(rng.choice([1, 1, 1, 2, 3])):
                asked = PermissionRequest("Bash", {"command": rng.choice(_COMMANDS)}, "script", session=name)
                task = self._process.start(self._ask(asked, name))
                self._asking[task] = self._world.loop.time() + self._settings.timeout_seconds
                task.add_done_callback(self._answered)
                if rng.random() < 0.2:
                    self._world.loop.call_later(rng.random() * 10, task.cancel)

    def _answered(self, task: asyncio.Task[Any]) -> None:
        del self._asking[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.failed(f"{self._process.name}: a permission request", error)

    async def _ask(self, asked: PermissionRequest, owner: str) -> None:
        began = self._world.loop.time()
        entry = await self._desk.settle(asked, owner)
        heard = entry.status, entry.decision
        if heard != self._recorded.get(entry.id):
            self._world.breaks(f"an agent heard {heard}, recorded is {self._recorded.get(entry.id)}")
        due = self._deadlines.get(entry.id, began + self._settings.timeout_seconds)
        if entry.status == "expired" and self._world.loop.time() < due - 0.001:
            self._world.breaks("a permission request expired before its time")
        if entry.status == "allowed" and not self._is_just(entry):
            self._world.breaks(f"{asked.input} was allowed by {entry.decision}")

    def _is_just(self, entry: Entry) -> bool:
        """Whether a front end that was there, or a rule in force, has allowed it."""
        decision = entry.decision
        assert decision is not None
        if entry.id in self._decided:
            return self._decided[entry.id] is decision
        command = entry.request.input["command"]
        return (decision.by == "rule Bash(ls:*)" and command.startswith("ls")) or (
            decision.by == "rule Bash(git status:*)" and command.startswith("git status") and self._lent
        )

    def _ended(self, entry: Entry) -> None:
        if entry.id in self._recorded:
            self._world.breaks(f"a permission request was decided twice: {entry.status}")
        self._recorded[entry.id] = entry.status, entry.decision
        if self.history is not None:
            self.history.note(audit_row(entry))

    def check(self) -> None:
        """Break the run when a request has waited for longer than it may, and still does at the next look."""
        if self._process.dead or self._process.stopped:
            return
        now, put_off = self._world.loop.time(), max(self._deadlines.values(), default=0.0)
        late = {task for task, due in self._asking.items() if now > max(due, put_off) and not task.done()}
        if late & self._late:
            self._world.breaks(f"a permission request in {self._process.name} has no answer")
        self._late = late

    # --- front ends ---

    async def front_end(self, name: str) -> None:
        """Come, decide, and leave."""
        rng = self._rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / 100))
            self._front_ends.add(name)
            for _ in range(rng.randint(1, 20)):
                await asyncio.sleep(rng.expovariate(1 / 12))
                if self.history is not None and rng.random() < 0.05:
                    await self.history.look()
                if self.broker.pending:
                    await self._act(name, self.broker.pending[0])
            self._front_ends.discard(name)
            if not self._front_ends:
                self._rules.detach()
                self._lent = False

    async def _act(self, name: str, entry: Entry) -> None:
        rng = self._rng
        try:
            if rng.random() < 0.2:
                seconds = rng.uniform(5, 60)
                self.broker.extend(entry.id, seconds)
                self._deadlines[entry.id] = self._world.loop.time() + seconds
                return
            if rng.random() < 0.1:
                self._rules.lend_to_session([_LENT_RULE], None)
                self._lent = True
            edited = {"command": "ls"} if rng.random() < 0.2 else None
            decision = Decision(allowed=rng.random() < 0.6, by=name, input=edited)
            await self._desk.check_files(entry)
            await asyncio.sleep(rng.choice([0, 0.001, 5]))
            self.broker.answer(entry.id, decision)
            self._decided[entry.id] = decision
            if self._recorded[entry.id][1] is not decision:
                self._world.breaks(f"{name} was told that its decision counts; it is {self._recorded[entry.id]}")
        except (AlreadyAnswered, RouteNotFound, FileChanged):
            pass  # another one was first

    def close(self) -> None:
        """The proxy stops in good order: whoever waits is told no."""
        self.broker.close()
        if self.broker.pending:
            self._world.breaks("permission requests wait for a proxy that has stopped")
