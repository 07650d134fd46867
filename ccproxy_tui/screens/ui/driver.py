"""Textual's terminal driver, made to outlive its terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import IO, Any, cast

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

log = logging.getLogger(__name__)

_PAUSE = 0.1  # seconds before reading again after an error
# Each sign of one cell by one of one cell. A tab and a space at the end of a line are not shown as what a shell reads.
_PLAIN = {
    **dict.fromkeys(range(0x2500, 0x2580), "+"),
    **dict.fromkeys(map(ord, "─━┄┅┈┉╌╍═╴╶╸╺▔▁"), "-"),
    **dict.fromkeys(map(ord, "│┃┆┇┊┋╎╏║╵╷╹╻▎▊▏▕▌▐"), "|"),
    **dict.fromkeys(map(ord, "█▓▒░▀▄■"), "#"),
    **dict.fromkeys(map(ord, "→·↳"), "^"),
    ord("…"): "~",
}


class LastingFile:
    """A terminal to write to. Once it is gone, what is written goes nowhere.

    Textual writes from a thread of its own. An error would end that thread, the queue before it would fill up, and
    the program would wait for ever for room in it: a window that is closed would leave a process behind.

    `is_plain` says whether frames and marks are to be drawn with letters alone (`ui.symbols`), for fonts without them.
    """

    def __init__(self, file: IO[str], is_plain: Callable[[], bool] = lambda: False) -> None:
        self._file = file
        self._gone = False
        self._is_plain = is_plain

    def write(self, text: str) -> int:
        if not self._gone:
            shown = text.translate(_PLAIN) if self._is_plain() and not text.isascii() else text
            self._try(lambda: self._file.write(shown))
        return len(text)

    def flush(self) -> None:
        if not self._gone:
            self._try(self._file.flush)

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()

    def _try(self, work: Any) -> None:
        try:
            work()
        except (OSError, ValueError):  # the line is cut, or the file is closed
            self._gone = True


class _Lasting(LinuxDriver):
    """Writes through a LastingFile, and outlives stops and keys that can't be read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        app: Any = self._app
        self._file = cast("Any", LastingFile(cast("IO[str]", self._file), lambda: app.ui.symbols == "ascii"))

    def write(self, data: str) -> None:
        """Drop what is written while another program has the terminal: nothing would take it out of the queue."""
        if self._writer_thread is not None and self._writer_thread.is_alive():
            super().write(data)

    def _sigcont_application(self, *arguments: Any) -> None:
        """Textual starts a second time after a SIGSTOP, with the modes of the screens taken for the shell's."""
        stopped_itself = self._must_signal_resume
        if stopped_itself or not self._auto_restart or self._writer_thread is None:
            super()._sigcont_application(*arguments)
        else:  # not in the handler: the writer's queue may be locked by what it has interrupted
            self._loop.call_soon_threadsafe(self._start_over)

    def _start_over(self) -> None:
        """Leave the modes of the screens and take them again: the shell may have used the terminal in between."""
        self.suspend_application_mode()
        self._must_signal_resume = True
        self.resume_application_mode()

    def _run_input_thread(self) -> None:
        """Textual ends the app when a key can't be read. Bytes that are no UTF-8 cost what was read, no more."""
        while not self.exit_event.is_set():
            try:
                self.run_input_thread()
            except UnicodeDecodeError:
                log.debug("the terminal sent bytes that are not UTF-8")
            except OSError:  # the terminal is gone, which the app looks for
                time.sleep(_PAUSE)
            except Exception:  # Textual's parser has no error of its own for odd bytes: the next ones are read
                log.exception("a key could not be read")
                time.sleep(_PAUSE)
            else:
                return


def lasting(driver_class: type[Driver]) -> type[Driver]:
    """Return the driver for a terminal in place of Textual's; another one, such as for tests, as it is."""
    return _Lasting if driver_class is LinuxDriver else driver_class
