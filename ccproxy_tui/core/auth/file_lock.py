"""One writer at a time, across processes: a lock file beside the file that it protects (flock, so a crash frees it)."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ccproxy_tui.core.system.patience import patience

LOCK_SECONDS = 40.0
_POLL = 0.05


class LockTimeout(Exception):
    """Somebody else holds the lock for longer than one could reasonably wait."""


@asynccontextmanager
async def locked(path: Path, fallback: Path, *, seconds: float = LOCK_SECONDS) -> AsyncIterator[None]:
    """Hold the lock of `path`. Where its folder can't be written, the lock lies in `fallback`. Raises LockTimeout."""
    descriptor = _open(path, fallback)
    try:
        await _acquire(descriptor, path, seconds)
        yield
    finally:
        os.close(descriptor)  # frees the lock


async def _acquire(descriptor: int, path: Path, seconds: float) -> None:
    try:
        async with patience(seconds):
            while not _try(descriptor):  # noqa: ASYNC110 - another process can't set an event of ours
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise LockTimeout(f"another program has held the lock of {path} for {seconds:.0f} s") from None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path, fallback: Path) -> int:
    target = path.resolve()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(target.parent / f".{target.name}.ccproxy.lock", flags, 0o600)
    except OSError:
        fallback.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = hashlib.sha256(str(target).encode()).hexdigest()[:16]
        return os.open(fallback / f"{name}.lock", flags, 0o600)
