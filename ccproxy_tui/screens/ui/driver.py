"""Textual's terminal driver, made to outlive its terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import IO, Any, cast

from textual.driver import Driver

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


def lasting(driver_class: type[Driver]) -> type[Driver]:
    """The driver class, writing through a LastingFile where it writes to a file at all."""

    class LastingDriver(driver_class):  # type: ignore[misc, valid-type]  # the class is known only at run time
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            file = getattr(self, "_file", None)
            if file is not None:
                app: Any = self._app
                self._file = cast("IO[str]", LastingFile(file, lambda: app.ui.symbols == "ascii"))

        def _run_input_thread(self) -> None:
            """Textual ends the app when a key can't be read. Bytes that are no UTF-8 cost what was read, no more."""
            while not self.exit_event.is_set():
                try:
                    self.run_input_thread()
                except OSError:  # the terminal is gone, which the app looks for
                    time.sleep(_PAUSE)
                except Exception:
                    log.exception("a key could not be read")
                    time.sleep(_PAUSE)
                else:
                    return

    return LastingDriver
