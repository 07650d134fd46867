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
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ccproxy_tui.core.errors import Forbidden
from ccproxy_tui.core.system.ancestry import (
    Line,
    agent_above,
    agent_of,
    describe,
    is_unchanged,
    line_of,
    mark_of,
    may_be_above,
    program_of,
    runs,
    terminal_of,
)
from ccproxy_tui.core.system.peers import Connection, connection_of, peer_of
from ccproxy_tui.core.system.processes import Process
from ccproxy_tui.core.system.socket_owner import Closed, NotOfThisMachine, owner_of
from ccproxy_tui.core.system.supervisor import Tasks

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


class _Found(NamedTuple):
    """A process that has connected, as it was when it first sent something that is checked."""

    decider: Decider
    line: Line = ()
    terminal: str = ""
    mark: str = ""  # of an agent


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
        self._found: WeakKeyDictionary[Connection, _Found] = WeakKeyDictionary()

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
        await self._note(agent)
        return agent

    async def _note_client(self, scope: Scope) -> None:
        """A tool that asks over TCP is an agent, too: nothing that it starts may answer."""

        def find() -> Process | None:
            with contextlib.suppress(NotOfThisMachine, Closed):
                pid = owner_of(scope)
                return agent_of(line_of(pid), self._own_line, itself=True) if pid is not None else None
            return None

        await self._note(await asyncio.to_thread(find))

    async def _note(self, agent: Process | None) -> None:
        """When there are too many, those go first that have ended."""
        if agent is None:
            return
        self._agents[agent] = None
        self._agents.move_to_end(agent)
        if len(self._agents) > _MOST_AGENTS:
            known = list(self._agents)
            for ended in await asyncio.to_thread(lambda: [one for one in known if not runs(one)]):
                self._agents.pop(ended, None)
        while len(self._agents) > _MOST_AGENTS:
            self._agents.popitem(last=False)

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
        """Who it is, and why that process may not; an empty reason when it may."""
        if self._looking:  # for who has asked until now: an agent may be quick to answer itself
            await asyncio.wait(set(self._looking))
        try:
            found = await self._find(scope)
        except NotOfThisMachine:
            return Decider(f"signed over TCP from {_client(scope)}"), ""
        except _Ended as ended:
            return UNKNOWN, "" if self._mode == "any" else str(ended)
        return found.decider, self._problem(found, scale)

    async def _find(self, scope: Scope) -> _Found:
        """Look for the process at the other end once per connection of a socket, and again once it has changed.

        Raises NotOfThisMachine, _Ended.
        """
        connection = connection_of(scope)
        found = self._found.get(connection) if connection is not None else None
        if found is not None and is_unchanged(found.line):
            return found
        found = await asyncio.to_thread(self._look, scope)
        if connection is not None and connection.peer.born and found.line:
            self._found[connection] = found
        return found

    def _look(self, scope: Scope) -> _Found:
        line = self._line(scope)
        if not line:
            return _Found(UNKNOWN)
        terminal, program = terminal_of(line), program_of(line[0].pid, line)
        by = f"you ({program}, {terminal})" if terminal else f"{program} without a terminal"
        return _Found(Decider(by, describe(line)), line, terminal, mark_of(line))

    def _problem(self, found: _Found, scale: Scale) -> str:
        if self._mode == "any":
            return ""
        line = found.line
        if not line:
            return "the system does not say which process it is" if self._mode == "terminal" or scale == "act" else ""
        agents = {agent for agent in may_be_above(line, self._agents) if runs(agent)}
        if agent := agent_above(line, self._proxy, agents) or found.mark:
            return agent
        if self._mode == "terminal" and scale == "decide" and not found.terminal:
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
