"""Every way that an exchange can end: row, detail, totals and timeline say the same, and say the cause."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from ccproxy_tui.core.control.frames import Detail, Watch
from ccproxy_tui.core.errors import UpstreamUnreachable
from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.server.exchange import _end_reason
from tests.conftest import Proxy, StartProxy, until
from tests.fakes.claude import write_claude
from tests.fakes.streams import chat_events, message_events, response_events, said
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Step, Wait, json_reply, sse_reply

pytestmark = pytest.mark.usefixtures("other_logins")

HI = {"role": "user", "content": "hi"}
TEXT = "one two three four five six seven"
BUSY = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy now"}}\n\n'
CHAT_BUSY = b'data: {"error":{"message":"busy now","type":"server_error"}}\n\n'
FAILED = (
    b'event: response.failed\ndata: {"type":"response.failed","sequence_number":9,"response":{"id":"resp_1",'
    b'"status":"failed","error":{"code":"server_error","message":"busy now"}}}\n\n'
)


@dataclass(frozen=True)
class Way:
    """A route through the proxy: where the client asks, what the upstream sends, its error inside a stream."""

    path: str
    body: dict[str, Any]
    events: list[bytes]
    broken: bytes
    ping: bytes = b""

    @property
    def part(self) -> list[bytes]:
        """The start of the answer: five events, the first token among them."""
        return self.events[:5]


WAYS = {
    "relayed": Way(
        "/api/v1/messages",
        {"model": "m", "max_tokens": 50, "messages": [HI]},
        message_events({"type": "text", "text": TEXT}),
        BUSY,
    ),
    "converted": Way(
        "/api/v1/chat/completions",
        {"model": "m", "messages": [HI]},
        message_events({"type": "text", "text": TEXT}),
        BUSY,
    ),
    "converted from responses": Way(
        "/codex/v1/messages",
        {"model": "m", "max_tokens": 50, "messages": [HI]},
        response_events(said(TEXT)),
        FAILED,
    ),
    "mended chat": Way("/copilot/v1/chat/completions", {"model": "m", "messages": [HI]}, chat_events(TEXT), CHAT_BUSY),
}


@dataclass
class Scene:
    """One exchange under way; a scenario ends it."""

    proxy: Proxy
    upstream: ScriptedUpstream
    way: Way
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def whole(self, reply: Reply, *, stream: bool = True) -> None:
        """The client takes everything that comes."""
        self.upstream.replies.append(reply)
        try:
            await self.proxy.client.post(self.way.path, json={**self.way.body, "stream": stream})
        except httpx.HTTPError:
            pass  # it broke off, and that is for the scenario to judge by the record

    async def begun(self, *then: Step) -> asyncio.Task[None]:
        """The client reads on and on; the answer's start is there."""
        task = asyncio.ensure_future(self.whole(sse_reply(*self.way.part, Wait(event=self.go_on), *then)))
        await until(lambda: len(self.proxy.hub.store) == 1 and self.proxy.last.events >= 5)
        return task

    async def leaves_at(self, mark: bytes, *steps: Step) -> None:
        """The client closes its connection as soon as it has read `mark`."""
        self.upstream.replies.append(sse_reply(*steps))
        body = {**self.way.body, "stream": True}
        async with self.proxy.client.stream("POST", self.way.path, json=body) as response:
            seen = b""
            async for chunk in response.aiter_raw():
                seen += chunk
                if mark in seen:
                    return

    async def stop(self) -> None:
        control = self.proxy.control()
        await control.stop_exchange(self.proxy.last.id)
        await control.close()


@dataclass(frozen=True)
class End:
    """What must be shown. `tokens` None: any estimate of what was sent, which the start's `1` is not."""

    run: Callable[[Scene], Awaitable[object]]
    state: str
    end: str
    failed: bool
    error: str = ""
    tokens: int | None = 0


async def _done(scene: Scene) -> None:
    await scene.whole(sse_reply(*scene.way.events))


async def _left_before(scene: Scene) -> None:
    task = asyncio.ensure_future(scene.whole(Reply(before_head=[Wait(30)])))
    await until(lambda: len(scene.upstream.seen) == 1)
    task.cancel()


async def _left_after(scene: Scene) -> None:
    (await scene.begun()).cancel()


async def _left_at_the_error(scene: Scene) -> None:
    await scene.leaves_at(b"busy now", *scene.way.part, scene.way.broken, Wait(30))


async def _left_at_the_end(scene: Scene) -> None:
    mark = b"[DONE]" if "chat" in scene.way.path else b"message_stop"
    await scene.leaves_at(mark, *scene.way.events, Wait(30))


