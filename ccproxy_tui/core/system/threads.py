"""Where work on a body is done: small ones at once, large ones in a thread, so that the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

THREAD_FROM = 128 * 1024  # bytes; about a millisecond of parsing

T = TypeVar("T")


async def work_on(size: int, work: Callable[[], T]) -> T:
    """Run `work`, which must touch nothing that others use; `size` is that of the body it is about."""
    return work() if size < THREAD_FROM else await asyncio.to_thread(work)
