"""Server-sent events on bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.text import sse
from ccproxy_tui.core.text.sse import Decoder, Event

CASES = [
    (b"data: a\n\n", [Event("", b"a")]),
    (b"event: x\ndata: a\n\n", [Event("x", b"a")]),
    (b"data:a\ndata: b\n\n", [Event("", b"a\nb")]),
    (b": comment\n\ndata: a\n\n", [Event("", b"a")]),
    (b"data\n\n", [Event("", b"")]),
    (b"\xef\xbb\xbfdata: bom\n\n", [Event("", b"bom")]),
    (b"id: 1\nretry: 5\n\n", []),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [Event("", b"a"), Event("", b"b")]),
    (b"data: a\r\rdata: b\r\r", [Event("", b"a"), Event("", b"b")]),
    (b"event: x\r\ndata: a\n\r\ndata: b\r\n\n", [Event("x", b"a"), Event("", b"b")]),
    ("data: \u2028\x0b\x0c\x85 stay\n\n".encode(), [Event("", "\u2028\x0b\x0c\x85 stay".encode())]),
    (b"\n\n\ndata: a\n\n\n\n", [Event("", b"a")]),
]


@pytest.mark.parametrize(("data", "events"), CASES)
def test_a_stream_cut_at_every_pair_of_places_gives_the_same_events(data: bytes, events: list[Event]) -> None:
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            decoder = Decoder()
            got = decoder.feed(data[:first]) + decoder.feed(data[first:second]) + decoder.feed(data[second:])
            assert got == events
            assert decoder.flush() == []


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_out_as_soon_as_its_blank_line_is_in(line_end: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a" + line_end + line_end) == [Event("", b"a")]


def test_an_event_without_its_blank_line_comes_with_the_flush() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a\n\ndata: last") == [Event("", b"a")]
    assert decoder.flush() == [Event("", b"last")]
    assert decoder.flush() == []


_LINES = st.binary(max_size=30).filter(lambda data: b"\n" not in data and b"\r" not in data)


@given(st.lists(_LINES, min_size=1, max_size=6), st.integers(1, 9))
def test_what_was_encoded_is_decoded_again_whatever_the_cut(datas: list[bytes], size: int) -> None:
    stream = b"".join(sse.encode(data, "event-name") for data in datas)
    decoder = Decoder()
    got = [event for i in range(0, len(stream), size) for event in decoder.feed(stream[i : i + size])]
    assert got == [Event("event-name", data) for data in datas]


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_fail(data: bytes) -> None:
    decoder = Decoder()
    decoder.feed(data)
    decoder.flush()


@pytest.mark.parametrize(
    ("tail", "between"),
    [
        (b"", True),
        (b"\n\n", True),
        (b"\r\n\r\n", True),
        (b"x\r\r", True),
        (b"a\n", False),
        (b"abc", False),
        (b"\r\n", False),
    ],
)
def test_the_place_between_two_events_is_known(tail: bytes, between: bool) -> None:
    assert sse.at_boundary(tail) is between
