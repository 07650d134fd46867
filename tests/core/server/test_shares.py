"""Memory for large requests: granted at once while there is enough, in turn for each client after that."""

from __future__ import annotations

import asyncio

import pytest

from ccproxy_tui.core.errors import TooMuchMemory
from ccproxy_tui.core.limits import MB, SHARE_WAITING
from ccproxy_tui.core.server import shares as module
from ccproxy_tui.core.server.shares import Claim, Shares

TOTAL, SHARE = 100 * MB, 40 * MB


@pytest.fixture
def shares() -> Shares:
    return Shares(lambda: (TOTAL, SHARE))


def claim(shares: Shares, client: str) -> Claim:
    made = Claim(shares, {"type": "http"})
    made.owner = client
    return made


async def held(shares: Shares, client: str, size: int) -> Claim:
    made = claim(shares, client)
    await made.reach(size)
    return made


async def test_a_client_waits_for_its_own_share_and_others_pass_it(shares: Shares) -> None:
    first = await held(shares, "a", 30 * MB)
    waiting = asyncio.ensure_future(held(shares, "a", 20 * MB))
    await asyncio.sleep(0)
    await held(shares, "b", 40 * MB)
    assert not waiting.done()
    first.release()
    assert (await waiting).size == 20 * MB


async def test_nothing_is_looked_for_while_all_of_it_fits_into_one_share(shares: Shares) -> None:
    made = Claim(shares, {"type": "http"})
    await made.reach(40 * MB)
    assert made.owner == ""


async def test_what_is_small_takes_no_part(shares: Shares) -> None:
    made = await held(shares, "a", 64 * 1024)
    assert made.size == 0


async def test_the_total_holds_for_all_clients_together(shares: Shares) -> None:
    claims = [await held(shares, name, 40 * MB) for name in "ab"]
    waiting = asyncio.ensure_future(held(shares, "c", 40 * MB))
    small = await held(shares, "d", 10 * MB)
    assert not waiting.done()
    claims[0].settle(1 * MB)
    assert (await waiting).size + small.size == 50 * MB


async def test_a_body_larger_than_the_share_passes_alone(shares: Shares) -> None:
    await held(shares, "a", 10 * MB)
    assert (await held(shares, "b", 80 * MB)).size == 80 * MB


async def test_a_claim_moves_to_work_that_goes_on(shares: Shares) -> None:
    made = await held(shares, "a", 30 * MB)
    moved = made.moved()
    made.release()
    waiting = asyncio.ensure_future(held(shares, "a", 20 * MB))
    await asyncio.sleep(0)
    assert not waiting.done()
    moved.release()
    await waiting


async def test_a_cancelled_claim_makes_room_for_the_next(shares: Shares) -> None:
    first = await held(shares, "a", 30 * MB)
    large, small = (asyncio.ensure_future(held(shares, "a", size * MB)) for size in (35, 10))
    await asyncio.sleep(0)
    assert not small.done(), "in turn"
    large.cancel()
    assert (await small).size == 10 * MB
    first.release()


async def test_a_claim_that_is_released_while_it_waits_holds_nothing(shares: Shares) -> None:
    first, made = await held(shares, "a", 30 * MB), claim(shares, "a")
    waiting = asyncio.ensure_future(made.reach(20 * MB))
    await asyncio.sleep(0)
    made.release()
    first.release()
    await waiting
    assert made.size == 0
    await asyncio.wait_for(held(shares, "a", 40 * MB), 5)
    assert (await asyncio.wait_for(held(shares, "b", 40 * MB), 5)).size == 40 * MB


async def test_what_is_held_for_a_message_that_comes_stays_when_another_one_is_done(shares: Shares) -> None:
    made = await held(shares, "a", 30 * MB)
    made.coming = 20 * MB
    made.settle(0)
    assert made.size == 20 * MB
    made.coming = 0
    made.settle(1 * MB)
    assert made.size == 1 * MB


async def test_what_is_under_way_waits_for_nothing_that_is_to_begin(shares: Shares) -> None:
    first, second = await held(shares, "a", 20 * MB), await held(shares, "a", 15 * MB)
    new = asyncio.ensure_future(held(shares, "a", 10 * MB))
    await asyncio.sleep(0)
    await asyncio.wait_for(first.reach(22 * MB), 5)
    growing = asyncio.ensure_future(first.reach(30 * MB))
    await asyncio.sleep(0)
    second.release()
    await asyncio.wait_for(growing, 5)
    assert (await asyncio.wait_for(new, 5)).size == 10 * MB


async def test_the_wait_has_an_end(shares: Shares, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARE_SECONDS", 0.01)
    await held(shares, "a", 40 * MB)
    with pytest.raises(TooMuchMemory, match="40 MB"):
        await held(shares, "a", 1 * MB)


async def test_so_many_wait_and_no_more(shares: Shares) -> None:
    await held(shares, "a", 40 * MB)
    waiting = [asyncio.ensure_future(held(shares, "a", 1 * MB)) for _ in range(SHARE_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooMuchMemory):
        await held(shares, "a", 1 * MB)
    await held(shares, "b", 1 * MB)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
