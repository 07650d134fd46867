"""However a text is cut, no secret in it is shown, and what is shown is the masked text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy_tui.core.records.kept_bodies import Capture
from ccproxy_tui.core.text import redact
from ccproxy_tui.core.text.redact import learn_secret, redact_body, redact_text
from ccproxy_tui.core.text.stream_mask import StreamMask
from tests.core.text.test_redact import SHAPED

OWN = "canary_opaque/own+credential=0123"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx0123456789\nabcdefABCDEF+/==\n-----END RSA PRIVATE KEY-----"
WORDS = [
    "hello ",
    "task",
    " is",
    "\n",
    "sk-",
    "A",
    "bearer of news",
    "e",
    "ey",
    "s",
    "://",
    "x?key=",
    '"password":"',
    "é",
    "\\n",
    '",',
]
SECRETS = [
    *SHAPED,
    OWN,
    PEM,
    "postgres://user:hunter2pass@db/x",
    "Bearer abcdef012345",
    '{"access_token": "opaque value here"}',
]


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    learn_secret(OWN)
    yield
    redact._learned.clear()
    redact._redacted.cache_clear()


TEXT = st.lists(st.sampled_from([*WORDS, *SECRETS]), max_size=8).map("".join)


@given(TEXT, st.lists(st.integers(0, 300), max_size=12))
@example("".join(SECRETS), list(range(0, 300, 4)))
def test_any_cut_of_a_text_shows_what_the_whole_shows(text: str, cuts: list[int]) -> None:
    mask = StreamMask()
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    shown = ""
    for piece in pieces:
        shown += mask.feed(piece)
        assert OWN not in shown
    assert shown + mask.flush() == redact_text(text)


@pytest.mark.parametrize("secret", [*SHAPED, OWN])
def test_a_secret_that_comes_letter_by_letter_is_never_shown(secret: str) -> None:
    mask = StreamMask()
    shown = "".join(mask.feed(char) for char in f"the key is {secret} and more") + mask.flush()
    assert shown == redact_text(f"the key is {secret} and more")
    assert secret[8:] not in shown


@pytest.mark.parametrize(
    "text",
    ["Hello world", "tests ", "This is", "the task", "a = b;", "for i in x:", "42", "done."],
)
def test_ordinary_text_is_shown_at_once(text: str) -> None:
    assert StreamMask().feed(text) == text


def test_what_is_held_back_is_bounded() -> None:
    mask = StreamMask()
    shown = sum(len(mask.feed("sk-ant-" + "a" * 1000)) for _ in range(100))
    assert shown > 0
    assert len(mask._held) <= 40_000


def events(pieces: list[str]) -> list[bytes]:
    def event(piece: str) -> bytes:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        return b"event: content_block_delta\ndata: " + msgspec.json.encode(delta) + b"\n\n"

    return [event(piece) for piece in pieces]


@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_secret_cut_into_events_is_not_in_the_raw_body(size: int) -> None:
    """The body of an answer that is still coming is read whenever a piece of it is there."""
    secret = SHAPED[0]
    text = f"my key is {secret}, and so on"
    capture = Capture()
    for event in events([text[begin : begin + size] for begin in range(0, len(text), size)]):
        capture.append(event)
        told = text_of(redact_body(capture.read(), growing=True))
        assert told == redact_text(text)[: len(told)] or told.replace(redact.MASK, "") in "my key is , and so on"
    assert text_of(redact_body(capture.read())).replace(redact.MASK, "") == "my key is , and so on"


def text_of(view: bytes) -> str:
    whole = view[: view.rfind(b"\n\n") + 1]
    return "".join(
        msgspec.json.decode(line[6:])["delta"]["text"] for line in whole.splitlines() if line[:5] == b"data:"
    )


def test_a_growing_body_shows_no_half_of_a_secret_in_any_window() -> None:
    whole = f'{{"a": "b", "note": "{OWN}", "c": 1}}'.encode()
    seen = b""
    for end in range(1, len(whole)):
        seen += redact_body(whole[:end], growing=True)[len(seen) :][:16]
    assert seen + redact_body(whole)[len(seen) :] == redact_body(whole)