async def _error_event(scene: Scene) -> None:
    await scene.whole(sse_reply(*scene.way.part, scene.way.broken))


async def _stopped_before(scene: Scene) -> None:
    task = asyncio.ensure_future(scene.whole(Reply(before_head=[Wait(30)])))
    await until(lambda: len(scene.upstream.seen) == 1)
    await scene.stop()
    await task


async def _stopped(scene: Scene) -> None:
    task = await scene.begun()
    await scene.stop()
    await task


async def _drained(scene: Scene) -> None:
    task = await scene.begun()
    await scene.proxy.hub.drain(0)
    await task


async def _refused_while_draining(scene: Scene) -> None:
    await scene.proxy.hub.drain(0)
    await scene.whole(sse_reply(*scene.way.events))


async def _cut(scene: Scene) -> None:
    await scene.whole(sse_reply(*scene.way.part, Cut))


async def _ended_without_its_mark(scene: Scene) -> None:
    await scene.whole(sse_reply(*scene.way.part))


async def _stalled(scene: Scene) -> None:
    await scene.whole(sse_reply(*scene.way.part, Wait(30)))


async def _stalled_before(scene: Scene) -> None:
    await scene.whole(Reply(before_head=[Wait(30)]))


def _answered(status: int) -> Callable[[Scene], Awaitable[None]]:
    async def run(scene: Scene) -> None:
        kind = {"type": "error", "error": {"type": "x", "message": "not like this"}}
        await scene.whole(json_reply(kind, status))

    return run


async def _refused_after_a_ping(scene: Scene) -> None:
    reply = json_reply({"error": {"message": "not like this"}}, 529)
    reply.before_head = [Wait(1.5)]
    await scene.whole(reply)


async def _held(scene: Scene) -> None:
    """A permission request holds it; then the client leaves."""
    task = await scene.begun()
    control = scene.proxy.control()
    frames = control.frames(Watch())
    await anext(frames)
    asked = PermissionRequest("Bash", {}, "rest", exchange=scene.proxy.last.id)
    request = asyncio.ensure_future(scene.proxy.hub.desk.settle(asked))
    try:
        await until(lambda: scene.proxy.last.questions == 1)
        task.cancel()
        await scene.proxy.ended()
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await frames.aclose()
        await control.close()


