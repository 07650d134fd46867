"""Keep the memory of a process that holds tokens to itself."""

from __future__ import annotations

import os
import resource
import sys

DUMPABLE_VARIABLE = "CCPROXY_DUMPABLE"  # set to 1 for py-spy, gdb and core files
_PR_SET_DUMPABLE = 4


def write_no_core() -> None:
    """Leave no core file behind (setrlimit(2)), neither this process nor those that it starts."""
    if not _may_be_dumped():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hide_memory() -> None:
    """Refuse ptrace, /proc/PID/mem and environ to other processes of this user (PR_SET_DUMPABLE, prctl(2)); no core.

    Linux alone. A program that this process starts is not affected, nor is root.
    """
    write_no_core()
    if sys.platform == "linux" and not _may_be_dumped():
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _may_be_dumped() -> bool:
    return os.environ.get(DUMPABLE_VARIABLE) == "1"
