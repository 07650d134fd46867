"""Fan-out of events: the store takes them at once; watchers have bounded queues and may miss some, never block."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ccproxy_tui.core.events import Event

QUEUE_LIMIT = 1000


class Subscription:
    """A bounded queue of events. When it is full the oldest are dropped and counted."""

    def __init__(self, limit: int) -> None:
        self._queue: deque[Event] = deque(maxlen=limit)
        self._ready = asyncio.Event()
        self.dropped = 0

    def put(self, event: Event) -> None:
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1
        self._queue.append(event)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._queue:
                yield self._queue.popleft()


class Bus:
    """`publish` costs its caller a call per handler and an append per watcher, whatever the watchers do."""

    def __init__(self) -> None:
        self._handlers: list[Callable[[Event], None]] = []
        self._watchers: set[Subscription] = set()

    def handle(self, handler: Callable[[Event], None]) -> None:
        """`handler` sees every event, in order, before `publish` returns. For the store; it must be quick."""
        self._handlers.append(handler)

    def subscribe(self, limit: int = QUEUE_LIMIT) -> Subscription:
        subscription = Subscription(limit)
        self._watchers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._watchers.discard(subscription)

    def publish(self, event: Event) -> None:
        for handler in self._handlers:
            handler(event)
        for watcher in self._watchers:
            watcher.put(event)
