"""The tools that own the logins: one that renews under its folder locks as Claude Code does, and one without a lock.

Claude Code's locks: see `ccproxy_tui.core.auth.owner_lock`. Codex CLI reads its file, asks, and writes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from ccproxy_tui.core.errors import ProxyError
from tests.simulation.disk import Disk
from tests.simulation.login import Login
from tests.simulation.process import CURRENT
from tests.simulation.vendor import TokenConnection

_DUE = 300.0  # seconds before its end in which a token is renewed
_STALE = 60.0
_TOUCH = 5.0
_TRIES = 9


class _Http:
    read_timeout = 15.0


class Tool:
    """One run of the tool."""

    def __init__(self, login: Login, rng: Random, now: Callable[[], float], disk: Disk) -> None:
        self._login, self._rng, self._now, self._disk = login, rng, now, disk

    async def run(self) -> None:
        """Renew the login when it is due, and what comes could be kept."""
        if not self._due():
            return
        if self._login.kind == "codex":
            await asyncio.sleep(self._rng.uniform(0, 0.05))
            return await self._renew()
        config = self._login.path.parent
        first, second = config / ".oauth_refresh.lock", config.with_name(f"{config.name}.lock")
        if not await self._take(first):
            return
        try:
            if await self._take(second):
                touching = asyncio.ensure_future(_touch(first, second))
                try:
                    if self._due():
                        await self._renew()
                finally:
                    touching.cancel()
                    self._let_go(second)
        finally:
            self._let_go(first)

    def _due(self) -> bool:
        _, refresh, ends = self._login.read()
        return bool(refresh) and self._now() > ends - _DUE and not self._disk.is_full(self._login.path)

    async def _take(self, folder: Path) -> bool:
        """Make a lock as Claude Code does; False where it goes on with the token that it has."""
        for _ in range(_TRIES):
            try:
                folder.mkdir()
            except FileExistsError:
                if abs(self._now() - folder.stat().st_mtime) > _STALE:
                    if self._disk.is_living(folder):
                        self._login.family.excuse = "its owner broke the lock of a program that lives"
                    folder.rmdir()
                    continue
            else:
                return True
            await asyncio.sleep(self._rng.uniform(0.5, 1.5))
        return False

    def _let_go(self, folder: Path) -> None:
        if self._disk.makers.get(folder) is CURRENT.get():
            folder.rmdir()

    async def _renew(self) -> None:
        _, refresh, _ = self._login.read()
        if not refresh:  # the user has logged out in the time
            return
        connection = TokenConnection("tool", "", _Http)
        body = json.dumps({"refresh_token": refresh}).encode()
        try:
            async with asyncio.timeout(_Http.read_timeout):
                answer = await connection.send("POST", "", [], body)
                told = b"".join([chunk async for chunk in _bounded(answer.body)])
        except (ProxyError, TimeoutError):
            return
        if answer.status != 200 or not told.startswith(b"{"):
            return
        if self._login.read()[1] == refresh:  # or else the user has logged in or out since
            self._login.write(json.loads(told))


async def _bounded(body: Any) -> Any:
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > 100_000:
            return
        yield chunk


async def _touch(*folders: Path) -> None:
    while True:
        await asyncio.sleep(_TOUCH)
        for folder in folders:
            try:
                os.utime(folder)
            except OSError:
                return
