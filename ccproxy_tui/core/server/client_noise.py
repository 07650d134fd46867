"""What uvicorn and the loop log about clients that leave, or speak no HTTP: one line each, no traceback, or nothing.

An exchange that ends early has a line of its own, with its id (`core.server.exchange`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)

# The start of a message -> the words instead of it; none: another line has reported it, or nothing is wrong.
_MESSAGES = {
    "ASGI callable returned without completing response": "",
    "ASGI callable returned without completing handshake": "",
    "Invalid HTTP request received": "a client sent what is not HTTP, and was refused",
    "Unsupported upgrade request": "",
    "Invalid UTF-8 sequence received from client": "a client sent a WebSocket text that is not UTF-8, and was refused",
    "Cancel %s running task(s)": "",  # streams that outlive the drain: each has its line
    "socket.send() raised exception": "",
}
_LOGGERS = ("uvicorn.error", "asyncio")


class _ClientNoise(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return False  # the proxy ends
        for start, words in _MESSAGES.items():
            if str(record.msg).startswith(start):
                record.levelno, record.levelname = logging.INFO, "INFO"
                record.msg, record.args, record.exc_info = words, (), None
                return bool(words)
        return True


_NOISE = _ClientNoise()


def quiet_clients() -> None:
    """Let clients cost no line at ERROR. Idempotent; needs the running loop."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_NOISE)
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Connections break in more ways than the loop expects (a network's time-out, no route); those are no fault."""
    error = context.get("exception")
    if isinstance(error, OSError) and ("transport" in context or "protocol" in context):
        log.info("a connection broke: %s", error.strerror or error)
        return
    loop.default_exception_handler(context)
