"""The screen tells the truth: the real app in a terminal, a scripted upstream, random actions of a user.

After each action the screen must come to agree with what the control API says: rows with their states and figures,
counts, titles. `CCPROXY_TEST_SEEDS=40` tries that many seeds instead of a few (`make fuzz` does).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import Row, Status, Watch
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text import filters
from ccproxy_tui.screens.ui import row_view, words
from tests.fakes.upstream import Cut, ScriptedUpstream, Seen, Wait, anthropic_stream, json_reply, sse_reply
from tests.pty.terminal import Terminal
from tests.pty.test_terminal import Start, start, up

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(240)]

T = TypeVar("T")
SEEDS = range(int(os.environ.get("CCPROXY_TEST_SEEDS", "3")))
STEPS = 20
AGREE_SECONDS = 15.0
SIZES = [(120, 36), (80, 24), (100, 28), (60, 15)]
BUSY = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy now"}}\n\n'
EVENTS = anthropic_stream("one two three four five six")
STATES = "wait|live|tool|stall|STOP|ERR|[1-5][0-9][0-9]"
ROW = re.compile(rf"^[│ ]*[>*]? *({STATES}) .*?\b(zz-\d+)\b(.*)$")


@dataclass
class Stream:
    """A request under way: what is still to come, and how it will end."""

    model: str
    end: str
    gates: list[asyncio.Event]
    client: asyncio.Task[None] | None = None


@dataclass
class World:
    """Upstream, clients and a connection to the control API, on a loop in a thread of its own."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    upstream: ScriptedUpstream = field(default_factory=ScriptedUpstream)
    streams: dict[str, Stream] = field(default_factory=dict)
    begun: int = 0

    def open(self) -> None:
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.upstream.default = self._reply
        self.run(self.upstream.start())

    def connect(self, port: int) -> None:
        self.control = ControlClient(socket=f"{os.environ['XDG_RUNTIME_DIR']}/ccproxy/{port}.sock")
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def close(self) -> None:
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _close(self) -> None:
        for stream in self.streams.values():
            if stream.client is not None:
                stream.client.cancel()
        await self.client.aclose()
        await self.control.close()
        await self.upstream.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def _reply(self, seen: Seen) -> Any:
        stream = self.streams[seen.json["model"]]
        if stream.end == "refused":
            return json_reply({"type": "error", "error": {"type": "x", "message": "no"}}, 400)
        steps: list[Any] = [*EVENTS[:4]]
        for gate, event in zip(stream.gates, EVENTS[4:], strict=False):
            steps += [Wait(event=gate), event]
        rest = EVENTS[4 + len(stream.gates) :]
        last = {"whole": rest, "cut": [Cut], "failed": [BUSY], "left": [Wait(600)]}[stream.end]
        return sse_reply(*steps, *last)

    # --- what happens ---

    async def begin(self, end: str) -> None:
        self.begun += 1
        model = f"zz-{self.begun}"
        stream = self.streams[model] = Stream(model, end, [asyncio.Event() for _ in range(3)])
        stream.client = asyncio.ensure_future(self._ask(model))
        while not any(row.model == model and (row.events >= 4 or not row.live) for row in await self.rows()):
            await asyncio.sleep(0.01)

    async def _ask(self, model: str) -> None:
        body = {"model": model, "stream": True, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        try:
            async with self.client.stream("POST", "/api/v1/messages", json=body) as response:
                async for chunk in response.aiter_raw():
                    if b"busy now" in chunk:
                        return  # SDKs close the connection at an error event
        except httpx.HTTPError:
            pass

    async def progress(self, model: str) -> None:
        for gate in self.streams[model].gates:
            if not gate.is_set():
                gate.set()
                return

    async def end(self, model: str) -> None:
        stream = self.streams[model]
        for gate in stream.gates:
            gate.set()
        if stream.end == "left" and stream.client is not None:
            stream.client.cancel()
        while any(row.live for row in await self.rows() if row.model == model):
            await asyncio.sleep(0.01)

    async def rows(self) -> list[Row]:
        """All rows as a front end that was never anywhere else sees them."""
        frames = self.control.frames(Watch(answers=False))
        try:
            return (await anext(frames)).rows
        finally:
            await frames.aclose()

    async def truth(self) -> tuple[list[Row], Status]:
        return await self.rows(), await self.control.status()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    opened = World()
    opened.open()
    monkeypatch.setenv("PROVIDERS__CLAUDE_API__BASE_URL", opened.upstream.url)
    monkeypatch.setenv("PROVIDERS__CLAUDE_API__API_KEY", "sk-ant-api03-of-a-test")
    monkeypatch.setenv("SERVER__STALL_SECONDS", "600")
    yield opened
    opened.close()


class User:
    """Presses keys, and knows where they lead."""

    def __init__(self, terminal: Terminal, world: World, rng: random.Random) -> None:
        self.terminal = terminal
        self.world = world
        self.rng = rng
        self.place = "list"
        self.filter = ""
        self.size = (120, 36)
        self.done: list[str] = []

    def act(self) -> None:
        names = [name for name, (places, _) in ACTIONS.items() if self.place in places]
        name = self.rng.choice(names)
        self.done.append(f"{name}@{self.place}")
        ACTIONS[name][1](self)

    # --- what the world does ---

    def begin(self) -> None:
        self.world.run(self.world.begin(self.rng.choice(["whole", "whole", "cut", "failed", "left", "refused"])))

    def burst(self) -> None:
        for _ in range(3):
            self.begin()
            self.world.run(self.world.end(f"zz-{self.world.begun}"))

    def progress(self) -> None:
        if live := self._live():
            self.world.run(self.world.progress(self.rng.choice(live)))

    def end(self) -> None:
        if live := self._live():
            self.world.run(self.world.end(self.rng.choice(live)))

    def _live(self) -> list[str]:
        return [row.model for row in self.world.run(self.world.rows()) if row.live]

    # --- what the user does ---

    def move(self) -> None:
        self.terminal.send(self.rng.choice(["j", "j", "k", "g", "G"]))

    def other_tab(self) -> None:
        self.place = "tab"
        self.terminal.send(self.rng.choice("234578"))

    def back_to_streams(self) -> None:
        self.place = "list"
        self.terminal.send("1")

    def inspect(self) -> None:
        if self.cursor() is not None:
            self.place = "inspector"
            self.terminal.send("\r" + self.rng.choice("123456"))

    def split(self) -> None:
        self.place = "split"
        self.terminal.send("v")

    def leave(self) -> None:
        self.place = "list"
        self.terminal.send("\x1b")
        self.terminal.quiet(0.2)  # an escape is only one when nothing follows it

    def set_filter(self) -> None:
        self.filter = self.rng.choice(["state:live", "zz-1", "!zz-2", "state:err", "status:>=400"])
        self.terminal.send("/" + "\x15" + self.filter + "\r")

    def clear_filter(self) -> None:
        self.filter = ""
        self.leave()

    def stop(self) -> None:
        row = self.cursor()
        if row is None or row not in self._live():
            return
        self.terminal.send("x")
        self.terminal.wait_for("Stop it")
        self.terminal.send("\x1b[C\r")
        self.terminal.wait_for(lambda: row not in self._live())

    def resize(self) -> None:
        self.size = self.rng.choice(SIZES)
        self.terminal.resize(*self.size)
        os.kill(self.terminal.pid, signal.SIGWINCH)

    def cursor(self) -> str | None:
        """The model of the row under the cursor, once the screen stands still."""
        agree(self)
        for line in self.terminal.screen.display:
            if re.match(r"^[│ ]?>", line) and (found := ROW.match(line)):
                return found[2]
        return None


LIST = {"list"}
ANYWHERE = {"list", "tab", "inspector", "split"}
ACTIONS: dict[str, tuple[set[str], Callable[[User], None]]] = {
    "begin": (ANYWHERE, User.begin),
    "begin another": (ANYWHERE, User.begin),
    "burst": (ANYWHERE, User.burst),
    "progress": (ANYWHERE, User.progress),
    "end": (ANYWHERE, User.end),
    "end another": (ANYWHERE, User.end),
    "move": (LIST, User.move),
    "open a tab": (LIST, User.other_tab),
    "come back": ({"tab"}, User.back_to_streams),
    "inspect": (LIST, User.inspect),
    "split": (LIST, User.split),
    "leave": ({"inspector", "split"}, User.leave),
    "filter": (LIST, User.set_filter),
    "clear": (LIST, User.clear_filter),
    "stop": (LIST, User.stop),
    "resize": (ANYWHERE, User.resize),
}


def agree(user: User) -> None:
    """Wait until the screen says what the control API says."""
    terminal = user.terminal
    deadline = time.monotonic() + AGREE_SECONDS
    while True:
        while terminal.read(0.05):
            pass
        wrong = disagreement(user)
        if not wrong:
            return
        assert time.monotonic() < deadline, f"{wrong}\nafter {user.done}\n{terminal.text}"


def disagreement(user: User) -> str:
    """The first thing on screen that is not true; nothing when all is."""
    rows, status = user.world.run(user.world.truth())
    terminal = user.terminal
    title = f"- {status.live} live"
    if not window_title(terminal).endswith(title):
        return f"the window is called {window_title(terminal)!r}, not {title!r}"
    head = terminal.screen.display[0]
    if user.size[0] < 110 and f"  {status.live} live" not in head:
        return f"the first line does not say {status.live} live"
    if user.place == "list":
        return list_disagreement(user, rows, status)
    if user.place == "inspector":
        return inspector_disagreement(terminal, rows)
    return ""


def window_title(terminal: Terminal) -> str:
    """The last that was set. pyte takes other sequences (22, the pointer's shape) for titles as well."""
    start = terminal.output.rfind(b"\x1b]2;") + 4
    ends = [end for mark in (b"\x07", b"\x1b") if (end := terminal.output.find(mark, start)) > 0]
    return bytes(terminal.output[start : min(ends, default=start)]).decode("utf-8", "replace")


def list_disagreement(user: User, rows: list[Row], status: Status) -> str:
    wanted = filters.parse(user.filter, row_view.FILTER_FIELDS)
    expected = [row for row in reversed(rows) if wanted.matches(row_view.fields(row))]
    lines = list_lines(user.terminal)
    if lines is None:
        return "there is no list"
    shown = [found for line in lines if (found := ROW.match(line))]
    if len(shown) != min(len(expected), len(lines)):
        return f"{len(shown)} rows are shown of {len(expected)}, in {len(lines)} lines"
    names = [found[2] for found in shown]
    order = [row.model for row in expected]
    at = order.index(names[0]) if names and names[0] in order else 0
    if order[at : at + len(names)] != names:
        return f"{names} is no part of {order}"
    for found, row in zip(shown, expected[at:], strict=False):
        if found[1] != row.state:
            return f"{row.model} is {row.state}, not {found[1]}"
        if not row.live and found[3].rstrip("│ ").split()[-1] != words.tokens(row.tokens_out) and user.size[0] >= 72:
            return f"{row.model} has {row.tokens_out} tokens, not {found[3]!r}"
        if user.size[0] >= 110 and short_id(row.id) not in found[0]:
            return f"{row.model} is {short_id(row.id)}"
    return "" if user.size[1] < 20 else title_disagreement(user, status, len(expected))


def list_lines(terminal: Terminal) -> list[str] | None:
    """The lines of the list, below its header."""
    lines = [line.rstrip() for line in terminal.screen.display]
    top = next((place for place, line in enumerate(lines) if re.match(r"^[│ ]*state +", line)), None)
    if top is None:
        return None
    short = len(lines) < 20
    end = len(lines) - 1 if short else next((at for at in range(top, len(lines)) if lines[at].startswith("╰")), top)
    return lines[top + 1 : end]


def title_disagreement(user: User, status: Status, shown: int) -> str:
    title = next((line for line in user.terminal.screen.display if "streams  " in line), "")
    parts = [f"streams  {status.live} live, {status.total} in all"]
    if status.errors:
        parts.append(f"  {status.errors} failed")
    elif " failed" in title:
        return "nothing has failed"
    if user.filter:
        parts.append(f"filter: {user.filter} ({shown} shown)"[: 20 if user.size[0] < 110 else None])
    elif "filter:" in title:
        return "nothing is filtered"
    wrong = next((part for part in parts if part not in title), "")
    if wrong:
        return f"the title does not say {wrong!r}: {title!r}"
    new = re.search(r"(\d+) new above", title)
    if new is not None and int(new[1]) > shown:
        return f"{new[1]} new of {shown}"
    return ""


def inspector_disagreement(terminal: Terminal, rows: list[Row]) -> str:
    head = next((line for line in terminal.screen.display if "ttft" in line and "zz-" in line), "")
    found = re.search(rf"\b(zz-\d+)  ({STATES})\b", head)
    if found is None:
        return "the inspector names no request"
    row = next((row for row in rows if row.model == found[1]), None)
    if row is None or row.state != found[2]:
        return f"{found[1]} is {row and row.state}, not {found[2]}"
    stop = "x stop" in terminal.screen.display[-1]
    return "" if stop == row.live else f"the keys say {'stop' if stop else 'nothing to stop'}"


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_the_user_does_the_screen_agrees_with_the_proxy(start: Start, world: World, seed: int) -> None:
    terminal, _, port = up(start)
    world.connect(port)
    user = User(terminal, world, random.Random(seed))
    user.done.append(f"seed {seed}")
    for _ in range(STEPS):
        user.act()
        agree(user)


def test_every_tab_is_visited_while_streams_begin_and_end(start: Start, world: World) -> None:
    """Begun and ended there; ended there; begun there and ended later."""
    terminal, _, port = up(start)
    world.connect(port)
    user = User(terminal, world, random.Random(0))
    for keys, back in [*((tab, "1") for tab in "234578"), ("v", "\x1b"), ("w", "\x1b"), ("\r", "\x1b"), ("?", "\x1b")]:
        user.done.append(keys)
        world.run(world.begin("whole"))
        first = f"zz-{world.begun}"
        agree(user)
        terminal.send(keys)
        terminal.quiet(0.3)
        world.run(world.begin("failed"))
        world.run(world.end(f"zz-{world.begun}"))
        world.run(world.begin("cut"))
        world.run(world.end(first))
        terminal.quiet(0.3)
        terminal.send(back)
        terminal.quiet(0.2)
        agree(user)
        world.run(world.end(f"zz-{world.begun}"))
        agree(user)


def test_coming_back_under_traffic_after_more_requests_than_are_kept(start: Start, world: World) -> None:
    terminal, _, port = up(start)
    world.connect(port)
    user = User(terminal, world, random.Random(0))

    async def many(count: int, pause: float) -> None:
        world.upstream.default = lambda seen: json_reply({"type": "message", "model": "zz-0"})
        for _ in range(count):
            body = {"model": "zz-0", "max_tokens": 9, "messages": []}
            await world.client.post("/api/v1/messages", json=body)
            await asyncio.sleep(pause)

    async def filled() -> None:
        await asyncio.gather(*(many(130, 0) for _ in range(4)))

    world.run(filled())
    traffic = asyncio.run_coroutine_threadsafe(many(100_000, 0.02), world.loop)
    try:
        for keys in ("G", "\r", "3", "1", "G\r", "]", "\x1b", "G", "v", "\x1b", "7", "1", "Gkk\r", "1") * 2:
            terminal.send(keys)
            terminal.quiet(0.25)
            assert not terminal_ended(terminal), terminal.output[-3000:].decode("utf-8", "replace")
    finally:
        traffic.cancel()
    for keys in ("\x1b", "\x1b", "1g"):  # out of the inspector or the split view, where digits mean something else
        terminal.send(keys)
        terminal.quiet(0.25)
    agree_on_counts(user)


def terminal_ended(terminal: Terminal) -> bool:
    pid, status = os.waitpid(terminal.pid, os.WNOHANG)
    if pid:
        terminal.status = status
    return bool(pid)


def agree_on_counts(user: User) -> None:
    def agreed() -> bool:
        _, status = user.world.run(user.world.truth())
        return f"{status.live} live, {status.total} in all, 500 kept" in user.terminal.text

    user.terminal.wait_for(agreed, seconds=AGREE_SECONDS)
