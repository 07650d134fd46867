"""A front end that stops watching something and comes back ends exactly where one that never left is.

The real store, viewers, sessions and mirrors; only the connection between them is short.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.control.frames import Frame, Segment, Watch
from ccproxy_tui.core.control.protocol import Control
from ccproxy_tui.core.exchange.tap import Tap
from ccproxy_tui.core.permissions.request import Decision, PermissionRequest
from ccproxy_tui.core.records.events import Accepted, BodyRead, EndReason, Finished, Marked
from ccproxy_tui.core.records.store import Store
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.viewer import Viewer
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.system.logging import LogLine
from ccproxy_tui.screens.ui.mirror import Mirror
from ccproxy_tui.screens.ui.session import Session
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import anthropic_stream

KEPT = 5  # exchanges; so few that they are evicted all the time
NAMES = [f"e{number}" for number in range(40)]
EVENTS = anthropic_stream("one two three four five six seven eight")


class World:
    """A hub with exchanges that begin, go on and end on command."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = Hub(load(environ=dict(os.environ)), self.clock, "token")
        self.store = self.hub.store = Store(kept=KEPT)
        self.hub.bus.handle(self.store.apply)
        self._taps: dict[str, tuple[Tap, list[bytes]]] = {}
        self._begun = 0
        self._logged = 0

    def begin(self) -> None:
        name = NAMES[self._begun % len(NAMES)] + f".{self._begun}"
        self._begun += 1
        self.hub.bus.publish(Accepted(name, 1.0, "POST", "/x", "", "", "curl", "", "anthropic_messages"))
        self.hub.bus.publish(BodyRead(name, b"{}", "opus", True, ""))
        record = self.store.get(name)
        assert record is not None
        self._taps[name] = (Tap(record, self.store, self.hub.bus, self.clock, "anthropic_messages", ""), list(EVENTS))

    def progress(self, number: int) -> None:
        if (name := self._pick(number)) is not None:
            tap, rest = self._taps[name]
            if rest:
                tap.feed(rest.pop(0))
            else:
                self.hub.bus.publish(Marked(name, "noted"))

    def end(self, number: int, reason: EndReason) -> None:
        if (name := self._pick(number)) is not None:
            del self._taps[name]
            record = self.store.get(name)
            assert record is not None
            self.hub.bus.publish(Finished(name, record.summary(reason, 200, self.clock.monotonic())))

    def log(self) -> None:
        self._logged += 1
        self.store.add_log(LogLine(self._logged, 1.0, "info", "test", f"line {self._logged}", ""))

    def ask(self) -> None:
        self.hub.broker.ask(PermissionRequest("Bash", {}, "rest"), 60)

    def answer(self) -> None:
        if self.hub.broker.pending:
            self.hub.broker.answer(self.hub.broker.pending[0].id, Decision(allowed=False, by="test"))

    def name(self, number: int) -> str:
        """An exchange that is kept, or one that is not any more."""
        kept = [record.id for record in self.store]
        return kept[number % len(kept)] if kept and number < 100 else f"{NAMES[0]}.0"

    def _pick(self, number: int) -> str | None:
        live = list(self._taps)
        return live[number % len(live)] if live else None


