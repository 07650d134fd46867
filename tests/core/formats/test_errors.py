"""Errors in each dialect, as the official SDKs read them."""

from __future__ import annotations

import json

import pytest

from ccproxy_tui.core.formats import FORMATS, Format
from ccproxy_tui.core.formats.errors import error_body, error_event, ping
from ccproxy_tui.core.text import sse


def test_the_anthropic_shape() -> None:
    body = json.loads(error_body("anthropic_messages", "rate_limit", "slow", request_id="req_1"))
    assert body == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_the_openai_shape(dialect: Format) -> None:
    body = json.loads(error_body(dialect, "invalid_request", "no", field="messages[0].role"))
    assert body == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "messages[0].role", "code": None}
    }


@pytest.mark.parametrize("dialect", FORMATS)
def test_an_error_event_is_one_event_and_no_end_mark(dialect: Format) -> None:
    events = sse.Decoder().feed(error_event(dialect, "overloaded", "too \n much"))
    assert len(events) == 1
    assert "too \n much" in json.dumps(json.loads(events[0].data), ensure_ascii=False).encode().decode("unicode_escape")
    assert b"[DONE]" not in events[0].data


@pytest.mark.parametrize("dialect", FORMATS)
def test_a_ping_is_whole_and_holds_no_message(dialect: Format) -> None:
    data = ping(dialect)
    assert sse.at_boundary(data)
    events = sse.Decoder().feed(data)
    assert [event.name for event in events] == (["ping"] if dialect == "anthropic_messages" else [])
