"""Bodies kept for the inspector: bounded while they grow, compressed in blocks off the loop."""

from __future__ import annotations

import zstandard

HEAD_LIMIT = 4 * 1024 * 1024
TAIL_LIMIT = 64 * 1024
BLOCK = 64 * 1024
COMPRESS_FROM = 4 * 1024


class Block:
    """A piece of a body that will not grow: raw until it is compressed."""

    __slots__ = ("data", "packed", "size")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.packed = False

    def compress(self) -> bytes:
        """The compressed form, for `pack`. Safe in another thread."""
        return zstandard.ZstdCompressor(level=1).compress(self.data)

    def pack(self, compressed: bytes) -> None:
        self.data, self.packed = compressed, True

    def raw(self) -> bytes:
        if not self.packed:
            return self.data
        return zstandard.ZstdDecompressor().decompress(self.data, max_output_size=self.size)


class Capture:
    """A copy of bytes that go by. It keeps the first `HEAD_LIMIT` and the last `TAIL_LIMIT` of them."""

    __slots__ = ("_blocks", "_open", "_open_size", "_tail", "dropped", "frozen", "kept", "total")

    def __init__(self, data: bytes = b"") -> None:
        self._blocks: list[Block] = []
        self._open: list[bytes] = []
        self._open_size = 0
        self._tail = b""
        self.total = 0
        self.kept = 0  # how many of the first bytes can be read
        self.frozen = False  # keep no more than now, but for the tail
        self.dropped = False
        if data:  # a whole body, which is in memory anyway, and has a limit of its own
            self._keep(data)

    def append(self, chunk: bytes) -> None:
        room = 0 if self.frozen else HEAD_LIMIT - self.kept
        if len(chunk) <= room:
            self._keep(chunk)
            return
        if room > 0:
            self._keep(chunk[:room])
        rest = chunk[max(room, len(chunk) - TAIL_LIMIT, 0) :]
        self.total += len(chunk) - max(room, 0)
        self._tail = (self._tail + rest)[-TAIL_LIMIT:]

    def _keep(self, chunk: bytes) -> None:
        size = len(chunk)
        self._open.append(chunk)
        self._open_size += size
        self.kept += size
        self.total += size

    def read(self, offset: int = 0, limit: int | None = None) -> bytes:
        """A slice of the first bytes."""
        end = self.kept if limit is None else min(offset + limit, self.kept)
        if not self._blocks and len(self._open) == 1 and offset == 0 and end == self.kept:
            return self._open[0]
        pieces = []
        start = 0
        for block in self._blocks:
            if start < end and start + block.size > offset:
                pieces.append(block.raw()[max(offset - start, 0) : end - start])
            start += block.size
        for chunk in self._open:
            if start >= end:
                break
            if start + len(chunk) > offset:
                pieces.append(chunk[max(offset - start, 0) : end - start])
            start += len(chunk)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def tail(self) -> bytes:
        """The last bytes, `TAIL_LIMIT` of them if there were so many."""
        if len(self._tail) >= TAIL_LIMIT:
            return self._tail
        return self.read(max(self.kept - TAIL_LIMIT + len(self._tail), 0)) + self._tail

    @property
    def complete(self) -> bool:
        """Whether every byte is still here."""
        return self.kept == self.total

    @property
    def memory(self) -> int:
        """Bytes held now."""
        return sum(len(block.data) for block in self._blocks) + self._open_size + len(self._tail)

    def seal(self, *, ended: bool) -> Block | None:
        """Close what has gathered into a block, to be compressed; None while it is not worth it."""
        if self._open_size < (COMPRESS_FROM if ended else BLOCK):
            return None
        block = Block(b"".join(self._open))
        self._blocks.append(block)
        self._open, self._open_size = [], 0
        return block

    def drop(self) -> None:
        """Forget the bytes, keep the count."""
        self._blocks, self._open, self._open_size, self._tail, self.kept = [], [], 0, b"", 0
        self.dropped = self.frozen = self.total > 0