class Line:
    """The connection of one front end: frames come when they are let through, verbs take their time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._viewer: Viewer | None = None
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()

    async def frames(self, watch: Watch) -> AsyncIterator[Frame]:
        self._viewer = Viewer(self._world.hub, watch)
        self.let_through()
        while True:
            yield await self._frames.get()

    def let_through(self) -> None:
        if self._viewer is not None:
            self._frames.put_nowait(self._viewer.frame())

    async def look_at(self, watch: Watch) -> None:
        await asyncio.sleep(0)
        assert self._viewer is not None
        self._viewer.look_at(watch)
        await asyncio.sleep(0)

    async def close(self) -> None:
        pass


class Source:
    owned = False

    def __init__(self, line: Line) -> None:
        self.line = line

    async def connect(self) -> Control:
        return cast("Control", self.line)


class Front:
    """A real session over such a line."""

    def __init__(self, world: World, watch: Watch) -> None:
        self.line = Line(world)
        self.session = Session(cast("Any", Source(self.line)), lambda changes: None, lambda state, problem: None)
        self.session.look_at(watch)
        self.task = asyncio.ensure_future(self.session.run())

    async def settle(self) -> None:
        for _ in range(4):
            for _ in range(12):
                await asyncio.sleep(0)
            self.line.let_through()
        for _ in range(12):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def shown(mirror: Mirror) -> dict[str, Any]:
    """Everything that a screen could draw, without what only a clock moves, and text without its seams."""
    rows = [msgspec.structs.replace(row, silent=0.0) for row in mirror.rows.values()]
    detail = mirror.detail
    if detail is not None:
        detail = msgspec.structs.replace(detail, row=msgspec.structs.replace(detail.row, silent=0.0))
    return {
        "rows": rows,
        "texts": {name: (joined(log.segments), log.ended) for name, log in mirror.texts.items()},
        "detail": detail,
        "logs": list(mirror.logs),
        "status": mirror.status,
        "asks": mirror.asks,
    }


def joined(segments: list[Segment]) -> list[tuple[int, str, str]]:
    result: list[tuple[int, str, str]] = []
    for segment in segments:
        if result and result[-1][:2] == (segment.block, segment.kind):
            segment = msgspec.structs.replace(segment, text=result.pop()[2] + segment.text)
        result.append((segment.block, segment.kind, segment.text))
    return result


Act = tuple[str, int, Any]
number = st.integers(0, 120)
reasons: list[EndReason] = ["done", "stopped", "cut", "client_gone"]
acts: st.SearchStrategy[Act] = st.one_of(
    st.tuples(st.just("begin"), number, st.none()),
    st.tuples(st.just("progress"), number, st.none()),
    st.tuples(st.just("end"), number, st.sampled_from(reasons)),
    st.tuples(st.just("log"), number, st.none()),
    st.tuples(st.sampled_from(["ask", "answer"]), number, st.none()),
    st.tuples(st.just("frame"), number, st.none()),
    st.tuples(st.just("yield"), st.integers(1, 4), st.none()),
    st.tuples(st.just("flood"), st.integers(1, 3 * KEPT), st.none()),
    st.tuples(st.just("watch"), number, st.sampled_from(["all", "none", "rows", "text", "detail", "logs", "one"])),
)


def watch_of(what: str, name: str) -> Watch:
    match what:
        case "all":
            return Watch(texts=[name], detail=name, logs=True)
        case "rows":
            return Watch()
        case "text":
            return Watch(rows=False, texts=[name])
        case "detail":
            return Watch(rows=False, detail=name)
        case "logs":
            return Watch(rows=False, logs=True)
        case "one":
            return Watch(texts=[name])
        case _:
            return Watch(rows=False)


async def play(script: list[Act]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one that never left and one that came and went show in the end."""
    world = World()
    world.begin()
    name = world.name(0)
    final = Watch(texts=[name], detail=name, logs=True)
    stays, leaves = Front(world, final), Front(world, Watch())
    await stays.settle()
    doing: dict[str, Callable[[int, Any], None]] = {
        "begin": lambda n, _: world.begin(),
        "progress": lambda n, _: world.progress(n),
        "end": world.end,
        "log": lambda n, _: world.log(),
        "ask": lambda n, _: world.ask(),
        "answer": lambda n, _: world.answer(),
        "frame": lambda n, _: leaves.line.let_through(),
        "watch": lambda n, what: leaves.session.look_at(watch_of(what, world.name(n))),
    }
    try:
        for act, n, what in script:
            if act == "yield":
                for _ in range(n):
                    await asyncio.sleep(0)
            elif act == "flood":
                for _ in range(n):
                    world.begin()
                    world.end(10**6 - 1, "done")
            else:
                doing[act](n, what)
            stays.line.let_through()
        leaves.session.look_at(final)
        await stays.settle()
        await leaves.settle()
        return shown(stays.session.mirror), shown(leaves.session.mirror)
    finally:
        await stays.close()
        await leaves.close()
        for entry in world.hub.broker.pending:
            world.hub.broker.cancel(entry.id)
        await world.hub.tasks.close()


@pytest.mark.hypothesis
@given(st.lists(acts, max_size=40))
def test_one_that_comes_back_sees_what_one_that_never_left_sees(script: list[Act]) -> None:
    stayed, came_back = asyncio.run(play(script))
    assert came_back == stayed


SAMPLES: dict[str, list[Act]] = {
    "begun and ended on another tab": [
        ("watch", 0, "none"),
        ("yield", 4, None),
        ("begin", 0, None),
        ("frame", 0, None),
        ("end", 1, "done"),
        ("frame", 0, None),
    ],
    "ended on another tab": [
        ("begin", 0, None),
        ("frame", 0, None),
        ("watch", 0, "none"),
        ("yield", 4, None),
        ("end", 0, "done"),
        ("frame", 0, None),
    ],
    "more evicted than is remembered": [
        ("watch", 0, "none"),
        ("yield", 4, None),
        ("flood", 15, None),
        ("frame", 0, None),
    ],
    "down a row and back up at once": [
        ("begin", 0, None),
        ("progress", 0, None),
        ("watch", 0, "all"),
        ("yield", 4, None),
        ("frame", 0, None),
        ("yield", 4, None),
        ("watch", 1, "all"),
        ("watch", 0, "all"),
    ],
    "logs left and opened again": [
        ("log", 0, None),
        ("watch", 0, "logs"),
        ("yield", 4, None),
        ("frame", 0, None),
        ("watch", 0, "none"),
        ("yield", 4, None),
        ("log", 0, None),
        ("frame", 0, None),
    ],
}


@pytest.mark.parametrize("name", SAMPLES)
async def test_samples_of_it(name: str) -> None:
    stayed, came_back = await play(SAMPLES[name])
    assert came_back == stayed
