"""Content encodings undone in small steps: a body that unpacks to too much is noticed before it is in memory."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import Protocol

import zstandard

from ccproxy_tui.core.limits import ENCODINGS, RATIO, RATIO_FREE, UNPACK_STEP

# A window larger than this is not allowed in HTTP: https://www.rfc-editor.org/rfc/rfc9659
_ZSTD_WINDOW = 8 * 1024 * 1024
# Four bytes of zstd can stand for a block of 128 KB: no more input at once than what makes 2 MB.
_ZSTD_INPUT = 64


class UnpackError(Exception):
    """The message completes "the body ..."."""


class Unsupported(UnpackError):
    """An encoding that can't be undone here."""


class Broken(UnpackError):
    """The bytes are not what their encoding says."""


class TooLarge(UnpackError):
    """The body unpacks to more than is allowed."""


class _Stage(Protocol):
    """One encoding. `feed` yields pieces of at most a few `UNPACK_STEP`."""

    @property
    def whole(self) -> bool:
        """Whether the input may end here."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class Unpacker:
    """Feed it any cut of a body with the given content-encoding; it yields the unpacked bytes in small pieces.

    No stage makes more than `limit` bytes, nor more than `RATIO` times what came (and `RATIO_FREE`). The generator
    that `feed` returns does the work of a step only when its next piece is taken.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        """Raise Unsupported for an encoding that is not known here."""
        names = [name for part in encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
        if len(names) > ENCODINGS:
            raise Unsupported(f"has {len(names)} layers of compression")
        self._stages = [_Counted(_stage(name), limit) for name in reversed(names)]

    @property
    def needed(self) -> bool:
        """Whether there is anything to undo."""
        return bool(self._stages)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raise Broken or TooLarge, while it is iterated."""
        pieces: Iterable[bytes] = (data,)
        for stage in self._stages:
            pieces = stage.feed(pieces)
        yield from pieces

    def finish(self) -> None:
        """Raise Broken when the body ended too early."""
        if not all(stage.whole for stage in self._stages):
            raise Broken("ends too early")


class _Counted:
    """A stage that knows how much it took and made."""

    def __init__(self, stage: _Stage, limit: int) -> None:
        self._stage = stage
        self._limit = limit
        self._taken = 0
        self._made = 0

    @property
    def whole(self) -> bool:
        return self._stage.whole

    def feed(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for data in pieces:
            self._taken += len(data)
            for piece in self._stage.feed(data):
                self._made += len(piece)
                if self._made > self._limit:
                    raise TooLarge(f"is larger than {self._limit // 1024 // 1024} MB when unpacked")
                if self._made > RATIO_FREE and self._made > RATIO * self._taken:
                    raise TooLarge(f"unpacks to more than {RATIO} times its size")
                yield piece


class _Zlib:
    """gzip (one or more members, RFC 1952), and deflate (with the head of zlib or, as some send it, without)."""

    def __init__(self, *, deflate: bool) -> None:
        self._deflate = deflate
        self._head = b""  # of a deflate stream, until it is long enough to tell its kind
        self._undo: zlib._Decompress | None = None

    @property
    def whole(self) -> bool:
        return self._undo is None and not self._head

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._undo is None:
                data, self._head = self._head + data, b""
                if self._deflate and len(data) < 2:
                    self._head = data
                    return
                self._undo = zlib.decompressobj(_window(data) if self._deflate else 32 + zlib.MAX_WBITS)
            data = yield from self._drain(self._undo, data)

    def _drain(self, undo: zlib._Decompress, data: bytes) -> Generator[bytes, None, bytes]:
        """Everything that `data` makes; what is left of it belongs to the next member."""
        while True:
            try:
                piece = undo.decompress(data, UNPACK_STEP)
            except zlib.error as error:
                raise Broken(f"can't be unpacked ({error})") from None
            if piece:
                yield piece
            if undo.eof:
                self._undo = None
                return undo.unused_data
            data = undo.unconsumed_tail
            if not data and len(piece) < UNPACK_STEP:
                return b""


def _window(data: bytes) -> int:
    """The `wbits` for a deflate stream: the head of zlib is told by its check bits (RFC 1950, section 2.2)."""
    has_head = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS


class _Zstd:
    """zstd, of one or more frames (RFC 8878)."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._undo: zstandard.ZstdDecompressionObj | None = None

    @property
    def whole(self) -> bool:
        return self._undo is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_INPUT):
            piece = data[start : start + _ZSTD_INPUT]
            while piece:
                if self._undo is None:
                    self._undo = self._context.decompressobj(write_size=UNPACK_STEP)
                try:
                    made = self._undo.decompress(piece)
                except zstandard.ZstdError as error:
                    raise Broken(f"can't be unpacked ({error})") from None
                piece = b""
                if self._undo.eof:
                    piece, self._undo = self._undo.unused_data, None
                if made:
                    yield made


def _stage(name: str) -> _Stage:
    match name:
        case "gzip" | "x-gzip":
            return _Zlib(deflate=False)
        case "deflate":
            return _Zlib(deflate=True)
        case "zstd":
            return _Zstd()
        case _:
            raise Unsupported(f"has the content encoding {name[:40]!r}, which is not supported")


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """A whole body unpacked. Raise UnpackError."""
    unpacker = Unpacker(encoding, limit)
    if not unpacker.needed:
        return body
    data = b"".join(unpacker.feed(body))
    unpacker.finish()
    return data
