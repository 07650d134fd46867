"""Each exchange has one end among its facts, whatever ends it. `running_proxy` rebuilds each record from its events."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections.abc import Callable

import httpx
import pytest

from ccproxy_tui.core.exchange.preparing import Plan
from ccproxy_tui.core.exchange.sending import Record
from ccproxy_tui.core.provider import Answer
from ccproxy_tui.core.records.events import (
    AccountChanged,
    Event,
    Finished,
    PermissionAsked,
    PermissionDecided,
    SettingsChanged,
)
from tests.conftest import Proxy, StartProxy, until
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Step, Wait, anthropic_stream, json_reply, sse_reply

ROUTES = ["/api/v1/messages", "/api/v1/chat/completions", "/api/v1/responses", "/v1/messages", "/api/v1/nothing"]
EVENTS = anthropic_stream("one two three four five six")
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def reply(rng: random.Random) -> Reply:
    """What an upstream does, well or badly."""
    at = rng.randrange(len(EVENTS))
    pause: list[Step] = [Wait(rng.choice([0.0, 0.01, 0.05]))]
    cases: list[Callable[[], Reply]] = [
        lambda: sse_reply(*EVENTS[:at], *pause, *EVENTS[at:]),
        lambda: sse_reply(*EVENTS[:at], Cut),
        lambda: sse_reply(*EVENTS[:at], ERROR),
        lambda: sse_reply(*EVENTS[:at]),
        lambda: sse_reply(*EVENTS[:at], Wait(5), *EVENTS[at:]),
        lambda: json_reply(MESSAGE),
        lambda: json_reply(
            {"type": "error", "error": {"type": "api_error", "message": "no"}}, rng.choice([400, 401, 500])
        ),
        lambda: Reply(302, [("location", "/elsewhere")]),
        lambda: Reply(raw=b"nonsense"),
        lambda: Reply(raw=b""),
        lambda: Reply(before_head=[Wait(5)]),
    ]
    return rng.choice(cases)()


async def ask(proxy: Proxy, rng: random.Random) -> None:
    """One client: it may send nonsense, and leave at any time."""
    given: dict[str, object] = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 9,
        "stream": rng.random() < 0.8,
        "messages": [{"role": "user", "content": "hi"}],
        "input": "hi",
    }
    content = {} if rng.random() < 0.9 else {"content": b"{nonsense"}
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with (
            asyncio.timeout(rng.choice([0.02, 0.2, 1.0])),
            proxy.client.stream("POST", rng.choice(ROUTES), **(content or {"json": given})) as answer,  # type: ignore[arg-type]
        ):
            async for _ in answer.aiter_raw():
                if rng.random() < 0.1:
                    return


@pytest.mark.parametrize("seed", range(8))
async def test_every_exchange_ends_once(start_proxy: StartProxy, upstream: ScriptedUpstream, seed: int) -> None:
    rng = random.Random(seed)
    proxy = await start_proxy()
    facts: list[Event] = []
    proxy.hub.bus.handle(lambda event, _: facts.append(event))
    upstream.default = lambda _: reply(rng)
    await asyncio.gather(*(ask(proxy, rng) for _ in range(10)))
    work = [asyncio.ensure_future(ask(proxy, rng)) for _ in range(10)]
    await asyncio.wait(work, timeout=0.1)
    if seed % 2:
        for exchange in list(proxy.hub.running.values()):
            exchange.interrupt("stopped")
    else:
        await proxy.hub.drain(0.0)
    await asyncio.gather(*work)
    await until(lambda: not proxy.hub.running)
    ends = [event for event in facts if isinstance(event, Finished)]
    assert sorted(event.exchange for event in ends) == sorted(record.id for record in proxy.hub.store)
    assert len(ends) >= 10
    for event in ends:
        record = proxy.hub.store.get(event.exchange)
        assert record is not None
        summary = event.summary
        assert (summary.reason, summary.status, summary.path) == (record.ended, record.status, record.path)
        assert (summary.provider, summary.calls, summary.model) == (record.provider, record.calls, record.model)
        assert summary.duration == record.duration


async def test_an_answer_that_can_not_be_closed_has_an_end(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    """How an answer is closed is its provider's code."""
    proxy = await start_proxy()
    upstream.default = lambda _: sse_reply(*EVENTS)
    ask = proxy.hub.sender.ask

    async def closing_fails(plan: Plan, record: Record) -> Answer:
        answer = await ask(plan, record)
        close = answer.close

        async def fail() -> None:
            closing = close()
            if inspect.isawaitable(closing):
                await closing
            raise ValueError("not mine")

        answer.close = fail
        return answer

    proxy.hub.sender.ask = closing_fails  # type: ignore[method-assign]
    answer = await proxy.client.post(
        "/api/v1/messages", json={"model": "m", "max_tokens": 9, "stream": True, "messages": []}
    )
    assert answer.content == b"".join(EVENTS)
    record = await proxy.ended()
    assert (record.ended, record.status) == ("done", 200)


async def test_permission_requests_settings_and_accounts_are_facts(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(PERMISSIONS__RULES='[{"rule": "Bash(ls)"}]', PERMISSIONS__WITHOUT_FRONT_END="rules")
    facts: list[Event] = []
    proxy.hub.bus.handle(lambda event, _: facts.append(event))
    for command in ("ls", "make"):
        await proxy.client.post("/permissions", json={"tool_name": "Bash", "input": {"command": command}})
    control = proxy.control()
    await control.change_setting("server.stall_seconds", "21")
    await control.close()
    proxy.hub.accounts()[0].note("renewed")  # type: ignore[attr-defined]
    asked = [event for event in facts if isinstance(event, PermissionAsked)]
    decided = [event for event in facts if isinstance(event, PermissionDecided)]
    assert [(event.source, event.tool) for event in asked] == [("script", "Bash")] * 2
    assert [(event.request, event.status, event.by) for event in decided] == [
        (asked[0].request, "allowed", "rule Bash(ls)"),
        (asked[1].request, "denied", "no front end"),
    ]
    assert SettingsChanged(("server", "stall_seconds")) in facts
    assert AccountChanged("claude", "renewed") in facts
