"""The queue holds no more than its share of memory, whoever fills it."""

from __future__ import annotations

import pytest

from ccproxy_tui.core.errors import InvalidRequest
from ccproxy_tui.core.permissions import Broker, Decision, PermissionRequest
from ccproxy_tui.core.permissions.broker import KEPT, MOST_BYTES, MOST_PENDING
from ccproxy_tui.core.permissions.request import Look
from tests.fakes.clock import FakeClock

REQUEST = PermissionRequest("Bash", {}, "rest")
NO = Decision(allowed=False, by="person")


@pytest.fixture
def broker() -> Broker:
    return Broker(FakeClock(0.0))


async def test_too_many_questions_are_refused_and_room_comes_back(broker: Broker) -> None:
    entries = [broker.ask(REQUEST, 60) for _ in range(MOST_PENDING)]
    with pytest.raises(InvalidRequest, match="Too many"):
        broker.ask(REQUEST, 60)
    broker.answer(entries[0].id, NO)
    broker.ask(REQUEST, 60)
    broker.close()
    assert len(broker.ended) == KEPT


async def test_large_questions_are_bounded_together_and_one_alone_is_not(broker: Broker) -> None:
    huge = broker.ask(REQUEST, 60, Look(size=2 * MOST_BYTES))
    with pytest.raises(InvalidRequest, match="Too many"):
        broker.ask(REQUEST, 60, Look(size=100))
    broker.answer(huge.id, NO)
    assert broker.ended == [huge], "the latest is kept for its asker to read, however large"
    half = Look(size=MOST_BYTES // 2)
    for entry in [broker.ask(REQUEST, 60, half), broker.ask(REQUEST, 60, half)]:
        broker.answer(entry.id, NO)
    assert [entry.look.size for entry in broker.ended] == [half.size, half.size]
