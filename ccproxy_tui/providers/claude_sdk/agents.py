"""All agents of the proxy: one for each session, a few kept ready for requests without one, and their ends.

A session is a conversation that Claude Code itself keeps on disk, under an id made of the client's. Its process may end
at any time (idle, old, making room, a restart of the proxy): the next request takes the conversation up again, exactly
that one.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ccproxy_tui.core.control.frames import AgentView, SdkView
from ccproxy_tui.core.errors import InvalidRequest, UpstreamRefused, UpstreamUnreachable
from ccproxy_tui.core.permissions import Entry, PermissionRequest
from ccproxy_tui.core.provider import Host
from ccproxy_tui.core.settings.agents import Claude
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.paths import private_dir
from ccproxy_tui.core.system.processes import memory_of
from ccproxy_tui.core.system.supervisor import Tasks
from ccproxy_tui.providers.claude_sdk.cli import (
    Cli,
    CliUnusable,
    agent_environ,
    find_cli,
    forget_transcript,
    has_sdk,
    transcript_of,
)
from ccproxy_tui.providers.claude_sdk.options import Options, arguments, files
from ccproxy_tui.providers.claude_sdk.process import ClaudeProcess

if TYPE_CHECKING:
    from ccproxy_tui.providers.claude_sdk.agent import Agent

log = logging.getLogger(__name__)

_NAMESPACE = uuid.UUID("7b1c9c0e-53a1-4f0e-9f63-0c2b9b0f7a51")  # of session ids; never changes
_SESSIONS_KEPT = 2000
_AFTER_LEASE = 0.5  # seconds: the turn that has just begun needs the processor more than the next agent does
Say = Callable[[str, str], None]  # a mark on the exchange: name, detail


@dataclass(slots=True)
class Session:
    """A client's conversation. `turn` is held by the request whose turn it is; `waiting` others want it."""

    name: str
    agent: Agent | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    requests: int = 0
    problem: str = ""


@dataclass(slots=True)
class Lease:
    """An agent for one turn. `remembers` says that it knows what was said before."""

    agent: Agent
    remembers: bool
    session: Session | None = None


