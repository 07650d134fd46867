"""Signals end a front end, also one that is stuck in writing to a terminal that nothing reads."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from ccproxy_tui.screens.ui.terminal import RESTORE

STUCK_SECONDS = 1.8  # from a signal to the end by force
OUTCOMES = {signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGQUIT: "stop", signal.SIGHUP: "hangup"}
_MOMENT = 0.05
_CANCEL = b"\x18"  # ends an escape sequence that was written in part


class EndSignals:
    """Calls `end(outcome, exit status)` in the loop, for the first signal and each later one.

    Where that has not ended the front end within STUCK_SECONDS, a thread calls `abandon(outcome)`, gives the terminal
    back as far as it takes it, and ends the process. Handlers of the loop would not do: a loop that waits for room in a
    terminal runs none, and Python's own handlers are run even then.
    """

    def __init__(self, end: Callable[[str, int], None], abandon: Callable[[str], None]) -> None:
        self._end = end
        self._abandon = abandon
        self._over = threading.Event()
        self._watched = False

    def install(self) -> None:
        """Take the signals from now on. Call it in the loop, before the terminal's modes are changed."""
        self._loop = asyncio.get_running_loop()
        self._modes = _terminal_modes()
        for number in OUTCOMES:
            signal.signal(number, self.take)

    def take(self, number: int, _: FrameType | None = None) -> None:
        outcome, status = OUTCOMES[signal.Signals(number)], 128 + number
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, args=(outcome, status), name="end", daemon=True).start()
        try:
            self._loop.call_soon_threadsafe(self._end, outcome, status)
        except RuntimeError:  # the loop is closed: nothing is left to do
            raise SystemExit(status) from None

    def over(self) -> None:
        """The terminal is given back, and nothing is written to it any more."""
        self._over.set()

    def _watch(self, outcome: str, status: int) -> None:
        if self._over.wait(STUCK_SECONDS):
            return
        self._abandon(outcome)
        _give_back(self._modes, status - 128)
        os._exit(status)


def _terminal_modes() -> list[Any] | None:
    try:
        return termios.tcgetattr(sys.__stdin__.fileno()) if sys.__stdin__ is not None else None
    except (termios.error, OSError, ValueError):  # no terminal
        return None


def _give_back(modes: list[Any] | None, number: int) -> None:
    """Restore the terminal without waiting for it: drop what it has not taken, then write what fits."""
    if modes is None:
        return
    try:
        termios.tcsetattr(0, termios.TCSANOW, modes)
        # Opened once more: not to wait is a property of the open file, which the shell shares.
        descriptor = os.open(os.ttyname(0), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            os.dup2(nowhere, output)
        for thread in threading.enumerate():  # a signal ends the write that is stuck; the rest of it goes nowhere
            if thread is not threading.current_thread() and thread.ident is not None:
                with suppress(ProcessLookupError):
                    signal.pthread_kill(thread.ident, number)
        time.sleep(_MOMENT)
        termios.tcflush(descriptor, termios.TCOFLUSH)
        os.write(descriptor, _CANCEL + RESTORE.encode())
    except (termios.error, OSError):  # it is gone, or takes not one byte
        return
