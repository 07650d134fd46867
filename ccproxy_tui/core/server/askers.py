"""Which client a permission request counts to: its process where the system says, else what it says of itself."""

from __future__ import annotations

import asyncio

from starlette.types import Scope

from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.system.peers import peer_of
from ccproxy_tui.core.system.socket_owner import owners

_LASTS = 1.0  # seconds that the processes of all peers are kept: a port may be another one's later


class PeerProcesses:
    """The processes at the other end of TCP connections. To look reads the descriptors of all: many share one look."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, int], int] = {}
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def find(self, scope: Scope) -> int | None:
        """Return the number of the process, or None where the system does not say."""
        client, server = scope.get("client"), scope.get("server")
        if not client or not server or server[1] is None:
            return None
        peer = (client[0], client[1])
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if peer not in self._owners or now - self._looked > _LASTS:
                self._owners, self._looked = await asyncio.to_thread(owners, server[1]), now
        return self._owners.get(peer)


class Askers:
    def __init__(self) -> None:
        self._processes = PeerProcesses()

    async def owner_of(self, scope: Scope, asked: PermissionRequest, *, crowded: bool) -> str:
        """Return the name of the client. `crowded`: so many wait that it is worth a look for the process."""
        pid = peer_of(scope).pid
        if pid is None and crowded:
            pid = await self._processes.find(scope)
        return f"process {pid}" if pid is not None else "\n".join((asked.source, asked.client, asked.session))