class Agents:
    """`runtime` is a folder of this user alone."""

    def __init__(self, settings: Callable[[], Claude], environ: Mapping[str, str], clock: Clock, runtime: Path) -> None:
        self._settings = settings
        self._runtime = runtime
        self._environ = environ
        self._clock = clock
        self._tasks = Tasks()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._agents: dict[int, Agent] = {}
        self._ready: list[Agent] = []  # of the pool
        self._wanted: Options | None = None  # what the pool keeps ready
        self._warming = 0
        self._pool_used = clock.monotonic()
        self._freed = asyncio.Event()
        self._cli: tuple[str, Cli] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self.host: Host | None = None

    @property
    def url(self) -> str:
        return self.host.url if self.host is not None else ""

    def changed(self) -> None:
        if self.host is not None:
            self.host.notice()

    # --- leasing ---

    async def lease(self, options: Options, session: str, say: Say) -> Lease:
        """An agent of these options whose turn it is. Raises a ProxyError; give it back with `give_back`."""
        if not session:
            return Lease(await self._one_for_all(options, say), remembers=False)
        conversation = self._session(session)
        if conversation.turn.locked():
            say("queued", f"{conversation.waiting + 1} in this session")
        conversation.waiting += 1
        self.changed()
        try:
            await conversation.turn.acquire()
        finally:
            conversation.waiting -= 1
        try:
            agent, remembers = await self._agent_of(conversation, options, say)
        except BaseException as error:  # cancelled, too: the next request would wait for ever
            conversation.problem = str(error)
            conversation.turn.release()
            self.changed()
            raise
        conversation.requests += 1
        return Lease(agent, remembers, conversation)

    def _session(self, name: str) -> Session:
        session = self._sessions.setdefault(name, Session(name))
        self._sessions.move_to_end(name)
        while len(self._sessions) > _SESSIONS_KEPT:
            idle = next((one for one in self._sessions.values() if one.agent is None and not one.turn.locked()), None)
            if idle is None:
                break
            del self._sessions[idle.name]
        return session

    async def _agent_of(self, session: Session, options: Options, say: Say) -> tuple[Agent, bool]:
        """The live one, or a new process for the same conversation."""
        agent = session.agent
        if agent is not None and agent.state == "idle" and agent.process.alive:
            old = self._clock.monotonic() - agent.born > self._settings().sdk_session_pool.session_ttl
            if agent.options == options and not old:
                say("session", "its agent was there")
                return agent, True
        if agent is not None:
            session.agent = None
            await self._end(agent)
        name = str(uuid.uuid5(_NAMESPACE, f"{options.cwd}\0{session.name}"))
        known = await asyncio.to_thread(transcript_of, self._child_environ(options), name) is not None
        session.agent = await self._start(options, say, name, session=session.name, resume=known)
        say("session", "taken up again" if known else "new")
        return session.agent, known

    async def _one_for_all(self, options: Options, say: Say) -> Agent:
        """From the pool when one with these options is ready; else a new process. For one conversation alone."""
        pool = self._settings().sdk_pool
        if pool.enabled:
            self._wanted, self._pool_used = options, self._clock.monotonic()
            self._drop_others(options)
            agent = next((one for one in self._ready if one.process.alive), None)
            if agent is not None:
                self._ready.remove(agent)
                self._refill(_AFTER_LEASE)
                say("pool", "its agent was ready")
                return agent
            say("pool", "none was ready with these options")
        agent = await self._start(options, say)
        if pool.enabled:
            self._refill()
        return agent

    def give_back(self, lease: Lease, *, whole: bool) -> None:
        """After the turn. One that was cut short is interrupted first, in the background; then the next may begin."""
        self._tasks.start(self._settle(lease, whole=whole), name=f"agent {lease.agent.number}")

    async def _settle(self, lease: Lease, *, whole: bool) -> None:
        agent, session = lease.agent, lease.session
        try:
            if not whole and session is not None:
                await agent.interrupt(self._settings().sdk_session_pool.stream_interrupt_timeout)
            if session is None or agent.state == "dead" or agent.half_told:
                await self._end(agent)
                if session is not None:
                    session.agent = None
            if session is not None and agent.half_told:  # a conversation that begins in the middle is none
                await asyncio.to_thread(forget_transcript, self._child_environ(agent.options), agent.name)
        finally:
            if session is not None:
                session.problem = agent.problem
                session.turn.release()
            self._freed.set()
            self.changed()

    # --- starting and ending ---

    async def _start(
        self,
        options: Options,
        say: Say,
        name: str = "",
        *,
        session: str = "",
        resume: bool = False,
        pooled: bool = False,
    ) -> Agent:
        """`name` is Claude Code's id of a conversation that is kept; without, none is. Raises a ProxyError."""
        await self._check_folder(options.cwd)
        cli = await self._find_cli()
        if not pooled:
            await self._make_room()
        from ccproxy_tui.providers.claude_sdk.agent import Agent, AgentFailed  # the SDK is heavy: only when it is used

        kept = [] if name else ["--no-session-persistence"]
        name = name or str(uuid.uuid4())
        kept.append(f"--resume={name}" if resume else f"--session-id={name}")
        folder = self._runtime / f"agent-{name}"
        command = [cli.path, *arguments(options, folder), *cli.arguments, *kept]
        process = ClaudeProcess(command, options.cwd, self._child_environ(options))
        agent = Agent(process, options, self._ask, self._clock, name, session=session)
        self._agents[agent.number] = agent
        self._keep()
        self.changed()
        started = self._clock.monotonic()
        try:
            await asyncio.to_thread(_write_files, folder, files(options))
            await agent.start()
        except BaseException as failure:  # cancelled, too: its place must not stay taken
            self._agents.pop(agent.number, None)
            self._freed.set()
            self.changed()
            if isinstance(failure, AgentFailed):
                raise UpstreamUnreachable(str(failure)) from failure
            raise
        finally:  # it has read them
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        say("agent started", f"in {self._clock.monotonic() - started:.2f} s")
        self.changed()
        return agent

    def _child_environ(self, options: Options) -> dict[str, str]:
        keep = self._settings().code_options.keep_env
        return agent_environ(self._environ, dict(options.environment), self.url, keep)

    async def _check_folder(self, cwd: str) -> None:
        if not await asyncio.to_thread(Path(cwd).is_dir):
            raise InvalidRequest(f"cwd: The agent's folder {cwd} is not there.", field="cwd")

    async def _find_cli(self) -> Cli:
        given = self._settings().cli_path
        chosen = given.expanduser() if given is not None else None
        if self._cli is None or self._cli[0] != str(chosen):
            try:
                await asyncio.to_thread(_import_sdk)
                self._cli = str(chosen), await find_cli(chosen, self._environ)
            except CliUnusable as problem:
                raise UpstreamUnreachable(str(problem)) from problem
        return self._cli[1]

    async def _make_room(self) -> None:
        """End the idle session that was used longest ago when all places are taken; wait when none is idle."""
        settings = self._settings().sdk_session_pool
        deadline = self._clock.monotonic() + settings.acquire_timeout
        while len([one for one in self._agents.values() if one not in self._ready]) >= settings.max_sessions:
            idle = [one for one in self._sessions.values() if one.agent is not None and not one.turn.locked()]
            if idle:
                await self._end_idle_one(min(idle, key=lambda one: one.agent.used if one.agent is not None else 0.0))
                continue
            self._freed.clear()
            try:
                async with asyncio.timeout(max(deadline - self._clock.monotonic(), 0)):
                    await self._freed.wait()
            except TimeoutError:
                words = f"All {settings.max_sessions} agents are busy (claude.sdk_session_pool.max_sessions)."
                raise UpstreamRefused(529, "overloaded", words, headers=(("retry-after", "5"),)) from None

    async def _end(self, agent: Agent) -> None:
        await agent.close()
        self._agents.pop(agent.number, None)
        self._freed.set()
        self.changed()

    async def _end_idle_one(self, session: Session) -> None:
        """Nobody's turn begins meanwhile: a new process must find the conversation as this one leaves it."""
        async with session.turn:
            agent, session.agent = session.agent, None
            if agent is not None:
                await self._end(agent)

    async def _ask(self, request: PermissionRequest) -> Entry:
        """A tool of an agent wants to run. Without a host, nobody could allow it: the answer is no."""
        assert self.host is not None
        return await self.host.ask(request)

    # --- the pool ---

    def warm(self, options: Options) -> bool:
        """Have agents ready for the options that were wanted last, or else for these. False when there is no pool."""
        if not self._settings().sdk_pool.enabled:
            return False
        self._wanted = self._wanted or options
        self._pool_used = self._clock.monotonic()
        self._refill()
        return True

    def _drop_others(self, options: Options) -> None:
        for agent in [one for one in self._ready if one.options != options or not one.process.alive]:
            self._ready.remove(agent)
            self._tasks.start(self._end(agent), name=f"agent {agent.number}")

    @property
    def _target(self) -> int:
        pool = self._settings().sdk_pool
        if not pool.enabled or self._wanted is None:
            return 0
        return 1 if self._clock.monotonic() - self._pool_used > pool.idle_seconds else pool.size

    def _refill(self, after: float = 0.0) -> None:
        """In the background, one after the other: two cores start two of them no faster than one."""
        if self._warming == 0 and len(self._ready) < self._target and not self._closed:
            self._warming += 1
            self._tasks.start(self._warm_one(after), name="pool")

    async def _warm_one(self, after: float) -> None:
        try:
            await asyncio.sleep(after)
            options = self._wanted
            if options is None:
                return
            agent = await self._start(options, _say_nothing, pooled=True)
            if self._wanted == options and len(self._ready) < self._target:
                self._ready.append(agent)
            else:
                await self._end(agent)
        except (UpstreamUnreachable, InvalidRequest) as problem:
            log.warning("the pool can't be filled: %s", problem.text)
            self._wanted = None  # until the next request asks for one
        finally:
            self._warming -= 1
            self.changed()
        self._refill()

    # --- the keeper ---

    def _keep(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = self._tasks.keep(self._look_after, name="agents")

    async def _look_after(self) -> None:
        """While there are agents: end what is idle for too long, and what does not answer any more."""
        checked = self._clock.monotonic()
        while self._agents:
            await asyncio.sleep(self._settings().sdk_session_pool.cleanup_interval)
            await self._end_idle()
            if self._clock.monotonic() - checked >= self._settings().sdk_pool.health_check_interval:
                checked = self._clock.monotonic()
                await self._check_pool()

    async def _end_idle(self) -> None:
        limit = self._clock.monotonic() - self._settings().sdk_session_pool.idle_threshold
        for session in list(self._sessions.values()):
            agent = session.agent
            if agent is None or session.turn.locked():
                continue
            if agent.used < limit or not agent.process.alive:
                await self._end_idle_one(session)
        while len(self._ready) > self._target:
            await self._end(self._ready.pop())

    async def _check_pool(self) -> None:
        for agent in list(self._ready):
            if not await agent.is_well() and agent in self._ready:
                log.warning("agent %d of the pool does not answer: it is replaced", agent.number)
                self._ready.remove(agent)
                await self._end(agent)
        self._refill()

    # --- what front ends see and do ---

    def runs(self, name: str) -> bool:
        """Whether Claude Code's id of a conversation is that of one of these agents."""
        return any(agent.name == name for agent in self._agents.values())

    def counts(self) -> tuple[int, int, int]:
        """Agents that work, all, those ready in the pool."""
        busy = sum(agent.state in ("busy", "interrupting") for agent in self._agents.values())
        return busy, len(self._agents), len(self._ready)

    async def measured(self) -> SdkView:
        """The same with the memory of each: read in a thread, which takes milliseconds for each."""
        pids = [agent.process.pid for agent in self._agents.values() if agent.process.alive]
        return self.view(await asyncio.to_thread(lambda: {pid: memory_of(pid) for pid in pids}))

    def view(self, memory: Mapping[int, int] = MappingProxyType({})) -> SdkView:
        claude = self._settings()
        now = self._clock.monotonic()
        sessions = {one.agent.number: one for one in self._sessions.values() if one.agent is not None}
        views = [
            self._agent_view(agent, sessions.get(number), now, memory.get(agent.process.pid, 0))
            for number, agent in self._agents.items()
        ]
        return SdkView(
            agents=views,
            cli=self._cli[1].path if self._cli is not None else "",
            version=".".join(map(str, self._cli[1].version)) if self._cli is not None else "",
            mode=claude.sdk_message_mode,
            pool=claude.sdk_pool.enabled,
            pool_size=claude.sdk_pool.size,
            ready=len(self._ready),
            sessions=len(self._sessions),
            limit=claude.sdk_session_pool.max_sessions,
        )

    def _agent_view(self, agent: Agent, session: Session | None, now: float, memory: int) -> AgentView:
        return AgentView(
            id=agent.number,
            state=agent.state if agent.process.alive or agent.state == "starting" else "dead",
            kind="pool" if agent in self._ready else "session" if agent.session else "one turn",
            session=agent.session,
            cwd=agent.options.cwd,
            model=agent.options.model,
            mode=agent.options.permission_mode or "default",
            requests=session.requests if session is not None else agent.turns,
            age=now - agent.born,
            idle=now - agent.used,
            memory=memory,
            waiting=session.waiting if session is not None else 0,
            exchange=agent.job.exchange,
            pid=agent.process.pid,
            problem=agent.problem or (session.problem if session is not None else ""),
        )

    async def interrupt(self, number: int) -> bool:
        """End the turn that runs. False when there is no such agent, or it does nothing."""
        agent = self._agents.get(number)
        if agent is None or agent.state != "busy":
            return False
        await agent.ask_to_stop()
        return True

    async def end(self, number: int, *, again: bool = False) -> bool:
        """End the process; a session's conversation stays, and `again` starts a new process for it at once.

        False when there is no such agent.
        """
        agent = self._agents.get(number)
        if agent is None:
            return False
        if agent in self._ready:
            self._ready.remove(agent)
        session = next((one for one in self._sessions.values() if one.agent is agent), None)
        if session is None or session.turn.locked():
            await self._end(agent)
        else:
            await self._end_idle_one(session)
            if again:
                self.give_back(await self.lease(agent.options, session.name, _say_nothing), whole=True)
        self._refill()
        return True

    async def close(self) -> None:
        """End all of them, at the same time."""
        self._closed = True
        await self._tasks.close()
        agents = list(self._agents.values())
        if agents:
            await asyncio.gather(*(self._end(agent) for agent in agents), return_exceptions=True)


def _write_files(folder: Path, texts: Mapping[str, str]) -> None:
    private_dir(folder)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", "replace")


def _import_sdk() -> None:
    """In a thread: it takes half a second."""
    if has_sdk():
        import claude_agent_sdk  # noqa: F401


def _say_nothing(name: str, detail: str) -> None:
    pass
