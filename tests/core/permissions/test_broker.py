"""The list holds no more than its share of memory, and no client fills it alone."""

from __future__ import annotations

import asyncio

import pytest

from ccproxy_tui.core.errors import TooManyRequests
from ccproxy_tui.core.permissions import Broker, Decision, Entry, PermissionRequest
from ccproxy_tui.core.permissions.broker import BYTES_SHARE, KEPT, MOST_BYTES, MOST_PENDING, QUEUED_SHARE, SHARE
from ccproxy_tui.core.permissions.request import Look
from tests.fakes.clock import FakeClock

REQUEST = PermissionRequest("Bash", {}, "rest")
NO = Decision(allowed=False, by="person")


@pytest.fixture
def broker() -> Broker:
    return Broker(FakeClock(0.0))


async def ask(broker: Broker, owner: str = "one", size: int = 2) -> Entry:
    return await broker.ask_in_turn(REQUEST, 60, Look(size=size), owner)


async def test_a_flood_of_one_client_leaves_room_for_the_next(broker: Broker) -> None:
    flood = [asyncio.create_task(ask(broker)) for _ in range(SHARE + QUEUED_SHARE)]
    await asyncio.sleep(0)
    assert len(broker.pending) == SHARE
    with pytest.raises(TooManyRequests):
        await ask(broker)
    other = await ask(broker, "other")
    assert broker.pending[-1] is other
    broker.answer(other.id, NO)
    broker.answer(broker.pending[0].id, NO)
    assert len(broker.pending) == SHARE, "the next of those that wait has its turn"
    broker.close()
    assert {entry.status for entry in await asyncio.gather(*flood)} == {"denied"}, "each gets an answer"
    assert len(broker.ended) == KEPT


async def test_the_list_is_bounded_and_clients_take_turns(broker: Broker) -> None:
    clients = [str(number) for number in range(MOST_PENDING // SHARE)]
    for client in clients:
        for _ in range(SHARE):
            await ask(broker, client)
    waiting = {client: [asyncio.create_task(ask(broker, client)) for _ in range(3)] for client in ("a", "b")}
    await asyncio.sleep(0)
    assert len(broker.pending) == MOST_PENDING
    for _ in range(4):
        broker.answer(broker.pending[0].id, NO)
    assert [entry.owner for entry in broker.pending[-4:]] == ["a", "b", "a", "b"]
    broker.close()
    await asyncio.gather(*waiting["a"], *waiting["b"])


async def test_a_client_that_leaves_while_it_waits_for_its_turn_is_forgotten(broker: Broker) -> None:
    first = [await ask(broker) for _ in range(SHARE)]
    waiting = asyncio.create_task(ask(broker))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    broker.answer(first[0].id, NO)
    assert len(broker.pending) == SHARE - 1
    late = [asyncio.create_task(ask(broker)) for _ in range(2)]
    await asyncio.sleep(0)
    broker.answer(first[1].id, NO)  # its turn has come, and it has not seen that yet
    late[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await late[1]
    assert broker.ended[0].status == "cancelled"


async def test_one_that_waits_in_vain_for_its_turn_expires(broker: Broker) -> None:
    for _ in range(SHARE):
        await ask(broker)
    entry = await broker.ask_in_turn(REQUEST, 0.01, Look(), "one")
    assert (await broker.wait(entry)).status == "expired"


async def test_large_requests_are_bounded_together_and_one_alone_is_not(broker: Broker) -> None:
    huge = await ask(broker, size=2 * MOST_BYTES)
    later = asyncio.create_task(ask(broker, "other", size=100))
    await asyncio.sleep(0)
    assert broker.pending == [huge]
    with pytest.raises(TooManyRequests):
        await asyncio.gather(*(ask(broker, size=BYTES_SHARE) for _ in range(2)))
    broker.answer(huge.id, NO)
    assert broker.ended[0] is huge, "the latest is kept for its client to read, however large"
    await later
    for _ in range(3):
        broker.answer((await ask(broker, "third", size=MOST_BYTES // 2)).id, NO)
    assert sum(entry.look.size for entry in broker.ended) <= MOST_BYTES
