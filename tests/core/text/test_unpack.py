"""Content encodings: any cut of them comes out right; what is too much or wrong is refused before it is in memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.limits import MB, RATIO, RATIO_FREE, UNPACK_STEP
from ccproxy_tui.core.text.unpack import Broken, TooLarge, Unpacker, UnpackError, Unsupported, unpack

Pack = Callable[[bytes], bytes]


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKS: dict[str, tuple[str, Pack]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "zstd": ("zstd", _zstd),
    "two layers": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    "two kinds": ("zstd, deflate", lambda data: zlib.compress(_zstd(data))),
    "members": ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(b"") + gzip.compress(data[5:])),
    "frames": ("zstd", lambda data: _zstd(data[:5]) + _zstd(b"") + _zstd(data[5:])),
    "identity": ("identity, ", lambda data: data),
}


@given(kind=st.sampled_from(sorted(PACKS)), data=st.binary(max_size=300_000), cuts=st.lists(st.integers(1, 5000)))
def test_any_cut_of_any_encoding_gives_the_same_bytes(kind: str, data: bytes, cuts: list[int]) -> None:
    encoding, pack = PACKS[kind]
    packed = pack(data)
    unpacker = Unpacker(encoding, MB)
    out = bytearray()
    for size in (*cuts, max(len(packed), 1)):
        for piece in unpacker.feed(packed[:size]):
            out += piece
        packed = packed[size:]
    unpacker.finish()
    assert out == data


# Made in the test: gzip writes the time, and the workers of one run must collect the same names.
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", lambda: gzip.compress(bytes(200 * MB))),
    "deflate": ("deflate", lambda: zlib.compress(bytes(200 * MB))),
    "zstd": ("zstd", lambda: _zstd(bytes(200 * MB))),
    "gzip twice": ("gzip, gzip", lambda: gzip.compress(gzip.compress(bytes(200 * MB)))),
    "zstd in gzip": ("zstd, gzip", lambda: gzip.compress(_zstd(bytes(200 * MB)))),
    "gzip members": ("gzip", lambda: b"".join([gzip.compress(bytes(MB))] * 200)),
    "zstd frames": ("zstd", lambda: b"".join([_zstd(bytes(MB))] * 200)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_before_it_is_in_memory(kind: str) -> None:
    encoding, make = BOMBS[kind]
    bomb = make()
    unpacker = Unpacker(encoding, 64 * MB)
    made = largest = 0
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            for piece in unpacker.feed(bomb):
                made += len(piece)
                largest = max(largest, len(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made <= max(RATIO_FREE, RATIO * len(bomb))
    assert largest <= 2 * MB
    assert peak < 12 * MB  # a window, a step


def test_a_body_that_shrinks_well_passes_up_to_the_limit() -> None:
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}\n' * 20_000
    assert unpack(gzip.compress(data[: RATIO_FREE // 2]), "gzip", 64 * MB) == data[: RATIO_FREE // 2]
    with pytest.raises(TooLarge, match="larger than 1 MB"):
        unpack(gzip.compress(data), "gzip", MB)


@pytest.mark.parametrize("kind", [kind for kind in PACKS if kind != "identity"])
def test_an_end_too_early_or_too_late_is_noticed(kind: str) -> None:
    encoding, pack = PACKS[kind]
    packed = pack(b"some data that is long enough to have an end")
    with pytest.raises(Broken):
        unpack(packed[:-1], encoding, MB)
    with pytest.raises(UnpackError):
        unpack(packed + b"garbage after it", encoding, MB)


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, br", "gzip, gzip, gzip, gzip", "nonsense" * 100])
def test_what_is_not_known_is_refused(encoding: str) -> None:
    with pytest.raises(Unsupported) as refused:
        Unpacker(encoding, MB)
    assert len(str(refused.value)) < 120


def test_a_window_that_http_does_not_allow_is_refused() -> None:
    """A frame's head alone would make the library reserve its window: 128 MB here."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Broken):
        unpack(packer.compress(b"small") + packer.flush(), "zstd", MB)


def test_pieces_are_small() -> None:
    assert all(len(piece) <= UNPACK_STEP for piece in Unpacker("gzip", 8 * MB).feed(gzip.compress(bytes(3 * MB))))
