"""Log records: redacted in one place, to a private file, to the standard error stream, and to the Logs screen."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ccproxy_tui.core.text.escape import escape_block, escape_line
from ccproxy_tui.core.text.redact import redact_text

LogFormat = str
_FIELDS = ("exchange", "provider", "account")
FILE_BYTES = 10 * 1024 * 1024
FILE_BACKUPS = 3


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record as screens see it. `time` is seconds since the epoch."""

    seq: int
    time: float
    level: str
    logger: str
    message: str
    exchange: str = ""


def _message(record: logging.LogRecord) -> str:
    text = escape_line(record.getMessage())
    if record.exc_info and record.exc_info[1] is not None and record.levelno >= logging.ERROR:
        text += "\n" + escape_block(logging.Formatter().formatException(record.exc_info))
    return redact_text(text)


class PlainFormatter(logging.Formatter):
    """One readable line: time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = self.formatTime(record, "%Y-%m-%d %H:%M:%S")
        exchange = getattr(record, "exchange", "")
        tail = f" [{exchange}]" if exchange else ""
        return f"{stamp} {record.levelname:<7} {record.name}{tail} {_message(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        entry.update({name: value for name in _FIELDS if (value := getattr(record, name, ""))})
        return json.dumps(entry, ensure_ascii=False)


class LineHandler(logging.Handler):
    """Hands each record, redacted, to `sink`; for the ring behind the Logs screen."""

    def __init__(self, sink: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._sink = sink
        self._seq = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._seq += 1
        self._sink(
            LogLine(
                self._seq,
                record.created,
                record.levelname.lower(),
                record.name,
                _message(record),
                getattr(record, "exchange", ""),
            )
        )


def private_opener(path: str, flags: int) -> int:
    """For `open(..., opener=)`: new files are readable by their owner alone."""
    return os.open(path, flags, 0o600)


class LogFile(logging.Handler):
    """Lines in a file of this user alone (0600), in `backups` older files when it has `size` bytes.

    Lines that can't be written are counted; the first one and the end of it are reported to the other handlers. A file
    that was deleted or moved is made again.
    """

    def __init__(self, path: Path, *, size: int = FILE_BYTES, backups: int = FILE_BACKUPS) -> None:
        super().__init__()
        self.path = path
        self._size = size
        self._backups = backups
        self._descriptor = -1
        self._rotates = size  # not below this size, after a failure
        self._half = False  # of a line was written
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, _ABOUT, None) is self:
            return
        line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self._write(line)
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                self._report(f"log lines are lost: {self.path} can't be written ({error.strerror or error})")
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            missing = f"{lost} log line{'s' * (lost != 1)} could not be written to {self.path} before this one"
            self.emit(_record(missing))
            self._report(missing)

    def _write(self, line: bytes) -> None:
        descriptor = self._opened()
        if self._half:
            os.write(descriptor, b"\n")
            self._half = False
        while line:
            written = os.write(descriptor, line)
            line = line[written:]
            self._half = bool(line)

    def _opened(self) -> int:
        """Return the file, opened again where another program has moved it, and rotated."""
        if self._descriptor >= 0:
            ours = os.fstat(self._descriptor)
            if not _is_at(self.path, ours):
                self._close()
            elif ours.st_size >= max(self._size, self._rotates):
                self._rotate(ours.st_size)
        if self._descriptor < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # a pipe in its place must not hold us up
            self._descriptor = os.open(self.path, flags, 0o600)
            with contextlib.suppress(PermissionError):  # a pipe or device of another user
                os.fchmod(self._descriptor, 0o600)  # an older file may be wider
        return self._descriptor

    def _rotate(self, size: int) -> None:
        """Begin a new file. Where the folder allows none, go on in this one."""
        try:
            for number in range(self._backups - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")  # noqa: PTH105 - names, not paths
            self.path.replace(f"{self.path}.1")
        except OSError as error:
            self._rotates = size + self._size
            self._report(f"{self.path} can't be rotated ({error.strerror or error}), so it grows")
            return
        self._rotates = self._size
        self._close()

    def _report(self, message: str) -> None:
        record = _record(message)
        setattr(record, _ABOUT, self)
        logging.getLogger().handle(record)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        self._close()
        super().close()


_ABOUT = "about"  # the attribute of a record that names the handler which must not take it


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, "%s", (message,), None)


def _is_at(path: Path, info: os.stat_result) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (info.st_dev, info.st_ino)


class StreamHandler(logging.StreamHandler[TextIO]):
    """Lines on a stream that may be a full disk or have no reader: those are lost without a word."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def configure(
    *, level: str, style: str, file: Path | None, stderr: bool, sink: Callable[[LogLine], None] | None = None
) -> None:
    """Set up the root logger. `style` is "plain" or "json"; the file is always JSON lines."""
    handlers: list[logging.Handler] = []
    if stderr:
        handler = StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
        handlers.append(handler)
    if file is not None:
        file_handler = LogFile(file)
        file_handler.setFormatter(JsonFormatter())
        handlers.append(file_handler)
    if sink is not None:
        handlers.append(LineHandler(sink))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for new in handlers:
        root.addHandler(new)
    root.setLevel(logging.DEBUG if level == "TRACE" else level)
    # These say per request what the exchange record says better.
    for chatty in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
