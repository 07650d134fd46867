"""Secrets are masked wherever they stand; everything else stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.redact import MASK, is_secret_header, redact_bytes, redact_headers, redact_setting, redact_text

SECRETS = [
    "sk-ant-oat01-AbCdEf0123456789_-AbCdEf",
    "sk-proj-0123456789abcdefghij",
    "gho_0123456789abcdefghijABCDEFGHIJ",
    "github_pat_0123456789abcdefghij_XYZ",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
]


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ('+    "ANTHROPIC_API_KEY": "ab\\"c",', '+    "ANTHROPIC_API_KEY": [redacted],'),
        ("api_key = 'ab'", "api_key = [redacted]"),
        ('"env": {"MY_TOKEN": "a", "B": "c"}', '"env": {"MY_TOKEN": [redacted], "B": "c"}'),
        ('"password":"a', '"password":[redacted]'),
        ('"ANTHROPIC_BASE_URL": "http://x"', '"ANTHROPIC_BASE_URL": "http://x"'),
        ('"tokens": {', '"tokens": {'),
    ],
)
def test_a_setting_with_a_secret_name_is_masked(line: str, masked: str) -> None:
    assert redact_setting(line) == masked


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "the key {} is mine", '"{}"', "token={}&x=1", "a\n{}\nb"])
def test_a_secret_is_masked_wherever_it_stands(secret: str, around: str) -> None:
    masked = redact_text(around.format(secret))
    assert secret not in masked
    assert masked == around.format(MASK)


@pytest.mark.parametrize(
    "text",
    [
        '{"access_token": "plain-looking"}',
        '{"refreshToken":"plain-looking"}',
        '{"api_key" : "plain-\\"looking"}',
        "Authorization: Bearer plain-looking",
        "authorization: Basic dXNlcjpwYXNz",
    ],
)
def test_fields_and_headers_that_hold_secrets_are_masked_whatever_they_look_like(text: str) -> None:
    masked = redact_text(text)
    assert MASK in masked
    assert "plain-looking" not in masked
    assert "dXNlcjpwYXNz" not in masked


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 100",
        "task-runner",
        "sk-1",
        "eyJ",
        "Bearer me",
        '{"input_tokens": 5, "name": "x"}',
        "risk-sk-assessment",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True),
        ("x-api-key", True),
        ("Set-Cookie", True),
        ("x-my-token", True),
        ("client-secret", True),
        ("anthropic-ratelimit-input-tokens-remaining", False),
        ("x-ratelimit-limit-tokens", False),
        ("content-type", False),
        ("anthropic-beta", False),
    ],
)
def test_headers_are_judged_by_name(name: str, secret: bool) -> None:
    assert is_secret_header(name) is secret
    assert redact_headers([(name, "value")]) == [(name, MASK if secret else "value")]


def test_a_credential_of_ours_is_known_whatever_its_shape() -> None:
    Credential("api_key", "local-0123456789-key", refresh="quite.plain.token.1")
    Credential("api_key", "x")
    assert (
        redact_text("Incorrect API key: local-0123456789-key, quite.plain.token.1")
        == f"Incorrect API key: {MASK}, {MASK}"
    )
    assert redact_text("a text with an x in it") == "a text with an x in it"


def test_a_client_can_not_hide_a_text_by_sending_it_as_a_secret() -> None:
    command = "&&./scripts/deploy-to-production"
    redact_headers([("x-token", command), ("authorization", f"Bearer {command}")])
    assert redact_text(f"make {command}") == f"make {command}"


def test_a_secret_in_an_innocent_header_is_masked_too() -> None:
    assert redact_headers([("x-note", f"uses {SECRETS[0]}")]) == [("x-note", f"uses {MASK}")]


@given(st.binary(max_size=300))
def test_masking_twice_changes_nothing_more(data: bytes) -> None:
    once = redact_bytes(data)
    assert redact_bytes(once) == once
