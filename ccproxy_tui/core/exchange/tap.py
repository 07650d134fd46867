"""Watches an answer go by: counts it, keeps a copy, notes its first byte and first token. Never holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice

from ccproxy_tui.core.formats import Format, scan
from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.limits import ANSWER
from ccproxy_tui.core.records.bus import Bus
from ccproxy_tui.core.records.events import FirstByte, FirstToken, Marked
from ccproxy_tui.core.records.kept_bodies import Capture
from ccproxy_tui.core.records.record import ExchangeRecord
from ccproxy_tui.core.records.store import Store
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.text.unpack import Broken, Unpacker, UnpackError

_HEAD = 8 * 1024
_STEPS_HERE = 4
_STEPS_IN_THREAD = 16


class Tap:
    """One per exchange. `feed`, or `feed_packed`, is called for each read of the upstream's socket."""

    def __init__(
        self,
        record: ExchangeRecord,
        store: Store,
        bus: Bus,
        clock: Clock,
        dialect: Format | None,
        encoding: str,
        *,
        converted: bool = False,
    ) -> None:
        self._record = record
        self._store = store
        self._bus = bus
        self._clock = clock
        self._dialect = dialect
        self._unpacker: AnswerUnpacker | None = None
        self.blind = False  # the copy ends before the answer does
        self._hunting = dialect is not None
        self._capture: Capture = record.upstream_body
        if converted:
            record.client_body = Capture()
        if encoding:
            self._expect(encoding)

    def _expect(self, encoding: str) -> None:
        try:
            unpacker = AnswerUnpacker(encoding)
        except UnpackError as error:
            self._stop_decoding(f"it {error}")
        else:
            self._unpacker = unpacker if unpacker.needed else None

    @property
    def packed(self) -> bool:
        return self._unpacker is not None or self.blind

    def feed(self, chunk: bytes) -> None:
        self._count(chunk)
        self._keep(chunk)

    async def feed_packed(self, chunk: bytes) -> None:
        """Take a piece of a compressed answer. The copy ends, with a mark, where it can't be decoded within limits."""
        self._count(chunk)
        if self._unpacker is None:
            self._store.touch(self._record)
            return
        try:
            async for piece in self._unpacker.feed(chunk):
                self._keep(piece)
        except UnpackError as error:
            self._stop_decoding(f"it {error}")

    def _stop_decoding(self, why: str) -> None:
        self._unpacker = None
        self._hunting = False
        self.blind = True
        self._bus.publish(Marked(self._record.id, "not decoded", f"the copy of the answer ends here: {why}"))

    def _count(self, chunk: bytes) -> None:
        record = self._record
        record.last_byte = self._clock.monotonic()
        record.upstream_bytes += len(chunk)
        if record.client_body is None:
            record.client_bytes += len(chunk)
        if record.first_byte is None:
            self._bus.publish(FirstByte(record.id))

    def _keep(self, chunk: bytes) -> None:
        record = self._record
        self._capture.append(chunk)
        record.events += chunk.count(b"\ndata") + chunk.startswith(b"data")  # twice as fast as counting blank lines
        if self._hunting and self._dialect is not None and scan.has_first_token(chunk, self._dialect):
            self._hunting = False
            self._bus.publish(FirstToken(record.id))
        self._store.touch(record)

    def sent(self, data: bytes) -> None:
        """What the client got, where that is not what the upstream sent."""
        record = self._record
        record.client_bytes += len(data)
        if record.client_body is not None:
            record.client_body.append(data)

    @property
    def knows_dialect(self) -> bool:
        """Whether the answer is in a dialect that can be read at all."""
        return self._dialect is not None

    @property
    def has_end_mark(self) -> bool:
        """Whether the stream said that it is over. The event that says so may be as large as the whole answer."""
        if self.blind or self._dialect is None or scan.has_end_mark(self._capture.tail(), self._dialect):
            return True
        return scan.has_end_mark(self._capture.read(), self._dialect)

    def stream_error(self) -> str:
        """What went wrong inside a stream that began well; nothing for a good one."""
        return "" if self._dialect is None else scan.find_stream_error(self._capture.tail(), self._dialect)

    def start(self) -> bytes:
        """The first bytes of the answer, decompressed."""
        return self._capture.read(0, _HEAD)

    def usage(self) -> Usage:
        if self._dialect is None:
            return Usage()
        return scan.find_usage(self.start(), self._capture.tail(), self._dialect)

    def model(self) -> str:
        return scan.find_model(self.start())

    def stop_reason(self) -> str:
        return "" if self._dialect is None else scan.find_stop_reason(self._capture.tail(), self._dialect)


class AnswerUnpacker:
    """Undoes the content encoding of an answer. Some upstreams name one and send plain text: that passes as it is."""

    def __init__(self, encoding: str) -> None:
        """Raise Unsupported."""
        self._unpacker = Unpacker(encoding, ANSWER)
        self._begun = False
        self._plain = not self._unpacker.needed

    @property
    def needed(self) -> bool:
        return self._unpacker.needed

    async def feed(self, chunk: bytes) -> AsyncIterator[bytes]:
        """The first steps at once, which is all for an ordinary chunk; more of them in a thread. Raise UnpackError."""
        if self._plain:
            yield chunk
            return
        pieces = self._unpacker.feed(chunk)
        try:
            batch = _take(pieces, _STEPS_HERE)
        except Broken:
            if self._begun:
                raise
            self._plain = True
            batch = chunk
        self._begun = True
        while batch:
            yield batch
            batch = b"" if self._plain else await asyncio.to_thread(_take, pieces, _STEPS_IN_THREAD)


def _take(pieces: Iterator[bytes], steps: int) -> bytes:
    return b"".join(islice(pieces, steps))
