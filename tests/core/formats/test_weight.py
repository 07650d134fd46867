"""Bodies that would take far more memory than they have bytes are told from those that clients send."""

from __future__ import annotations

import json

import pytest

from ccproxy_tui.core.formats.weight import is_too_heavy
from ccproxy_tui.core.limits import MB


def _body(*messages: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages}, ensure_ascii=False).encode()


HEAVY = {
    "messages": b'{"messages":[' + b'{"role":"user","content":"a"},' * 800_000 + b"{}]}",
    "lists": b'{"a":[' + b"[]," * 7_000_000 + b"1]}",
    "objects": b'{"a":[' + b"{}," * 2_000_000 + b"1]}",
    "numbers": b'{"a":[' + b"7," * 10_000_000 + b"1]}",
    "one emoji": _body("word " * 4_000_000 + "\N{GRINNING FACE}"),
    "one emoji, escaped": _body("word " * 4_000_000).replace(b"word", b"\\ud83d\\ude00", 1),
    "one emoji in each": _body(*["word " * 10_000 + "\N{GRINNING FACE}"] * 400),
    "one ideograph": _body("word " * 10_000_000 + "\N{CJK UNIFIED IDEOGRAPH-4E2D}"),
}
LIGHT = {
    "an image": _body({"role": "user", "content": [{"type": "image", "data": "iVBORw0K" * 8_000_000}]}),
    "code": _body(*[{"role": "user", "content": '{"a": [1, 2, {}, [], {"b": ""}]}, ' * 60} for _ in range(15_000)]),
    "escaped code": _body('for (;;) { x["a\\""] = [1, 2, {}]; }\n' * 800_000),
    "a long history": _body(*[{"role": "user", "content": f"m{n}"} for n in range(100_000)]),
    "Chinese": _body(*["\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 10_000] * 800),
    "emoji here and there": _body(*["word " * 300 + "\N{GRINNING FACE}"] * 4_000, "iVBORw0K" * 3_000_000),
    "accents": _body("caf\u00e9 " * 3_000_000),
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_grows_in_memory_is_told(name: str) -> None:
    assert is_too_heavy(HEAVY[name])


@pytest.mark.parametrize("name", LIGHT)
def test_what_clients_send_passes(name: str) -> None:
    assert len(LIGHT[name]) > MB
    assert not is_too_heavy(LIGHT[name])
