"""The memory that requests may hold: a total for the proxy, and a share of it for each client.

Bodies up to `SHARED_FROM` bytes take no part. While all claims together fit into one share, every claim is granted at
once and no client is looked for. Beyond that, a claim that does not fit into its client's share, or into the total,
waits for its turn; claims of other clients pass it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from ccproxy_tui.core.errors import TooMuchMemory
from ccproxy_tui.core.limits import MB, SHARE_SECONDS, SHARE_WAITING, SHARED_FROM
from ccproxy_tui.core.server.askers import PeerProcesses
from ccproxy_tui.core.system.peers import peer_of

CLAIM = "ccproxy.claim"  # key of the ASGI scope: the Claim of this request; the gate makes and releases it


class Claim:
    """The memory that one request holds, in bytes. It is given back when the request ends."""

    __slots__ = ("_scope", "_shares", "coming", "owner", "size")

    def __init__(self, shares: Shares, scope: Scope) -> None:
        self._shares = shares
        self._scope: Scope | None = scope
        self.size = 0
        self.coming = 0  # of these, for a message that is not whole yet
        self.owner = ""  # the client, once it matters

    async def reach(self, size: int) -> None:
        """Hold `size` bytes at least. Raises TooMuchMemory when there is no room for them in time."""
        if size <= max(self.size, SHARED_FROM):
            return
        try:
            await self._shares.take(self, size)
        finally:
            if self._scope is None:  # released since: nothing else gives it back
                self.settle(0)

    def settle(self, size: int) -> None:
        """Give back what is held beyond `size` bytes and what is `coming`."""
        size = (size if size > SHARED_FROM else 0) + self.coming
        if size < self.size:
            self._shares.set_size(self, size)

    def release(self) -> None:
        self.coming = 0
        self.settle(0)
        self._scope = None  # which holds this claim

    def moved(self) -> Claim:
        """Return a claim that holds what this one held, for work that goes on after the request."""
        assert self._scope is not None
        other = Claim(self._shares, self._scope)
        size, other.owner = self.size, self.owner
        self._shares.set_size(other, size)
        self.settle(0)
        return other

    async def find_owner(self, processes: PeerProcesses) -> None:
        if not self.owner and self._scope is not None:
            self.owner = await _client_of(self._scope, processes)


async def _client_of(scope: Scope, processes: PeerProcesses) -> str:
    """Return the process where the system says; else the user, or the address."""
    peer, client = peer_of(scope), scope.get("client")
    pid = peer.pid
    if pid is None and peer.uid is not None:  # of this machine
        pid = await processes.find(scope)
    if pid is not None:
        return f"process {pid}"
    if peer.uid is not None:
        return f"user {peer.uid}"
    return f"address {client[0]}" if client else "unknown"


@dataclass(slots=True, eq=False)
class _Turn:
    claim: Claim
    size: int
    granted: asyncio.Future[None]


class Shares:
    """One loop's thread only. `limits` returns the total and the share of a client, in bytes."""

    def __init__(self, limits: Callable[[], tuple[int, int]]) -> None:
        self._limits = limits
        self._processes = PeerProcesses()
        self._claims: dict[Claim, None] = {}
        self._waiting: dict[_Turn, None] = {}
        self._held = 0

    async def take(self, claim: Claim, size: int) -> None:
        """Raises TooMuchMemory when others of the same client, or all of them, hold too much for too long."""
        _, share = self._limits()
        if not self._waiting and self._held - claim.size + size <= share:
            self.set_size(claim, size)
            return
        for one in [*self._claims, claim]:
            await one.find_owner(self._processes)
        ahead = 0 if claim.size else sum(turn.claim.owner == claim.owner for turn in self._waiting)
        if not ahead and self._fits(claim, size, self._by_owner()):
            self.set_size(claim, size)
        elif ahead >= SHARE_WAITING:
            raise _too_much(share)
        else:
            await self._wait(_Turn(claim, size, asyncio.get_running_loop().create_future()))

    async def _wait(self, turn: _Turn) -> None:
        self._waiting[turn] = None
        try:
            async with asyncio.timeout(SHARE_SECONDS):
                await turn.granted
        except TimeoutError:
            if not turn.granted.done() or turn.granted.cancelled():
                raise _too_much(self._limits()[1]) from None
        finally:
            self._waiting.pop(turn, None)
            if turn.claim.size < turn.size:  # the next one may fit where this one did not
                self._grant()

    def set_size(self, claim: Claim, size: int) -> None:
        """Note that a claim holds `size` bytes now; grant what has room when that is less than before."""
        freed = claim.size - size
        self._held -= freed
        claim.size = size
        if size:
            self._claims[claim] = None
        else:
            self._claims.pop(claim, None)
        if freed > 0 and self._waiting:
            self._grant()

    def _grant(self) -> None:
        """Let each client's claims pass in their order, up to the first one that has no room.

        What is under way and needs more comes before what is to begin: its end makes room.
        """
        held, blocked = self._by_owner(), set[str]()
        for turn in sorted(self._waiting, key=lambda turn: not turn.claim.size):
            claim = turn.claim
            if claim.owner in blocked:
                continue
            if not self._fits(claim, turn.size, held):
                blocked.add(claim.owner)
                continue
            del self._waiting[turn]
            if turn.granted.done():
                continue
            held[claim.owner] += turn.size - claim.size
            self.set_size(claim, turn.size)
            turn.granted.set_result(None)

    def _by_owner(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for claim in self._claims:
            held[claim.owner] += claim.size
        return held

    def _fits(self, claim: Claim, size: int, held: Counter[str]) -> bool:
        """A client that holds nothing else may take one body of any size that is allowed; so may the only one."""
        total, share = self._limits()
        own, every = held[claim.owner] - claim.size, self._held - claim.size
        return (not own or own + size <= share) and (not every or every + size <= total)


def _too_much(share: int) -> TooMuchMemory:
    return TooMuchMemory(
        f"This client's large requests that are under way hold its share of the proxy's memory ({share // MB} MB).",
        hint="Send fewer of them at once, or raise server.client_memory_mb.",
    )
