"""Bodies that no parser takes are shown as text: what an upstream sends ends no screen."""

from __future__ import annotations

import json

import pytest

from ccproxy_tui.core.formats.anthropic_messages.answer_renderer import _input
from ccproxy_tui.core.formats.openai_chat.native import normalise_answer
from ccproxy_tui.core.formats.tool_names import unwrap_input
from ccproxy_tui.screens import copy_menu, inspector
from ccproxy_tui.screens.ui import convert_view

DEEP = b"[" * 100_000 + b"]" * 100_000
ODD = [DEEP, b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b"{", b'{"a":1e999}']


@pytest.mark.parametrize("body", ODD, ids=["deep", "no UTF-8", "half a pair", "half an object", "huge"])
def test_a_body_that_can_not_be_parsed_is_text(body: bytes) -> None:
    assert isinstance(copy_menu._pretty(body), str)
    assert convert_view._pretty(body)
    json.dumps(inspector._decoded(body), default=repr)
    assert inspector._body_value(body, len(body)) is not None
    assert normalise_answer(body, "m", 0) == body


def test_arguments_of_a_tool_that_can_not_be_parsed_stay_as_they_are() -> None:
    text = DEEP.decode()
    assert _input(text) == {"_invalid_json": text}
    assert unwrap_input(text) == text
