"""HTTP/1.1 on bytes, without I/O: a request head to send, a response to read (RFC 9112)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import httptools

MAX_HEAD = 256 * 1024


class ProtocolError(Exception):
    """What came from the server is not an HTTP/1.1 response."""


class Head(NamedTuple):
    """Status line and headers of the final response (1xx are passed over)."""

    status: int
    headers: list[tuple[bytes, bytes]]


def request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes that open a request. Raises ProtocolError for anything that could end a line early."""
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    lines += [b"%b: %b\r\n" % header for header in headers]
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head or b" " in target:
        raise ProtocolError("a control character stands in the request's target or headers")
    return head + b"\r\n"


class ResponseParser:
    """Feed it what the socket gives; it keeps the head and returns body bytes, joined per read.

    One parser serves one connection: call `begin` before each request.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._reset()
        self.leftover = False

    def _reset(self) -> None:
        self.head: Head | None = None
        self.complete = False
        self.started = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._framing = 0
        self._bodyless = False
        self._until_close = False
        self._keep_alive = False

    def begin(self, *, method: bytes) -> None:
        """Expect the response to a request with `method`."""
        self._reset()
        self._bodyless = method == b"HEAD"

    def feed(self, data: bytes) -> bytes:
        """Body bytes found in `data`. Raises ProtocolError when it is not HTTP."""
        if data and self.complete:
            self.leftover = True  # the server spoke out of turn: nothing it says belongs to a later request
            return b""
        self.started = self.started or bool(data)
        in_head = self.head is None
        self._head_bytes += len(data) if in_head else 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise ProtocolError("the server switched protocols") from error
        except httptools.HttpParserError as error:
            if not self.complete:
                raise ProtocolError(_reason(error)) from error
            self.leftover = True
        if in_head and self._head_is_too_large():
            raise ProtocolError("the response head is larger than 256 KB")
        self._framing = 0 if self._body else self._framing + len(data)
        if self._framing > MAX_HEAD:  # an interim answer, a chunk's extension, a trailer
            raise ProtocolError("more than 256 KB came without a piece of the answer")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return body

    def _head_is_too_large(self) -> bool:
        if self._head_bytes <= MAX_HEAD:
            return False
        return self.head is None or sum(len(name) + len(value) for name, value in self.head.headers) > MAX_HEAD

    def eof(self) -> bool:
        """The connection ended. Whether the response was whole (some end with their connection by design)."""
        if self.head is not None and self._until_close:
            self.complete = True
        return self.complete

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        if not self.complete or self.leftover or self._until_close or self._bodyless:
            return False
        return self._keep_alive

    # httptools calls these while it is fed.
    def on_message_begin(self) -> None:
        if self.complete:
            self.leftover = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.leftover:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers = []
            return
        self.head = Head(status, self._headers)
        self._keep_alive = self._parser.should_keep_alive()  # the parser forgets it once the message is complete
        if self._bodyless:
            self.complete = True
        elif status not in (204, 304):
            self._until_close = not _is_framed(self._headers)

    def on_body(self, data: bytes) -> None:
        if not self.leftover and not self._bodyless:
            self._body.append(data)

    def on_message_complete(self) -> None:
        # An interim (1xx) response is a message of its own; the final one is still to come.
        self.complete = self.head is not None


def _is_framed(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the end of the body is told by the head, so that an early end of the connection is a cut."""
    names = {name.lower() for name, _ in headers}
    return b"content-length" in names or b"transfer-encoding" in names


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return f"the server's answer is not HTTP ({text})"
