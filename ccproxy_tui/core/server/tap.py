"""Watches an answer go by: counts it, keeps a copy, notes its first byte and first token. Never holds it up."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import zstandard

from ccproxy_tui.core.capture import Capture
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.exchange_record import ExchangeRecord, Mark
from ccproxy_tui.core.formats import Format, scan
from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.store import Store

_HEAD = 8 * 1024


class Tap:
    """One per exchange. `feed` is called for each read of the upstream's socket."""

    def __init__(
        self,
        record: ExchangeRecord,
        store: Store,
        clock: Clock,
        dialect: Format | None,
        encoding: str,
        *,
        converted: bool = False,
    ) -> None:
        self._record = record
        self._store = store
        self._clock = clock
        self._dialect = dialect
        self._undo = undo_encoding(encoding)
        self._hunting = dialect is not None
        self._capture: Capture = record.upstream_body
        if converted:
            record.client_body = Capture()

    def feed(self, chunk: bytes) -> None:
        record = self._record
        now = self._clock.monotonic()
        record.last_byte = now
        record.upstream_bytes += len(chunk)
        if record.client_body is None:
            record.client_bytes += len(chunk)
        if self._undo is not None:
            chunk = self._undo(chunk)
        self._capture.append(chunk)
        record.events += chunk.count(b"\ndata") + chunk.startswith(b"data")  # twice as fast as counting blank lines
        if record.first_byte is None:
            record.first_byte = now - record.origin
            record.marks.append(Mark(record.first_byte, "first byte"))
        if self._hunting and self._dialect is not None and scan.has_first_token(chunk, self._dialect):
            self._hunting = False
            record.first_token = now - record.origin
            record.marks.append(Mark(record.first_token, "first token"))
        self._store.touch(record)

    def sent(self, data: bytes) -> None:
        """What the client got, where that is not what the upstream sent."""
        record = self._record
        record.client_bytes += len(data)
        if record.client_body is not None:
            record.client_body.append(data)

    @property
    def has_end_mark(self) -> bool:
        """Whether the stream said that it is over. The event that says so may be as large as the whole answer."""
        if self._dialect is None or scan.has_end_mark(self._capture.tail(), self._dialect):
            return True
        return scan.has_end_mark(self._capture.read(), self._dialect)

    def stream_error(self) -> str:
        """What went wrong inside a stream that began well; nothing for a good one."""
        return "" if self._dialect is None else scan.find_stream_error(self._capture.tail(), self._dialect)

    def usage(self) -> Usage:
        if self._dialect is None:
            return Usage()
        return scan.find_usage(self._capture.read(0, _HEAD), self._capture.tail(), self._dialect)

    def model(self) -> str:
        return scan.find_model(self._capture.read(0, _HEAD))

    def stop_reason(self) -> str:
        return "" if self._dialect is None else scan.find_stop_reason(self._capture.tail(), self._dialect)


def undo_encoding(encoding: str) -> Callable[[bytes], bytes] | None:
    """Undoes a content encoding, piece by piece; None when there is nothing to undo."""
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _forgiving(zlib.decompressobj(32 + zlib.MAX_WBITS).decompress)
    if encoding == "zstd":
        return _forgiving(zstandard.ZstdDecompressor().decompressobj().decompress)
    return None


def _forgiving(undo: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A copy that can't be decompressed is kept as it is: watching must not fail an exchange."""

    def attempt(chunk: bytes) -> bytes:
        try:
            return undo(chunk)
        except (zlib.error, zstandard.ZstdError):
            return chunk

    return attempt
