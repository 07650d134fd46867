"""Pool: the agents of SDK mode, each a Claude Code process; interrupt, end and renew them; how many are kept ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ccproxy_tui.core.control.frames import AgentView, SdkView, Watch
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import NARROW, WIDE, BaseScreen
from ccproxy_tui.screens.confirm import Confirm
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line
from ccproxy_tui.screens.widgets.live_list import Column, LiveList

_SIZES = range(1, 21)
_STYLES = {"busy": "live", "starting": "warning", "interrupting": "warning", "dead": "error"}


class PoolScreen(BaseScreen):
    """Read from the proxy when it opens, when the counts of the status change, and each second while agents live."""

    READS = True
    TAB = "pool"
    HELP = (
        "Claude Code processes behind /sdk. Each session has a process of its own, and its conversation outlives it: "
        "x ends the process, r starts a new one for the same conversation, i interrupts the running turn, enter opens "
        "its stream. When the pool is on (p), requests without a session take a process from it, one for each "
        "conversation; w fills the pool, + and - change its size. Memory counts shared pages proportionally."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "interrupt", "interrupt", id="pool.interrupt"),
        Binding("x", "end", "end", id="pool.end"),
        Binding("r", "recycle", "recycle", id="pool.recycle"),
        Binding("w", "warm", "warm up", id="pool.warm"),
        Binding("p", "switch", "pool on or off", id="pool.switch"),
        Binding("plus,equals_sign", "resize(1)", "larger", id="pool.larger"),
        Binding("minus", "resize(-1)", "smaller", id="pool.smaller"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._agents: dict[str, AgentView] = {}
        self._view = SdkView()

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="pool-box", classes="box"):
            yield LiveList[AgentView]([], id="pool-list", empty=("", "No agents. A request to /sdk starts one."))
        with Vertical(id="agent-box", classes="box"):
            yield DetailView(id="agent", empty="")

    @property
    def list(self) -> LiveList[AgentView]:
        return self.query_one("#pool-list", LiveList)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#pool-box").border_title = "agents"
        self._lay_out()
        self.list.set_items(self._agents)
        self.list.set_order(lambda one: one.id, reverse=True, keep=lambda _: True)
        self.list.focus()
        self.set_interval(1.0, self._tick)

    def _tick(self) -> None:
        """Nothing moves when there is nothing."""
        if self.is_current and self._agents:
            self._reload()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._reload()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        state = Column[AgentView](
            "state", "state", 12, lambda one: one.state, style=lambda one: _STYLES.get(one.state, "")
        )
        session = Column[AgentView]("session", "session", 0, lambda one: escape_line(one.session or one.kind))
        model = Column[AgentView]("model", "model", 18, lambda one: escape_line(one.model))
        mode = Column[AgentView]("mode", "mode", 11, lambda one: one.mode)
        requests = Column[AgentView]("requests", "req", 4, lambda one: str(one.requests), right=True)
        age = Column[AgentView]("age", "age", 6, lambda one: words.duration(one.age), right=True)
        memory = Column[AgentView]("memory", "memory", 7, lambda one: words.size(one.memory), right=True)
        queue = Column[AgentView]("queue", "queue", 5, lambda one: str(one.waiting or ""), right=True)
        folder = Column[AgentView]("cwd", "folder", 24, lambda one: escape_line(one.cwd))
        width = self.size.width
        if width >= WIDE:
            columns = [state, session, model, mode, requests, age, memory, queue, folder]
        elif width >= NARROW:
            columns = [state, session, model, requests, age, memory, queue]
        else:
            columns = [state, session, age, memory]
        self.list.set_columns(columns)

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.status or changes.reset:
            self._reload()

    def _reload(self) -> None:
        self.read_again(self._load)

    async def _load(self) -> None:
        view = await self.fetch(lambda: self.control.sdk())
        if view is None:
            return
        self._view = view
        self._agents.clear()
        self._agents.update({str(one.id): one for one in self._view.agents})
        self.list.rebuild()
        self._show()

    def _show(self) -> None:
        view = self._view
        memory = sum(one.memory for one in view.agents)
        pool = f"{view.ready}/{view.pool_size} ready" if view.pool else "pool off"
        box = self.query_one("#pool-box")
        box.border_title = f"agents {len(view.agents)}, {words.size(memory)}, {pool}"
        self.query_one("#agent", DetailView).show_lines(agent_lines(view, self.list.selected))

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._show()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        agent = self.list.selected
        if agent is not None and agent.exchange:
            self.proxy_app.inspect(agent.exchange)

    # --- verbs ---

    def action_interrupt(self) -> None:
        self._do(self._interrupt)

    async def _interrupt(self, agent: AgentView) -> str:
        await self.control.interrupt_agent(agent.id)
        return "interrupted"

    def action_end(self) -> None:
        self._do(self._end)

    async def _end(self, agent: AgentView) -> str:
        question = "This agent is busy. Ending it fails the client's request. End it?"
        if agent.state == "busy" and not await self.app.push_screen_wait(Confirm(question, "End it")):
            return ""
        await self.control.end_agent(agent.id, again=False)
        return "ended" + ("; its conversation can be resumed" if agent.session else "")

    def action_recycle(self) -> None:
        self._do(self._recycle)

    async def _recycle(self, agent: AgentView) -> str:
        if agent.state == "busy":
            return "This agent is busy. Press i to interrupt it, or x to end it"
        await self.control.end_agent(agent.id, again=True)
        return "restarted with a new process"

    def _do(self, verb: Callable[[AgentView], Awaitable[str]]) -> None:
        if (agent := self.list.selected) is not None:
            self.carry_out(agent.session or f"agent {agent.id}", partial(verb, agent))

    def action_warm(self) -> None:
        self.carry_out("pool", self._warm)

    async def _warm(self) -> str:
        await self.control.warm_agents()
        return "filling the pool"

    def action_switch(self) -> None:
        self.carry_out("pool", self._switch)

    async def _switch(self) -> str:
        wanted = not self._view.pool
        effect = await self.control.change_setting("claude.sdk_pool.enabled", "true" if wanted else "false")
        return f"{'on' if wanted else 'off'}: {effect}"

    def action_resize(self, step: int) -> None:
        self.carry_out("pool", partial(self._resize, step))

    async def _resize(self, step: int) -> str:
        size = self._view.pool_size + step
        if size not in _SIZES:
            return f"{_SIZES[0]} to {_SIZES[-1]} agents can be kept ready"
        return f"{size} agents: {await self.control.change_setting('claude.sdk_pool.size', str(size))}"

    async def carried_out(self) -> None:
        await self._load()

    def keys(self) -> Sequence[tuple[str, str]]:
        return (
            ("?", "help"),
            ("i", "interrupt"),
            ("x", "end"),
            ("r", "recycle"),
            ("w", "warm"),
            ("p", "pool"),
            ("+-", "size"),
            ("q", "quit"),
        )


def _style(agent: AgentView) -> str:
    return _STYLES.get(agent.state, "")


def agent_lines(view: SdkView, agent: AgentView | None) -> list[Line]:
    """The agent in words, then what all have in common."""
    lines: list[Line] = []
    if view.problem:
        lines.append((escape_line(view.problem), "error"))
    if agent is not None:
        name = agent.session or {"pool": "ready in the pool", "one turn": "for one conversation"}.get(agent.kind, "")
        lines.append((escape_line(f"{name}  {agent.state}  process {agent.pid}"), "strong"))
        lines.append((escape_line(f"{agent.model or 'default model'}, {agent.mode} mode, in {agent.cwd}"), ""))
        since = f"{agent.requests} requests, {words.duration(agent.age)} old, {words.duration(agent.idle)} idle"
        waiting = f", {agent.waiting} requests waiting" if agent.waiting else ""
        lines.append((f"{since}, {words.size(agent.memory)}{waiting}", "dim"))
        if agent.problem:
            lines.append((escape_line(f"last problem: {agent.problem}"), "error"))
    pool = f"pool {view.ready} of {view.pool_size} ready" if view.pool else "pool off"
    common = f"{pool}, {view.sessions} sessions, limit {view.limit}, messages {view.mode}"
    lines.append((common, "dim"))
    if view.cli:
        lines.append((escape_line(f"Claude Code {view.version}, {view.cli}"), "dim"))
    return lines
