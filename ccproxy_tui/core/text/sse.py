"""Server-sent events, sans-I/O: bytes in, events out (WHATWG HTML, section 9.2.6), and back.

Nothing here splits text by "lines" of Unicode: only LF, CRLF and CR end a line, so U+2028 or a vertical tab inside a
JSON string stays where it is.
"""

from __future__ import annotations

from typing import NamedTuple

from ccproxy_tui.core.limits import EVENT, MB

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One dispatched event. `name` is empty when the stream gave none (which means "message")."""

    name: str
    data: bytes


class EventTooLarge(Exception):
    """An event grew beyond the limit. Nothing of it is kept, and the decoder takes no more."""


class Decoder:
    """Feed it any cut of a stream; it returns the events that are complete.

    An event without end is not kept without end: `feed` raises EventTooLarge when it grows beyond `limit` bytes.
    """

    def __init__(self, limit: int = EVENT) -> None:
        self._limit = limit
        self._rest = bytearray()  # of the event that is not complete yet
        self._started = False
        self._skip_lf = False

    def feed(self, chunk: bytes) -> list[Event]:
        if not self._started:
            chunk = bytes(self._rest) + chunk
            self._rest.clear()
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._rest += chunk
                return []
            self._started = True
            chunk = chunk.removeprefix(_BOM)
        if self._skip_lf or b"\r" in chunk:
            chunk = self._normalise(chunk)
        if not self._rest:
            return self._split(chunk)
        if not (b"\n\n" in chunk or (chunk.startswith(b"\n") and self._rest.endswith(b"\n"))):
            self._keep(chunk)
            return []
        if len(self._rest) < len(chunk):
            data = bytes(self._rest) + chunk
            self._rest = bytearray()
            return self._split(data)
        return self._take_first(chunk)

    def _split(self, data: bytes) -> list[Event]:
        blocks = data.split(b"\n\n")
        self._keep(blocks.pop())
        return [event for block in blocks if (event := _parse_block(block)) is not None]

    def _take_first(self, chunk: bytes) -> list[Event]:
        """The event that was kept is large: it is copied once, without what follows it."""
        at = 1 if chunk.startswith(b"\n") and self._rest.endswith(b"\n") else chunk.find(b"\n\n") + 2
        self._keep(chunk[:at])
        block = bytes(memoryview(self._rest)[:-2])
        self._rest = bytearray()
        event = _parse_block(block)
        del block
        return [*([] if event is None else [event]), *self._split(chunk[at:])]

    def _keep(self, data: bytes) -> None:
        if len(self._rest) + len(data) > self._limit:
            self._rest = bytearray()
            self._limit = 0
            raise EventTooLarge(f"An event of the stream is larger than {EVENT // MB} MB.")
        self._rest += data

    def flush(self) -> list[Event]:
        """The event that was left without its closing blank line when the stream ended, if any.

        The standard drops it; real providers end streams that way, and dropping would lose the last event.
        """
        block = bytes(self._rest)
        self._rest = bytearray()
        event = _parse_block(block)
        return [] if event is None else [event]

    def _normalise(self, chunk: bytes) -> bytes:
        """Make every line end one LF. A CR ends its line at once; an LF that opens the next chunk is then dropped."""
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        if chunk.endswith(b"\r"):
            self._skip_lf = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse_block(block: bytes) -> Event | None:
    """One block of lines (without its closing blank line), or None when it holds no data (comments, ids)."""
    # What providers send nearly always: a data line, maybe after an event line. Worth a third of the parsing.
    if block.startswith(b"data: ") and b"\n" not in block:
        return Event("", block[6:])
    at = block.find(b"\n")
    if block.startswith(b"event: ") and block.startswith(b"data: ", at + 1) and block.find(b"\n", at + 1) < 0:
        return Event(block[7:at].decode("utf-8", "replace"), block[at + 7 :])
    name = ""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
        elif line == b"data":
            data.append(b"")
    if not data:
        return None
    return Event(name, data[0] if len(data) == 1 else b"\n".join(data))


def encode(data: bytes, name: str = "") -> bytes:
    """One event on the wire. `data` must be a single line, as JSON is."""
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data


def comment(text: str) -> bytes:
    """A line that every client skips; keeps a silent connection alive."""
    return f": {text}\n\n".encode()


def at_boundary(tail: bytes) -> bool:
    """Whether a stream that ends with `tail` stands between two events (so that one may be put in).

    `tail` is at least the last four bytes sent so far; nothing sent yet counts as a boundary.
    """
    if not tail:
        return True
    return tail.endswith((b"\n\n", b"\n\r\n", b"\r\r"))
