"""One queue of questions: first come, first served; the first answer counts; an asker always gets one.

A question ends in one of four ways: allowed or denied by somebody, expired, or cancelled because its asker has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound
from ccproxy_tui.core.ids import new_id
from ccproxy_tui.core.permissions.request import Decision, Look, PermissionRequest, Status

log = logging.getLogger("ccproxy_tui.permissions")

KEPT = 200
MOST_PENDING = 500
MOST_BYTES = 32 * 1024 * 1024  # of inputs, of those that wait and again of those that are kept
LONGEST = 3600.0
TIMED_OUT = "Permission request timed out"


class AlreadyAnswered(ProxyError):
    status = 409
    kind = "invalid_request"


@dataclass(slots=True)
class Entry:
    """A question in the queue. Times are seconds since the epoch."""

    id: str
    request: PermissionRequest
    created: float
    expires: float
    look: Look = field(default_factory=Look)
    status: Status = "pending"
    ended: float | None = None
    decision: Decision | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None


def _size(entries: Iterable[Entry]) -> int:
    return sum(entry.look.size for entry in entries)


class Broker:
    """One loop's thread only. `changed` is called after every change."""

    def __init__(self, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._changed = changed
        self.on_end: Callable[[Entry], None] = lambda _: None
        self._pending: OrderedDict[str, Entry] = OrderedDict()
        self._ended: deque[Entry] = deque(maxlen=KEPT)
        self.revision = 0

    @property
    def pending(self) -> list[Entry]:
        """The oldest first."""
        return list(self._pending.values())

    @property
    def ended(self) -> list[Entry]:
        """The latest first."""
        return list(reversed(self._ended))

    def get(self, name: str) -> Entry:
        """Raises RouteNotFound."""
        entry = self._pending.get(name) or next((one for one in self._ended if one.id == name), None)
        if entry is None:
            raise RouteNotFound("Permission request not found")
        return entry

    def ask(self, request: PermissionRequest, seconds: float, look: Look | None = None) -> Entry:
        """Put a question into the queue. Raises InvalidRequest when it names no tool, or too many wait."""
        if not request.tool.strip():
            raise InvalidRequest("A permission request must name its tool.", field="tool_name")
        size = look.size if look is not None else 0
        if len(self._pending) >= MOST_PENDING or (self._pending and _size(self._pending.values()) + size > MOST_BYTES):
            raise InvalidRequest("Too many permission requests wait for an answer.")
        now = self._clock.now()
        seconds = min(max(seconds, 0.0), LONGEST)
        entry = Entry(new_id(self._clock), request, now, now + seconds, look or Look())
        self._pending[entry.id] = entry
        self._set_timer(entry, seconds)
        log.info("asked: %s for %s (%s)", request.tool[:80], request.client or request.source, entry.id)
        self._note()
        return entry

    async def wait(self, entry: Entry) -> Entry:
        """Until it has ended. An asker that is cancelled meanwhile takes its question back."""
        try:
            await entry.done.wait()
        except asyncio.CancelledError:
            self.cancel(entry.id)
            raise
        return entry

    def answer(self, name: str, decision: Decision) -> Entry:
        """Raises RouteNotFound; AlreadyAnswered for all but the first answer."""
        entry = self.get(name)
        if entry.status != "pending":
            raise AlreadyAnswered(f"Permission request '{name}' already resolved with status: {entry.status}")
        self._end(entry, "allowed" if decision.allowed else "denied", decision)
        return entry

    def cancel(self, name: str) -> None:
        """Its asker has left, or has been answered elsewhere. Too late is no error."""
        if (entry := self._pending.get(name)) is not None:
            self._end(entry, "cancelled", None)

    def extend(self, name: str, seconds: float) -> Entry:
        """Give a pending question more time from now on. Raises RouteNotFound, AlreadyAnswered."""
        entry = self.get(name)
        if entry.status != "pending":
            raise AlreadyAnswered(f"Permission request '{name}' already resolved with status: {entry.status}")
        seconds = min(max(seconds, 1.0), LONGEST)
        entry.expires = self._clock.now() + seconds
        self._set_timer(entry, seconds)
        self._note()
        return entry

    def close(self) -> None:
        """The proxy stops: nobody will answer any more."""
        for entry in self.pending:
            self._end(entry, "denied", Decision(allowed=False, by="shutdown", message="The proxy is shutting down"))

    def _set_timer(self, entry: Entry, seconds: float) -> None:
        """By the loop's own clock: a wall clock that jumps moves no deadline."""
        if entry.timer is not None:
            entry.timer.cancel()
        entry.timer = asyncio.get_running_loop().call_later(seconds, self._expire, entry)

    def _expire(self, entry: Entry) -> None:
        if entry.status == "pending":
            self._end(entry, "expired", Decision(allowed=False, by="time-out", message=TIMED_OUT))

    def _end(self, entry: Entry, status: Status, decision: Decision | None) -> None:
        entry.status, entry.decision, entry.ended = status, decision, self._clock.now()
        if entry.timer is not None:
            entry.timer.cancel()
        del self._pending[entry.id]
        self._ended.append(entry)
        while len(self._ended) > 1 and _size(self._ended) > MOST_BYTES:
            self._ended.popleft()
        waited = entry.ended - entry.created
        by = decision.by if decision is not None else "its asker"
        log.info("%s: %s by %s after %.1f s (%s)", status, entry.request.tool[:80], by, waited, entry.id)
        self._note()
        self.on_end(entry)
        entry.done.set()

    def _note(self) -> None:
        self.revision += 1
        self._changed()
