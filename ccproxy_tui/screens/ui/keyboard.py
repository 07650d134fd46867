"""Keys one after the other: each is dispatched once everything that the one before it began has happened.

Textual puts a key into the queue of the widget that has the focus at that moment. Of keys that come faster than the
screens follow (typed ahead, pasted, sent by a program) the second would go where the first has just led away from:
`/name` into the list instead of the filter, `3` `l` to a screen that is not built yet.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.screen import Screen

LONGEST = 1.0  # seconds that a key waits for the effects of the one before it
_POLL = 0.005


class Keyboard:
    """Holds keys back in their order. `released` is the one that the app may dispatch now."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._keys: asyncio.Queue[events.Event] = asyncio.Queue()
        self._taken = 0
        self._done = 0
        self.released: events.Event | None = None

    @property
    def idle(self) -> bool:
        """Whether every key was dispatched, and its effects are there."""
        return self._taken == self._done

    def take(self, event: events.Event) -> None:
        self._taken += 1
        self._keys.put_nowait(event)

    async def run(self) -> None:
        """Until cancelled, or the last screen is gone."""
        while True:
            event = await self._keys.get()
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST):
                    await self._screen_stands()
            if not self._app.screen_stack:
                return
            await self._release(event)
            self._done += 1

    async def _release(self, event: events.Event) -> None:
        """Dispatch `event`, and wait for its effects. No widget is held while there is no key."""
        target = self._app.focused or self._app.screen
        self.released = event
        self._app.post_message(event)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST):
                await self._passed(target)

    async def _passed(self, target: MessagePump) -> None:
        """The key has bubbled from `target` to the app; the focus that this asked for is set."""
        await _drained(self._app)
        node: MessagePump | None = target
        while node is not None:
            await _drained(node)
            node = node._parent
        await _drained(self._app)
        await self._screen_stands()
        await _drained(self._app)

    async def _screen_stands(self) -> None:
        """The screen that is open is built and, where it reads its rows from the proxy, has them."""
        while (stack := self._app.screen_stack) and not _stands(stack[-1]):  # noqa: ASYNC110 - another may open
            await asyncio.sleep(_POLL)


def _stands(screen: Screen[Any]) -> bool:
    return (
        screen.is_mounted and not getattr(screen.app, "recovering", False) and bool(getattr(screen, "is_ready", True))
    )


async def _drained(pump: MessagePump) -> None:
    """Everything that is in the queue of `pump` now has been handled."""
    done = asyncio.Event()
    if pump.is_running and pump.call_later(done.set):
        await done.wait()
