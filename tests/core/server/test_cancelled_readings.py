"""A screen that is left cancels what it reads: that must cost no connection to the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

from ccproxy_tui.core.control.frames import Watch
from tests.conftest import Proxy, until


async def test_readings_that_are_cancelled_cost_no_connection(proxy: Proxy) -> None:
    control = proxy.control()
    frames = control.frames(Watch())
    await anext(frames)
    before = open_files()
    rng = random.Random(1)

    async def leave_early(times: int) -> None:
        for _ in range(times):
            reading = asyncio.ensure_future(rng.choice([control.settings, control.status, control.accounts])())
            await asyncio.sleep(rng.random() * 0.012)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    await asyncio.gather(*(leave_early(60) for _ in range(6)))
    await asyncio.wait_for(control.look_at(Watch(answers=False)), 8)
    await until(lambda: open_files() <= before + 12, seconds=10)  # both ends of what is kept for the next request
    await frames.aclose()
    await control.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
