"""Log records: redacted in one place, to a private file, to the standard error stream, and to the Logs screen."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ccproxy_tui.core.escape import escape_block, escape_line
from ccproxy_tui.core.redact import redact_text

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


class PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating log file with mode 0600, from its first byte."""

    def _open(self):  # type: ignore[no-untyped-def]  # the stub's return type is private to typeshed
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stream = open(self.baseFilename, self.mode, encoding="utf-8", opener=private_opener)  # noqa: SIM115
        os.chmod(self.baseFilename, 0o600)  # noqa: PTH101 - an older file may be wider
        return stream


def configure(
    *, level: str, style: str, file: Path | None, stderr: bool, sink: Callable[[LogLine], None] | None = None
) -> None:
    """Set up the root logger. `style` is "plain" or "json"; the file is always JSON lines."""
    handlers: list[logging.Handler] = []
    if stderr:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
        handlers.append(handler)
    if file is not None:
        file_handler = PrivateFileHandler(file, maxBytes=FILE_BYTES, backupCount=FILE_BACKUPS, delay=True)
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
