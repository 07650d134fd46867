"""Exchanges of one proxy whose upstream cuts, stalls, fails or goes on to the end, and clients that may leave.

The product's own `Exchange` runs without sockets: what it sends are the messages of ASGI.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from ccproxy_tui.core.errors import UpstreamCut, UpstreamStalled
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.provider import Answer, Call, Recorder
from ccproxy_tui.core.routing import parse_path
from ccproxy_tui.core.server.exchange import Exchange
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.settings import Loaded, load
from tests.fakes.streams import message_events
from tests.simulation.process import Killed, Process

if TYPE_CHECKING:
    from tests.simulation.world import World

_STREAM = b"".join(message_events({"type": "text", "text": "one two three four five"}))
_FAILURE = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
_STALLS = 40.0  # seconds without a byte after which a connection gives up
_LONGEST = 120.0  # seconds of an exchange
_TROUBLE = ("", "", "", "cut", "ended", "stalled", "failed")
_PATHS = {"/claude/v1/messages": b'{"type":"message_stop"}', "/claude/v1/chat/completions": b"[DONE]"}


@functools.cache
def _settings() -> Loaded:
    return load(environ={})


@dataclass
class Script:
    """What the upstream does with one call, and whether all that it wanted to send has gone out."""

    rng: Random
    trouble: str
    whole: bool = False

    async def stream(self) -> AsyncIterator[bytes]:
        rng, at = self.rng, 0
        end = len(_STREAM)
        if self.trouble:  # anywhere, or a little before its end
            end = rng.choice([rng.randrange(end - 8), end - rng.randrange(8, 60)])
        while at < end:
            await asyncio.sleep(rng.choice([0, 0.01, 0.01, 6]))
            size = rng.choice([1, 40, 200, 1000])
            yield _STREAM[at : min(at + size, end)]
            at += size
        if self.trouble == "cut":
            raise UpstreamCut("the connection was reset")
        if self.trouble == "stalled":
            await asyncio.sleep(_STALLS)
            raise UpstreamStalled("no byte came")
        if self.trouble == "failed":
            yield b"\n\n" + _FAILURE
        self.whole = not self.trouble


class _Upstream:
    """A provider whose upstream follows a script."""

    name = "claude_api"
    prefixes = ("/claude",)
    lists = None
    detector = None
    paths: Sequence[str] = ()

    def __init__(self) -> None:
        self.script: Script

    def profile(self, model: str, dialect: str) -> Profile:
        return Profile("anthropic_messages", "anthropic")

    async def run(self, call: Call, record: Recorder) -> Answer:
        script = self.script
        await asyncio.sleep(script.rng.random())
        return Answer(200, [("content-type", "text/event-stream")], script.stream())

    def accounts(self) -> list[Any]:
        return []


class Client:
    """The client's end: what it got, and whether it has left."""

    def __init__(self, rng: Random, body: bytes) -> None:
        self.got = bytearray()
        self.status = 0
        self.ended = False
        self.left = asyncio.Event()
        self._rng, self._body = rng, body

    async def receive(self) -> dict[str, Any]:
        if (body := self._body) is not None:
            self._body = None  # type: ignore[assignment]
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await asyncio.sleep(self._rng.choice([0, 0, 0.01]))
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.got += message.get("body", b"")
        self.ended = not message.get("more_body", False)


class Streams:
    def __init__(self, world: World, process: Process, rng: Random) -> None:
        self._world, self._process, self._rng = world, process, rng
        self._hub = Hub(_settings(), world.clock, None)  # type: ignore[arg-type]
        self._upstream = _Upstream()
        self._hub.add_providers([self._upstream])  # type: ignore[list-item]

    async def run(self) -> None:
        """One exchange after the other."""
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / 150))
            await self._exchange()

    async def _exchange(self) -> None:
        rng = self._rng
        path, streamed = rng.choice(list(_PATHS)), rng.random() < 0.7
        asked = {"model": "m", "max_tokens": 9, "stream": streamed, "messages": [{"role": "user", "content": "hi"}]}
        client = Client(rng, json.dumps(asked).encode())
        script = self._upstream.script = Script(rng, rng.choice(_TROUBLE))
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "client": ("127.0.0.1", 1)}
        scope["headers"] = [(b"content-type", b"application/json")]
        target = parse_path(path, self._hub.prefixes)
        assert target is not None
        if rng.random() < 0.2:
            self._world.loop.call_later(rng.random() * 9, client.left.set)
        exchange = Exchange(self._hub, target, scope, client.receive, client.send)
        began = self._process.lost + self._world.loop.skipped
        try:
            async with asyncio.timeout(_LONGEST + 600):
                await exchange.run()
        except TimeoutError:
            if self._process.lost + self._world.loop.skipped == began:
                self._world.breaks(f"an exchange in {self._process.name} does not end")
        except Killed:
            raise
        self._judge(exchange.id, path, client, script)

    def _judge(self, name: str, path: str, client: Client, script: Script) -> None:
        record = self._hub.store.get(name)
        assert record is not None
        case = f"{path} ({script.trouble or 'whole'}{', client left' if client.left.is_set() else ''})"
        streamed = client.got[:1] != b"{"
        looks_whole = client.ended and client.status == 200 and (not streamed or _PATHS[path] in client.got)
        if record.live:
            self._world.breaks(f"an exchange has ended and is shown as live: {case}")
        if looks_whole and not script.whole:
            self._world.breaks(f"an answer looks whole and is not: {case}")
        if script.whole and not looks_whole and not client.left.is_set():
            self._world.breaks(f"an answer is whole and does not look so: {case}, {record.ended} {record.error}")
        if (record.ended == "done") != looks_whole and not client.left.is_set():
            self._world.breaks(f"the record has {record.ended!r} for {case}")
