"""The permission requests that wait for a decision. The first decision counts; a client always gets one.

A request ends in one of four ways: allowed or denied, expired, or cancelled because its client has left. Each client
has a share of the list; what it asks beyond waits for its turn, so that a flood hides no request of another client.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound, TooManyRequests
from ccproxy_tui.core.permissions.request import Decision, Look, PermissionRequest, Status
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.ids import new_id
from ccproxy_tui.core.system.patience import Timer, patience
from ccproxy_tui.core.text.escape import cut

log = logging.getLogger("ccproxy_tui.permissions")

KEPT = 200
MOST_PENDING = 500
SHARE = 50  # of those, of one client
MOST_QUEUED = 1000  # that wait for their turn to be listed
QUEUED_SHARE = 200
MOST_BYTES = 32 * 1024 * 1024  # of inputs, of those that are listed, of those that wait, and of those that are kept
BYTES_SHARE = MOST_BYTES // 4
TIMED_OUT = "Permission request timed out"


class AlreadyAnswered(ProxyError):
    status = 409
    kind = "invalid_request"


@dataclass(slots=True)
class Entry:
    """A request in the list. `owner` is the client whose share it counts to.

    `created` and `ended` are seconds since the epoch, to be shown; `listed`, `deadline` and `waited` are seconds of the
    monotonic clock, to be reckoned with.
    """

    id: str
    request: PermissionRequest
    created: float
    listed: float
    deadline: float
    owner: str = ""
    look: Look = field(default_factory=Look)
    looks: int = 1  # how often it was looked at; a file may change before it is decided
    status: Status = "pending"
    ended: float | None = None
    waited: float = 0.0  # until it ended
    decision: Decision | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    timer: Timer | None = None


@dataclass(slots=True)
class _Turn:
    """A request that is not listed yet."""

    request: PermissionRequest
    seconds: float
    look: Look
    owner: str
    listed: asyncio.Future[Entry]


def _size(ones: Iterable[Entry | _Turn]) -> int:
    return sum(one.look.size for one in ones)


class Broker:
    """One loop's thread only. `changed` is called after every change."""

    def __init__(self, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._changed = changed
        self.on_end: Callable[[Entry], None] = lambda _: None
        self._pending: OrderedDict[str, Entry] = OrderedDict()
        self._queues: OrderedDict[str, deque[_Turn]] = OrderedDict()  # by owner, the next one first
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

    @property
    def is_crowded(self) -> bool:
        """Whether so many are listed that one client could hold up others."""
        return len(self._pending) >= SHARE // 2

    def left(self, entry: Entry) -> float:
        """Return the seconds that are left for a decision; 0 for a request that has ended."""
        return max(entry.deadline - self._clock.monotonic(), 0.0) if entry.status == "pending" else 0.0

    def expires(self, entry: Entry) -> float:
        """Return when a request expires, or would have, in seconds since the epoch as the wall clock is now."""
        if entry.status == "pending":
            return self._clock.now() + self.left(entry)
        return entry.created + entry.deadline - entry.listed

    def get(self, name: str) -> Entry:
        """Raises RouteNotFound."""
        entry = self._pending.get(name) or next((one for one in self._ended if one.id == name), None)
        if entry is None:
            raise RouteNotFound("Permission request not found")
        return entry

    async def ask_in_turn(self, request: PermissionRequest, seconds: float, look: Look, owner: str) -> Entry:
        """List a request once its owner has room for it. Raises InvalidRequest, TooManyRequests.

        A request that waits for `seconds` in vain is listed as expired.
        """
        queue = self._queues.get(owner)
        if not queue and self._has_room(owner, look.size):
            return self.ask(request, seconds, look, owner)
        self._check_queue(queue or (), look.size)
        turn = _Turn(request, seconds, look, owner, asyncio.get_running_loop().create_future())
        self._queues.setdefault(owner, deque()).append(turn)
        try:
            async with patience(min(seconds, request.longest)):
                return await turn.listed
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.listed.done() and not turn.listed.cancelled():
                entry = turn.listed.result()
            else:
                self._forget(turn)
                if isinstance(error, asyncio.CancelledError):
                    raise
                entry = self.ask(request, 0.0, look, owner)
            if isinstance(error, asyncio.CancelledError):
                self.cancel(entry.id)
                raise
            return entry

    def _check_queue(self, queue: Collection[_Turn], size: int) -> None:
        """Raises TooManyRequests."""
        every = [turn for one in self._queues.values() for turn in one]
        too_many = len(queue) >= QUEUED_SHARE or len(every) >= MOST_QUEUED
        too_large = (queue and _size(queue) + size > BYTES_SHARE) or (every and _size(every) + size > MOST_BYTES)
        if too_many or too_large:
            raise TooManyRequests("Too many permission requests of this client wait for a decision.")

    def _has_room(self, owner: str, size: int) -> bool:
        own = [entry for entry in self._pending.values() if entry.owner == owner]
        if own and (len(own) >= SHARE or _size(own) + size > BYTES_SHARE):
            return False
        fits = _size(self._pending.values()) + size <= MOST_BYTES
        return not self._pending or (len(self._pending) < MOST_PENDING and fits)

    def _forget(self, turn: _Turn) -> None:
        queue = self._queues[turn.owner]
        queue.remove(turn)
        if not queue:
            del self._queues[turn.owner]

    def _list_next(self) -> None:
        """List what there is room for, a request of each client in turn."""
        listed = True
        while listed:
            listed = False
            for owner, queue in list(self._queues.items()):
                turn = queue[0]
                if self._has_room(owner, turn.look.size):
                    self._list(turn)
                    listed = True

    def _list(self, turn: _Turn) -> None:
        self._forget(turn)
        if turn.owner in self._queues:
            self._queues.move_to_end(turn.owner)
        if not turn.listed.done():
            turn.listed.set_result(self.ask(turn.request, turn.seconds, turn.look, turn.owner))

    def ask(self, request: PermissionRequest, seconds: float, look: Look | None = None, owner: str = "") -> Entry:
        """List a request now, whoever asks. Raises InvalidRequest when it names no tool."""
        if not request.tool.strip():
            raise InvalidRequest("A permission request must name its tool.", field="tool_name")
        now = self._clock.monotonic()
        seconds = min(max(seconds, 0.0), request.longest)
        entry = Entry(new_id(self._clock), request, self._clock.now(), now, now + seconds, owner, look or Look())
        self._pending[entry.id] = entry
        self._set_timer(entry, seconds)
        log.info("asked: %s for %s (%s)", cut(request.tool, 80), request.client or request.source, entry.id)
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

    def look_again(self, entry: Entry, look: Look) -> None:
        """Show what has changed since the last look, while the request waits."""
        entry.look, entry.looks = look, entry.looks + 1
        self._note()

    def extend(self, name: str, seconds: float) -> Entry:
        """Give a pending request more time from now on, as long as its client waits. Raises RouteNotFound,
        AlreadyAnswered.
        """
        entry = self.get(name)
        if entry.status != "pending":
            raise AlreadyAnswered(f"Permission request '{name}' already resolved with status: {entry.status}")
        now = self._clock.monotonic()
        entry.deadline = min(now + max(seconds, 1.0), entry.listed + entry.request.longest)
        self._set_timer(entry, max(entry.deadline - now, 0.0))
        self._note()
        return entry

    def close(self) -> None:
        """Deny what waits: the proxy stops."""
        for turn in [turn for queue in self._queues.values() for turn in queue]:
            self._list(turn)
        for entry in self.pending:
            self._end(entry, "denied", Decision(allowed=False, by="shutdown", message="The proxy is shutting down"))

    def _set_timer(self, entry: Entry, seconds: float) -> None:
        """By the loop's own clock, which nothing sets. A decision that waits in a socket comes first."""
        if entry.timer is not None:
            entry.timer.cancel()
        entry.timer = Timer(seconds, partial(self._expire, entry))

    def _expire(self, entry: Entry) -> None:
        if entry.status == "pending":
            self._end(entry, "expired", Decision(allowed=False, by="time-out", message=TIMED_OUT))

    def _end(self, entry: Entry, status: Status, decision: Decision | None) -> None:
        entry.status, entry.decision, entry.ended = status, decision, self._clock.now()
        entry.waited = self._clock.monotonic() - entry.listed
        if entry.timer is not None:
            entry.timer.cancel()
        del self._pending[entry.id]
        self._ended.append(entry)
        while len(self._ended) > 1 and _size(self._ended) > MOST_BYTES:
            self._ended.popleft()
        by = decision.by if decision is not None else "its client"
        log.info("%s: %s by %s after %.1f s (%s)", status, cut(entry.request.tool, 80), by, entry.waited, entry.id)
        self._note()
        self.on_end(entry)
        entry.done.set()
        self._list_next()

    def _note(self) -> None:
        self.revision += 1
        self._changed()
