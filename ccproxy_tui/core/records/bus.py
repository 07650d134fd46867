"""The one stream of facts: all that happens in the proxy is published here, and heard in that order."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ccproxy_tui.core.records.events import Event
from ccproxy_tui.core.system.clock import Clock

log = logging.getLogger(__name__)

Handler = Callable[[Event, float], None]  # the event, and when it was published (monotonic seconds)


class Bus:
    """`publish` costs its caller a call per handler, so that each must be quick."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handlers: list[Handler] = []
        self._essential: set[Handler] = set()

    def handle(self, handler: Handler, *, essential: bool = False) -> None:
        """Call `handler` with each event from now on, before `publish` returns.

        One that raises is reported and hears nothing more, unless it is `essential`.
        """
        self._handlers.append(handler)
        if essential:
            self._essential.add(handler)

    def publish(self, event: Event) -> None:
        at = self._clock.monotonic()
        for handler in self._handlers:
            try:
                handler(event, at)
            except Exception:  # a handler may be anybody's: none may break the exchange that it hears of
                log.exception("a handler of %s failed", type(event).__name__)
                if handler not in self._essential:
                    self._handlers = [one for one in self._handlers if one is not handler]
