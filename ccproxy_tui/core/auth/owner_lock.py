"""The folders that Claude Code makes while it renews its login, taken by us as well, so that only one program renews.

Observed with Claude Code 2.1.197 and 2.1.332, by their system calls: a renewal runs with `<config>/.oauth_refresh.lock`
and then `<resolved config>.lock` made by mkdir, sets their times every few seconds, and removes them in reverse order.
A program that finds one tries again for about nine seconds, then goes on with the token that it has. A folder whose
times are a minute old belongs to a program that died.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ccproxy_tui.core.auth.file_lock import LockTimeout
from ccproxy_tui.core.system.clock import Clock

log = logging.getLogger(__name__)

STALE = 60.0  # seconds since its times were set, after which a lock is that of a dead program
TOUCH = 5.0  # seconds between two settings of its times
OWNER_SECONDS = 75.0  # a holder that died is found out in that time
_POLL = 0.1
_PAUSE = 1.0  # seconds between two looks, after which this process did not run in between
_CANT_MAKE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)  # then its owner can't either

Stamp = tuple[int, int]


def lock_folders(credentials: Path) -> list[Path]:
    """Return the folders that guard a `.credentials.json`, in the order in which Claude Code makes them."""
    config = credentials.parent
    resolved = config.resolve()
    return [config / ".oauth_refresh.lock", resolved.with_name(f"{resolved.name}.lock")]


@asynccontextmanager
async def owner_locked(folders: Sequence[Path], clock: Clock, *, seconds: float = OWNER_SECONDS) -> AsyncIterator[None]:
    """Hold every lock of `folders`; those that can't be made here are left out. Raises LockTimeout, OSError."""
    async with AsyncExitStack() as stack:
        for folder in folders:
            await stack.enter_async_context(_held(folder, clock, seconds))
        yield


@asynccontextmanager
async def _held(folder: Path, clock: Clock, seconds: float) -> AsyncIterator[None]:
    stamp = await _take(folder, clock, seconds)
    if stamp is None:
        yield
        return
    touching = asyncio.ensure_future(_keep_fresh(folder))
    try:
        yield
    finally:
        touching.cancel()
        _remove(folder, stamp)


async def _take(folder: Path, clock: Clock, seconds: float) -> Stamp | None:
    """Make the folder, after its owner removed it or died. None where it can't be made."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    looks = _Looks()
    while not _make(folder):
        if not folder.parent.is_dir() or not os.access(folder.parent, os.W_OK):
            return None
        now = _stamp(folder)
        watched = looks.unchanged(now, loop.time(), clock.now())
        if now is not None and _is_stale(now, watched, clock):
            log.warning("%s was left behind by a program that died: removed", folder)
            _remove(folder, now)
            continue
        if loop.time() >= deadline:
            raise LockTimeout(f"another program has held {folder} for {seconds:.0f} s")
        await asyncio.sleep(_POLL)
    return _stamp(folder)


class _Looks:
    """The looks at a folder in a row that found it unchanged.

    Counted, not timed, and from 0 again after a pause of this process: a suspend or the pause of a container stops
    the owner of the folder as well, which then needs a moment to set the times.
    """

    def __init__(self) -> None:
        self._seen: Stamp | None = None
        self._times: tuple[float, ...] | None = None
        self._count = 0

    def unchanged(self, stamp: Stamp | None, *times: float) -> float:
        """Return for how many seconds it has been watched without a change. `times` are those of this look."""
        paused = self._times is None or any(
            abs(at - last) > _PAUSE for at, last in zip(times, self._times, strict=True)
        )
        self._count = 0 if paused or stamp != self._seen else self._count + 1
        self._seen, self._times = stamp, times
        return self._count * _POLL


def _make(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _CANT_MAKE:
            raise
        return False
    return True


def _stamp(folder: Path) -> Stamp | None:
    """Which folder it is, and when its times were set, in nanoseconds."""
    try:
        info = folder.lstat()
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns


def _is_stale(stamp: Stamp, unchanged: float, clock: Clock) -> bool:
    """Return whether its times are old and no program sets them: after a jump of the clock a living owner's look so."""
    return unchanged > TOUCH + 1 and abs(clock.now() - stamp[1] / 1e9) > STALE


async def _keep_fresh(folder: Path) -> None:
    while True:
        await asyncio.sleep(TOUCH)
        try:
            os.utime(folder)
        except OSError as error:
            log.warning("%s was taken away from us (%s)", folder, error.strerror)
            return


def _remove(folder: Path, stamp: Stamp) -> None:
    """Remove the very folder that `stamp` is of; another program's in the same place stays."""
    now = _stamp(folder)
    if now is not None and now[0] == stamp[0]:
        try:
            folder.rmdir()
        except OSError as error:
            log.warning("%s can't be removed: %s", folder, error.strerror)
