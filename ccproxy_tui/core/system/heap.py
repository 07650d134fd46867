"""Memory that is free, and goes back to the system (glibc keeps it otherwise)."""

from __future__ import annotations

import ctypes

from ccproxy_tui.core.limits import MB

_M_MMAP_THRESHOLD = -3


def give_back_memory() -> None:
    """Let the C library return what is free. It keeps the peak of a busy minute for ever otherwise (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_large_blocks_apart() -> None:
    """Let the C library return each large block when it is freed (glibc keeps them for later, from the second one on).

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MB)
