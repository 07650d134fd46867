"""Accepting connections where few files may be open: those that find no room wait, and are not cut.

The loop itself accepts and closes what comes when no descriptor is left (libuv's way out of a busy loop).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sized

log = logging.getLogger(__name__)

_LOOK = 0.05  # seconds between two looks for room
_SAY = 60.0  # seconds between two lines about it


class Acceptor:
    """Accepts on a listening socket while fewer than `most` of `connections` are open. The rest waits in its backlog.

    Takes the place of an asyncio server in uvicorn's list.
    """

    def __init__(
        self, sock: socket.socket, most: int, connections: Sized, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._sock = sock
        self._most = most
        self._connections = connections
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._said = float("-inf")
        sock.setblocking(False)
        self._resume()

    def _resume(self) -> None:
        self._timer = None
        self._loop.add_reader(self._sock, self._accept)

    def _pause(self) -> None:
        self._loop.remove_reader(self._sock)
        self._timer = self._loop.call_later(_LOOK, self._look)

    def _look(self) -> None:
        if self._is_full:
            self._timer = self._loop.call_later(_LOOK, self._look)
        else:
            self._resume()

    @property
    def _is_full(self) -> bool:
        return len(self._connections) + len(self._starting) >= self._most

    def _accept(self) -> None:
        if self._is_full:
            self._say(f"{self._most} connections are open, and the limit of open files allows no more: others wait")
            self._pause()
            return
        try:
            client, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._say(f"no connection can be taken ({error.strerror}): clients wait")
            self._pause()
            return
        client.setblocking(False)
        task = self._loop.create_task(self._start(client))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError:  # it has left already
            client.close()

    def _say(self, what: str) -> None:
        if self._loop.time() - self._said >= _SAY:
            self._said = self._loop.time()
            log.warning("%s (raise it with `ulimit -n`)", what)

    def close(self) -> None:
        """Accept no more."""
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(self._sock)

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""
