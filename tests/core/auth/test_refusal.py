"""What an answer says of its account."""

from __future__ import annotations

import json

import pytest

from ccproxy_tui.core.auth.refusal import Refusal, read_refusal, refusal_inside
from ccproxy_tui.core.formats.canonical import Failed
from ccproxy_tui.core.formats.opening import Opening
from tests.fakes.streams import response_events, said
from tests.fakes.upstream import anthropic_stream

NOW = 1_800_000_000.0


def unified(status: str, **more: str) -> dict[str, str]:
    prefix = "anthropic-ratelimit-unified"
    return {f"{prefix}-status": status, **{f"{prefix}-{name}": value for name, value in more.items()}}


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (429, {"retry-after": "38"}, {}, Refusal("too fast", 38, "m")),
        (429, unified("allowed") | {"retry-after": "2"}, {}, Refusal("too fast", 2, "m")),
        (429, {}, {}, Refusal("too fast", 60, "m")),
        (429, {"retry-after": "soon"}, {}, Refusal("too fast", 60, "m")),
        (429, unified("rejected", reset=f"{NOW + 500:.0f}"), {}, Refusal("plan used up", 500)),
        (429, unified("rejected", reset="1"), {}, Refusal("plan used up", 900)),
        (429, unified("rejected", reset=f"{NOW + 1e9:.0f}"), {}, Refusal("plan used up", 7 * 24 * 3600)),
        (
            429,
            unified("rejected", reset=f"{NOW + 5:.0f}") | unified("rejected", **{"representative-claim": "7d_opus"}),
            {},
            Refusal("plan used up", 5, "opus"),
        ),
        (429, {}, {"error": {"type": "usage_limit_reached", "resets_in_seconds": 70}}, Refusal("plan used up", 70)),
        (429, {}, {"error": {"code": "insufficient_quota", "message": "x"}}, Refusal("plan used up", 900)),
        (402, {}, {}, Refusal("plan used up", 900, "m")),
        (401, {}, {}, Refusal("login refused", 600)),
        (403, {}, {}, Refusal("not allowed", 600, "m")),
        (529, {}, {}, Refusal("overloaded", 20, "m")),
        (503, {"retry-after": "3"}, {}, Refusal("overloaded", 3, "m")),
        (400, {}, {"error": {"type": "invalid_request_error"}}, None),
        (404, {}, {}, None),
        (500, {}, {}, None),
    ],
)
def test_refusals(status: int, headers: dict[str, str], body: object, expected: Refusal | None) -> None:
    assert read_refusal(status, headers, json.dumps(body).encode(), "m", NOW) == expected


def test_only_load_and_limits_inside_an_answer_are_the_accounts() -> None:
    assert refusal_inside(Failed("overloaded", ""), "m") == Refusal("overloaded", 20, "m")
    assert refusal_inside(Failed("rate_limit", "", "usage_limit_reached"), "m") == Refusal("plan used up", 900)
    assert refusal_inside(Failed("invalid_request", ""), "m") is None


CREATED = b'event: response.created\ndata: {"type":"response.created","response":{"id":"r","status":"in_progress"}}\n\n'
BUSY = (
    b'event: response.failed\ndata: {"type":"response.failed","response":{"id":"r","status":"failed",'
    b'"error":{"code":"server_is_overloaded","message":"busy"}}}\n\n'
)


def test_an_opening_is_decided_by_its_first_words_at_any_cut() -> None:
    whole = CREATED + BUSY
    for cut in range(len(whole)):
        opening = Opening("openai_responses")
        opening.feed(whole[:cut])
        assert not opening.decided
        opening.feed(whole[cut:])
        assert opening.failed is not None
        assert opening.failed.kind == "overloaded"
    for stream, dialect in (
        (anthropic_stream("x"), "anthropic_messages"),
        (response_events(said("x")), "openai_responses"),
    ):
        opening = Opening(dialect)  # type: ignore[arg-type]
        opening.feed(b"".join(stream))
        assert (opening.decided, opening.failed) == (True, None)
    opening = Opening("openai_chat")
    opening.feed(b": ping\n\n" * 10_000)
    assert (opening.decided, opening.failed) == (True, None), "nobody waits for ever"
