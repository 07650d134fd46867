"""Textual's terminal driver, made to outlive its terminal."""

from __future__ import annotations

from typing import IO, Any, cast

from textual.driver import Driver


class LastingFile:
    """A terminal to write to. Once it is gone, what is written goes nowhere.

    Textual writes from a thread of its own. An error would end that thread, the queue before it would fill up, and
    the program would wait for ever for room in it: a window that is closed would leave a process behind.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._gone = False

    def write(self, text: str) -> int:
        if not self._gone:
            self._try(lambda: self._file.write(text))
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
                self._file = cast("IO[str]", LastingFile(file))

    return LastingDriver