ENDS = {
    "whole": End(_done, "200", "done", failed=False, tokens=42),
    "the client left before the first byte": End(_left_before, "499", "client_gone", failed=False),
    "the client left in mid-stream": End(_left_after, "499", "client_gone", failed=False, tokens=None),
    "the client left because of an error event": End(
        _left_at_the_error, "ERR", "upstream_error", failed=True, error="busy now", tokens=None
    ),
    "the client left after the last event": End(_left_at_the_end, "200", "done", failed=False, tokens=42),
    "an error event in the stream": End(
        _error_event, "ERR", "upstream_error", failed=True, error="busy now", tokens=None
    ),
    "stopped before the first byte": End(_stopped_before, "STOP", "stopped", failed=False, error="stopped by the user"),
    "stopped in mid-stream": End(_stopped, "STOP", "stopped", failed=False, error="stopped by the user", tokens=None),
    "drained": End(_drained, "ERR", "drained", failed=True, error="shutting down", tokens=None),
    "refused while draining": End(_refused_while_draining, "503", "drained", failed=True, error="shutting down"),
    "cut": End(_cut, "ERR", "cut", failed=True, error="in the middle", tokens=None),
    "ended without its mark": End(
        _ended_without_its_mark, "ERR", "cut", failed=True, error="in the middle", tokens=None
    ),
    "stalled in mid-stream": End(_stalled, "ERR", "stalled", failed=True, error="stopped sending", tokens=None),
    "stalled before the first byte": End(_stalled_before, "504", "stalled", failed=True, error=""),
    "a 400": End(_answered(400), "400", "upstream_error", failed=True, error="not like this"),
    "a 429": End(_answered(429), "429", "upstream_error", failed=True, error="not like this"),
    "a 529": End(_answered(529), "*", "upstream_error", failed=True, error="not like this"),
    "refused after a ping": End(_refused_after_a_ping, "ERR", "upstream_error", failed=True, error="not like this"),
    "the client left while a permission was asked": End(_held, "499", "client_gone", failed=False, tokens=None),
}
SETTINGS = {
    "stalled in mid-stream": {"HTTP__READ_TIMEOUT": "0.3"},
    "stalled before the first byte": {"HTTP__READ_TIMEOUT": "0.3"},
    "refused after a ping": {"SERVER__KEEPALIVE_SECONDS": "1"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ENDS)
async def test_the_cause_is_shown_everywhere_alike(
    start_proxy: StartProxy, upstream: ScriptedUpstream, name: str, way: str
) -> None:
    proxy = await start_proxy(**SETTINGS.get(name, {}))
    await ENDS[name].run(Scene(proxy, upstream, WAYS[way]))
    await proxy.ended()
    await check(proxy, ENDS[name])


async def check(proxy: Proxy, end: End) -> None:
    """Row, detail, timeline and totals of the only exchange."""
    control = proxy.control()
    frames = control.frames(Watch(detail=proxy.last.id))
    frame = await anext(frames)
    await frames.aclose()
    status, fetched = await control.status(), await control.detail(proxy.last.id)
    await control.close()
    [row] = frame.rows
    detail: Detail | None = frame.detail
    assert detail is not None
    assert detail.row == row == fetched.row
    assert row.state == end.state or end.state == "*"
    assert (row.end, row.live) == (end.end, False)
    assert (status.live, status.total, status.errors) == (0, 1, int(end.failed))
    assert end.error in row.error
    assert bool(row.error) == (end.failed or end.end == "stopped")
    if end.tokens is None:
        assert 1 < row.tokens_out < 42
    else:
        assert row.tokens_out == end.tokens
    assert detail.marks[-1].name == "ended"
    assert detail.marks[-1].detail in (row.error, row.end.replace("_", " "))
    assert [mark.name for mark in detail.marks].count("ended") == 1


async def test_a_live_streams_tokens_never_jump_back_when_it_is_stopped(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    scene = Scene(proxy, upstream, WAYS["relayed"])
    task = await scene.begun()
    before = proxy.last.output_tokens()
    await scene.stop()
    await task
    assert (await proxy.ended()).output_tokens() == before > 1


SOCKET_ENDS = {
    "whole": ("200", "done", False, response_events(said(TEXT))),
    "failed": ("ERR", "upstream_error", True, [*response_events(said(TEXT))[:5], FAILED]),
    "cut": ("ERR", "cut", True, [*response_events(said(TEXT))[:5], Cut]),
    "left": ("499", "client_gone", False, [*response_events(said(TEXT))[:5], Wait(30)]),
    "stopped": ("STOP", "stopped", False, [*response_events(said(TEXT))[:5], Wait(30)]),
}


@pytest.mark.parametrize("name", SOCKET_ENDS)
async def test_over_a_websocket_too(start_proxy: StartProxy, upstream: ScriptedUpstream, name: str) -> None:
    state, end, failed, steps = SOCKET_ENDS[name]
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    upstream.default = lambda seen: sse_reply(*steps)
    async with connect(f"ws://127.0.0.1:{proxy.hub.port}/codex/responses", proxy=None) as client:
        await client.send(json.dumps({"type": "response.create", "model": "gpt-5.4", "input": "hi", "store": False}))
        for _ in range(5):
            await client.recv()
        if name == "stopped":
            await Scene(proxy, upstream, WAYS["relayed"]).stop()
        if name != "left":
            await proxy.ended()
    record = await proxy.ended()
    assert record.ended == end
    control = proxy.control()
    row, status = (await control.detail(record.id)).row, await control.status()
    await control.close()
    assert (row.state, status.errors) == (state, int(failed))
    assert row.tokens_out == 42 if name == "whole" else 1 < row.tokens_out < 42


@pytest.mark.parametrize("name", ["stopped", "left"])
async def test_of_an_agent_too(start_proxy: StartProxy, tmp_path: Path, name: str) -> None:
    proxy = await start_proxy(
        CLAUDE__CLI_PATH=str(write_claude(tmp_path / "tool")),
        CLAUDE__CODE_OPTIONS__CWD=str(tmp_path),
        CLAUDE__SDK_SESSION_POOL__STREAM_INTERRUPT_TIMEOUT="1",
    )
    body = {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": "hang"}], "stream": True}
    task = asyncio.ensure_future(proxy.client.post("/sdk/v1/messages", json=body))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.first_byte is not None, seconds=15)
    if name == "stopped":
        control = proxy.control()
        await control.stop_exchange(proxy.last.id)
        await control.close()
        await task
    else:
        task.cancel()
    record = await proxy.ended()
    assert record.ended == {"stopped": "stopped", "left": "client_gone"}[name]
    assert proxy.hub.store.errors == 0


def test_an_unreachable_upstream_is_a_failure_of_the_upstream() -> None:
    assert _end_reason(UpstreamUnreachable("x")) == "upstream_error"
