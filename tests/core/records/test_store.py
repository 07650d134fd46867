"""The store: what events do to it, what it forgets, what it keeps in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.records.bus import Bus
from ccproxy_tui.core.records.events import (
    Accepted,
    BodyRead,
    Event,
    Finished,
    Marked,
    Routed,
    Summary,
    UpstreamAnswered,
    UpstreamAsked,
)
from ccproxy_tui.core.records.kept_bodies import BLOCK, HEAD_LIMIT, TAIL_LIMIT, Capture
from ccproxy_tui.core.records.store import RAW_BUDGET, Store
from tests.fakes.clock import FakeClock


def accepted(key: str) -> Accepted:
    return Accepted(key, 1.0, "POST", "/api/v1/messages", "", "127.0.0.1:5", "curl", "curl/8", "anthropic_messages")


def ended(key: str, **more: object) -> Finished:
    return Finished(key, Summary("done", 200, **more))  # type: ignore[arg-type]


def filled(clock: FakeClock, **options: int) -> tuple[Store, Callable[[Event], None]]:
    """A store, and what publishes to it."""
    store, bus = Store(**options), Bus(clock)
    bus.handle(store.apply, essential=True)
    return store, bus.publish


def test_a_whole_life_leaves_a_whole_record(clock: FakeClock) -> None:
    store, publish = filled(clock)
    publish(accepted("a"))
    clock.advance(0.5)
    publish(BodyRead("a", b'{"x":1}', "opus", True, "session"))
    publish(Routed("a", "claude_api", "max", "anthropic_messages", "plan"))
    publish(UpstreamAsked("a", "POST", "https://up/v1/messages", (("x", "y"),), b'{"x":1}'))
    publish(UpstreamAnswered("a", 200, (("request-id", "r"),)))
    publish(Marked("a", "retry", "second account"))
    clock.advance(1.5)
    publish(ended("a", duration=2.0, usage=Usage(output=7), served_model="opus-1", stop_reason="end_turn"))
    record = store.get("a")
    assert record is not None
    assert (record.model, record.stream, record.session, record.provider) == ("opus", True, "session", "claude_api")
    assert record.upstream_request_body is None
    assert (record.duration, record.usage.output, record.served_model) == (2.0, 7, "opus-1")
    assert [(mark.at, mark.name) for mark in record.marks][:2] == [(0.0, "accepted"), (0.5, "body read")]
    assert store.live_count == 0


def test_another_body_upstream_is_kept_beside_the_clients(clock: FakeClock) -> None:
    store, publish = filled(clock)
    publish(accepted("a"))
    publish(BodyRead("a", b"client", "", False, ""))
    publish(UpstreamAsked("a", "POST", "u", (), b"upstream"))
    record = store.get("a")
    assert record is not None
    assert record.upstream_request_body is not None
    assert record.upstream_request_body.read() == b"upstream"


def test_a_viewer_finds_what_changed_since_its_revision(clock: FakeClock) -> None:
    store, publish = filled(clock)
    publish(accepted("a"))
    publish(accepted("b"))
    seen = store.revision
    publish(Marked("a", "x"))
    assert [record.id for record in store.changed_since(seen)] == ["a"]
    assert store.changed_since(store.revision) == []


def test_the_oldest_are_forgotten_and_said_to_be_gone_but_never_live_ones(clock: FakeClock) -> None:
    store, publish = filled(clock, kept=3)
    publish(accepted("live"))
    for key in "abcd":
        publish(accepted(key))
        publish(ended(key))
    assert [record.id for record in store] == ["live", "c", "d"]
    assert store.gone_since(0) == ["a", "b"]
    assert store.total == 5


def test_events_of_forgotten_exchanges_are_passed_over(clock: FakeClock) -> None:
    store, publish = filled(clock)
    publish(Marked("nobody", "x"))
    assert len(store) == 0


async def test_a_listener_is_woken_by_changes_until_it_stops_listening(clock: FakeClock) -> None:
    store, publish = filled(clock)
    event = asyncio.Event()
    store.listen(event)
    publish(accepted("a"))
    assert event.is_set()
    event.clear()
    store.ignore(event)
    publish(Marked("a", "x"))
    assert not event.is_set()


def test_bodies_over_the_budget_are_dropped_oldest_first(clock: FakeClock) -> None:
    store, publish = filled(clock)
    for key in "abc":
        publish(accepted(key))
        publish(BodyRead(key, b"x" * 1000, "", False, ""))
        publish(ended(key))
    store.enforce_budget(2500)
    kept = {record.id: record.request_body.kept for record in store}
    assert kept == {"a": 0, "b": 1000, "c": 1000}
    assert all(record.request_body.total == 1000 for record in store)


def test_a_flood_of_bodies_is_dropped_before_it_is_compressed(clock: FakeClock) -> None:
    store, publish = filled(clock)
    for number in range(10):
        publish(accepted(str(number)))
        publish(BodyRead(str(number), b"x" * (RAW_BUDGET // 4), "", False, ""))
        publish(ended(str(number)))
    assert sum(record.request_body.memory for record in store) <= RAW_BUDGET


def test_live_bodies_stop_growing_when_the_budget_is_full(clock: FakeClock) -> None:
    store, publish = filled(clock)
    publish(accepted("a"))
    record = store.get("a")
    assert record is not None
    record.upstream_body.append(b"x" * (BLOCK * 2))
    store.enforce_budget(1000)
    record.upstream_body.append(b"end")
    assert record.upstream_body.kept == BLOCK * 2
    assert record.upstream_body.tail().endswith(b"end")


# --- captures ---


def test_a_capture_reads_any_slice_before_and_after_compression() -> None:
    data = bytes(range(256)) * 1000
    capture = Capture()
    for start in range(0, len(data), 999):
        capture.append(data[start : start + 999])
        if start % 7 == 0 and (block := capture.seal(ended=False)) is not None:
            block.pack(block.compress())
    assert capture.read() == data
    assert capture.read(1000, 50_000) == data[1000:51_000]
    assert capture.read(len(data) - 5) == data[-5:]
    assert capture.read(len(data) + 5) == b""
    assert capture.tail() == data[-TAIL_LIMIT:]
    assert capture.memory < len(data)


def test_a_capture_keeps_its_beginning_and_its_end() -> None:
    capture = Capture()
    capture.append(b"a" * HEAD_LIMIT)
    capture.append(b"b" * (TAIL_LIMIT * 2))
    capture.append(b"end")
    assert capture.kept == HEAD_LIMIT
    assert capture.total == HEAD_LIMIT + TAIL_LIMIT * 2 + 3
    assert capture.tail() == b"b" * (TAIL_LIMIT - 3) + b"end"
    assert not capture.complete


def test_the_tail_of_a_body_just_over_the_limit_joins_head_and_rest() -> None:
    capture = Capture(b"a" * HEAD_LIMIT)
    capture.append(b"xyz")
    assert capture.tail() == b"a" * (TAIL_LIMIT - 3) + b"xyz"
