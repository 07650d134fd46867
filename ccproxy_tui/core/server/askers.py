"""Which client a permission request counts to: its process where the system says, else what it says of itself."""

from __future__ import annotations

import asyncio

from starlette.types import Scope

from ccproxy_tui.core.peers import peer_of
from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.socket_owner import owners

_LASTS = 1.0  # seconds that the processes of all peers are kept: a port may be another one's later


class Askers:
    """A look for the process of a TCP peer reads the descriptors of all processes: many that wait share one."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, int], int] = {}
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def owner_of(self, scope: Scope, asked: PermissionRequest, *, crowded: bool) -> str:
        """Return the name of the client. `crowded`: so many wait that it is worth a look for the process."""
        pid = peer_of(scope).pid
        client, server = scope.get("client"), scope.get("server")
        if pid is None and crowded and client and server and server[1] is not None:
            pid = await self._look(tuple(client), server[1])
        return f"process {pid}" if pid is not None else "\n".join((asked.source, asked.client, asked.session))

    async def _look(self, peer: tuple[str, int], port: int) -> int | None:
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if peer not in self._owners or now - self._looked > _LASTS:
                self._owners, self._looked = await asyncio.to_thread(owners, port), now
        return self._owners.get(peer)
