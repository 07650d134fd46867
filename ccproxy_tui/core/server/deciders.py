"""Who may decide: permission requests, rules, settings and accounts are changed by the user at a terminal.

The token and the socket prove the user, but each program of the user has them, agents as well. So the process at the
other end is looked at: it must stand at a terminal and must not descend from an agent. An equal user can get around
this (tmux send-keys, ptrace, a terminal that another program opens for it); it is a fence, and a record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ccproxy_tui.core.ancestry import Line, agent_above, agent_of, describe, line_of, program_of, runs, terminal_of
from ccproxy_tui.core.errors import Forbidden
from ccproxy_tui.core.peers import peer_of
from ccproxy_tui.core.processes import Process
from ccproxy_tui.core.socket_owner import Closed, NotOfThisMachine, owner_of
from ccproxy_tui.core.supervisor import Tasks

log = logging.getLogger(__name__)

Mode = Literal["terminal", "no_agent", "any"]
Scale = Literal["see", "act", "decide"]

_DECIDER = "ccproxy.decider"  # in the scope of a request that may decide
_MOST_AGENTS = 1000
_SETTING = "permissions.deciders"


Handler = Callable[[Request], Awaitable[Response]]


class Guard(Protocol):
    """Makes a handler of the control API one that checks who sends a request.

    Every POST is at least an act, which is not for agents; one that decides needs a terminal; "see" changes nothing.
    """

    def __call__(self, handler: Handler, scale: Scale = "act") -> Handler: ...


class Decider(NamedTuple):
    """Who sent a request: in few words for the card, and the facts for the record."""

    by: str
    facts: str = ""


UNKNOWN = Decider("unknown")


class _Ended(Exception):
    """Who has connected is gone: another process, which may be an agent, holds the connection now."""


class Deciders:
    """`mode` is read once: an agent that edits the settings file changes nothing until the user restarts the proxy."""

    def __init__(self, mode: Mode, tasks: Tasks) -> None:
        self._mode = mode
        self._tasks = tasks
        self._proxy = os.getpid()
        self._own_line = frozenset(one.process for one in line_of(self._proxy))
        self._agents: OrderedDict[Process, None] = OrderedDict()
        self._looking: set[asyncio.Task[None]] = set()  # for who asks over TCP

    # --- agents ---

    async def asker_of(self, scope: Scope) -> Process | None:
        """Return the agent that a hook command or script asks for, and remember it; None where it can't be known.

        Over TCP the process is looked for in the background, which takes a while: no rule is bound to it.
        """
        pid = peer_of(scope).pid
        if pid is None:
            looking = self._tasks.start(self._note_client(scope), name="who asks")
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
            return None
        agent = await asyncio.to_thread(lambda: agent_of(line_of(pid), self._own_line))
        self._note(agent)
        return agent

    async def _note_client(self, scope: Scope) -> None:
        """A tool that asks over TCP is an agent, too: nothing that it starts may answer."""

        def find() -> Process | None:
            with contextlib.suppress(NotOfThisMachine, Closed):
                pid = owner_of(scope)
                return agent_of(line_of(pid), self._own_line, itself=True) if pid is not None else None
            return None

        self._note(await asyncio.to_thread(find))

    def _note(self, agent: Process | None) -> None:
        if agent is None:
            return
        self._agents[agent] = None
        self._agents.move_to_end(agent)
        while len(self._agents) > _MOST_AGENTS:
            self._agents.popitem(last=False)

    def _living(self) -> set[Process]:
        """The agents that still run."""
        for agent in [one for one in list(self._agents) if not runs(one)]:
            self._agents.pop(agent, None)
        return set(self._agents)

    # --- deciding ---

    async def check(self, scope: Scope, scale: Scale) -> None:
        """Let a request pass that changes something, and note who sent it. Raises Forbidden with reason and setting.

        "act" keeps agents out; "decide" wants a terminal as well.
        """
        decider, problem = await self._judged(scope, scale)
        what = f"{scope['method']} {scope['path'][:200]}"
        if problem:
            log.warning("%s is refused: %s (%s)", what, problem, decider.facts or decider.by)
            raise Forbidden(
                f"This process may not do that: {problem}.",
                hint=f"Do it in a terminal of your own; the setting {_SETTING} opens this for bridges and services.",
            )
        log.info("%s by %s: %s", what, decider.by, decider.facts)
        scope[_DECIDER] = decider

    async def may_decide(self, scope: Scope) -> bool:
        """Return whether the front end that sent this could decide, so that it counts as one that answers."""
        _, problem = await self._judged(scope, "decide")
        return not problem

    async def _judged(self, scope: Scope, scale: Scale) -> tuple[Decider, str]:
        """As `_judge`, once it is known who has asked until now: an agent may be quick to answer itself."""
        if self._looking:
            await asyncio.wait(set(self._looking))
        return await asyncio.to_thread(self._judge, scope, scale)

    def _judge(self, scope: Scope, scale: Scale) -> tuple[Decider, str]:
        """Who it is, and why that process may not; an empty reason when it may."""
        try:
            line = self._line(scope)
        except NotOfThisMachine:
            return Decider(f"signed over TCP from {_client(scope)}"), ""
        except _Ended as ended:
            return UNKNOWN, "" if self._mode == "any" else str(ended)
        terminal = terminal_of(line)
        decider = UNKNOWN
        if line:
            program = program_of(line[0].pid, line)
            decider = Decider(
                f"you ({program}, {terminal})" if terminal else f"{program} without a terminal", describe(line)
            )
        return decider, self._problem(line, terminal, scale)

    def _problem(self, line: Line, terminal: str, scale: Scale) -> str:
        if self._mode == "any":
            return ""
        if not line:
            return "the system does not say which process it is" if self._mode == "terminal" or scale == "act" else ""
        if agent := agent_above(line, self._proxy, self._living()):
            return agent
        if self._mode == "terminal" and scale == "decide" and not terminal:
            return "it has no terminal of its own"
        return ""

    def _line(self, scope: Scope) -> Line:
        """The process at the other end, and its ancestors. Raises NotOfThisMachine, _Ended."""
        peer = peer_of(scope)
        if peer.pid is None:
            try:
                pid = owner_of(scope)
            except Closed:
                raise _Ended("the process that has connected has closed its end") from None
            if pid is not None and not (line := line_of(pid)):
                raise _Ended(f"the process that has connected (pid {pid}) has ended")
            return line if pid is not None else []
        line = line_of(peer.pid)
        if not line or (peer.born != line[0].born and (peer.born or sys.platform == "linux")):
            raise _Ended(f"the process that has connected (pid {peer.pid}) has ended")
        return line


def decider_of(scope: Scope) -> Decider:
    """Return who may have sent this request, after `check`."""
    found = scope.get(_DECIDER)
    return found if isinstance(found, Decider) else UNKNOWN


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
