"""Secrets are masked wherever they stand; everything else stays as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.text import redact
from ccproxy_tui.core.text.redact import (
    MASK,
    is_secret_header,
    is_secret_name,
    learn_secret,
    redact_bytes,
    redact_headers,
    redact_query,
    redact_setting,
    redact_text,
    redact_url,
)

SECRETS = [
    "sk-ant-oat01-AbCdEf0123456789_-AbCdEf",
    "sk-proj-0123456789abcdefghij",
    "gho_0123456789abcdefghijABCDEFGHIJ",
    "github_pat_0123456789abcdefghij_XYZ",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
]

# One of each shape, masked whole. Put together here, so that no scanner takes this file for a leak.
SHAPED = [
    *SECRETS,
    "sk-0123456789abcdefABCDEF",
    "sk-" + "svcacct-0123456789abcdef_x",
    "gh" + "s_0123456789abcdefghijABCD",
    "gl" + "pat-0123456789abcdefghij",
    "AS" + "IAIOSFODNN7EXAMPLE",
    "AI" + "za0123456789abcdefghijklmnopqrstuvwxyz0",
    "ya" + "29.a0AfH6SMBx0123456789",
    "xo" + "xb-0123456789-abcdefghij",
    "xa" + "pp-1-A0123456789-0123456789",
    "np" + "m_0123456789abcdefghij0123456789abcdef",
    "py" + "pi-AgEIcHlwaS5vcmcCJDAxMjM0NTY3ODkwMTIzNDU2Nzg",
    "hf" + "_abcdefghijABCDEFGHIJabcdefghijABCD",
    "gs" + "k_0123456789abcdefghijABCDEFGHIJ",
    "xa" + "i-0123456789abcdefghijABCDEFGHIJ",
    "pp" + "lx-0123456789abcdefghijABCDEFGHIJ0123456789",
    "tv" + "ly-0123456789abcdefghijABCDEFGHIJ",
    "nv" + "api-0123456789abcdefghijABCDEFGHIJ-_0123456789",
    "r8" + "_0123456789abcdefghijABCDEFGHIJ0123456",
    "sk" + "_live_0123456789abcdefABCDEF",
    "rk" + "_test_0123456789abcdefABCDEF",
    "wh" + "sec_0123456789abcdefABCDEF0123456789",
    "SG" + ".0123456789abcdefABCDEF.0123456789abcdefghijABCDEFGHIJ0123456789abc",
    "do" + "p_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "sh" + "pat_0123456789abcdef0123456789abcdef",
    "sq" + "0atp-0123456789abcdefABCDEF",
    "SK" + "0123456789abcdef0123456789abcdef",
    "AC" + "0123456789abcdef0123456789abcdef",
    "AGE" + "-SECRET-KEY-1QQPQYFHVFZ0123456789ABCDEFGHIJ",
]
# Where it stands says that it is one: the text, and what it becomes.
PLACED = [
    ("postgres://user:hunter2@db.example/x", f"postgres://user:{MASK}@db.example/x"),
    ("redis://:p@ss:word@host:6379", f"redis://:{MASK}@host:6379"),
    ("https://0123456789abcdef0123@github.example/x.git", f"https://{MASK}@github.example/x.git"),
    ("GET /v1?key=abcdef12&x=1", f"GET /v1?key={MASK}&x=1"),
    (
        "https://b.example/x?X-Amz-Signature=0123456789#access_token=abcdef12",
        f"https://b.example/x?X-Amz-Signature={MASK}#access_token={MASK}",
    ),
    (
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        f"https://hooks.slack.com/services/{MASK}",
    ),
    ("AccountName=x;AccountKey=0123456789abcdefABCDEF==;Endpoint", f"AccountName=x;AccountKey={MASK};Endpoint"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", f"aws_secret_access_key = {MASK}"),
    ('"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"', f'"SecretAccessKey": "{MASK}"'),
    ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY;", f"export AWS_SECRET_ACCESS_KEY={MASK};"),
    (
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\nabc=\n-----END PRIVATE KEY-----\nbye",
        f"-----BEGIN PRIVATE KEY-----{MASK}-----END PRIVATE KEY-----\nbye",
    ),
    (
        "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEA\\n-----END OPENSSH PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----{MASK}-----END OPENSSH PRIVATE KEY-----",
    ),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\nMIIEvQIBADANBgkqhkiG",
        f"-----BEGIN RSA PRIVATE KEY-----{MASK}",
    ),
    (
        '{"args": "{\\"password\\": \\"a b c\\", \\"x\\": 1}"}',
        '{"args": "{\\"password\\": \\"' + MASK + '\\", \\"x\\": 1}"}',
    ),
    ('{"GITHUB_TOKEN": "opaque", "MY_API_KEY": "opaque"}', f'{{"GITHUB_TOKEN": "{MASK}", "MY_API_KEY": "{MASK}"}}'),
]
NEAR_MISSES = [
    "d670460b4b4aece5915caf5c68d12f560a9fe3e4",
    "commit 0123456789abcdef0123456789abcdef01234567 of main",
    "550e8400-e29b-41d4-a716-446655440000",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "task-management-system-overview",
    "sk-learn-pipeline-with-estimators",
    "risk-assessment-for-the-platform",
    "a basic understanding of JavaScript",
    "bearer certificates, Bearer authentication",
    "https://example.com:8443/path?page=2&sort=name",
    "git@github.com:someone/project.git",
    "pypi-attestation-models-and-friends-of-python",
    "npm_config_registry_and_other_settings_of_npm",
    "The line -----BEGIN PRIVATE KEY----- starts a key, as everyone knows.",
    '{"logprobs": [{"token": "Hello", "logprob": -0.1}]}',
    "secret_key is described in the manual",
    "hf_hub_download, gsk_thing, r8_x",
    "max_tokens=100&stop_token_count=5",
    "SKIP and ACCEPT and AKIN and ASIAN",
]


@pytest.fixture(autouse=True)
def nothing_learned() -> Iterator[None]:
    yield
    redact._learned.clear()
    redact._redacted.cache_clear()


@pytest.mark.parametrize(("text", "masked"), PLACED)
def test_a_secret_is_known_by_its_place(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_what_only_looks_a_bit_like_a_secret_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize("secret", SHAPED)
@pytest.mark.parametrize("before", ["word", "\\n", "\\u003d", "%20", "_"])
def test_a_secret_is_masked_after_a_word_or_an_escape(secret: str, before: str) -> None:
    """Behind a word its first letters may be the word's last ones: they stay. Some shapes are no secret there."""
    masked = redact_text(f"{before}{secret} x")
    if before != "word":
        assert masked == f"{before}{MASK} x"
    elif not secret.startswith(("sk-0", "sq0", "SK", "AC")):
        assert masked == f"{before}{secret[:3]}{MASK} x"


@pytest.mark.parametrize(
    ("query", "masked"),
    [
        ("key=a&limit=5", f"key={MASK}&limit=5"),
        ("access_token=b&api_key=&x", f"access_token={MASK}&api_key=&x"),
        ("code=1&state=2&sig=3", f"code={MASK}&state=2&sig={MASK}"),
        ("beta=true", "beta=true"),
        ("note=sk%2Dant-api03-0123456789abcdef", f"note={MASK}"),
        ("X-Amz-Signature=1&X%2DAmz-Security-Token=2", f"X-Amz-Signature={MASK}&X%2DAmz-Security-Token={MASK}"),
        ("max_tokens=5", "max_tokens=5"),
        ("", ""),
    ],
)
def test_secret_parameters_of_a_query_are_masked(query: str, masked: str) -> None:
    assert redact_query(query) == masked
    assert (
        redact_url(f"https://me:pw@h.example/p?{query}#token=a") == f"https://{MASK}@h.example/p?{masked}#token={MASK}"
    )


@pytest.mark.parametrize(
    "name", ["API_KEY", "apiKey", "password", "clientSecret", "X-Auth", "github_pat", "PGPASSWORD"]
)
def test_names_speak_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "token_url", "key_env", "monkey", "keys", "author", "limit_max_tokens"])
def test_names_that_do_not(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ('+    "ANTHROPIC_API_KEY": "ab\\"c",', '+    "ANTHROPIC_API_KEY": [redacted],'),
        ("api_key = 'ab'", "api_key = [redacted]"),
        ('"env": {"MY_TOKEN": "a", "B": "c"}', '"env": {"MY_TOKEN": [redacted], "B": "c"}'),
        ('"password":"a', '"password":[redacted]'),
        ('"ANTHROPIC_BASE_URL": "http://x"', '"ANTHROPIC_BASE_URL": "http://x"'),
        ('"tokens": {', '"tokens": {'),
        ('+  "apiKey": "{env:CCPROXY_TOKEN}",', '+  "apiKey": "{env:CCPROXY_TOKEN}",'),
        ('+  "apiKey": "{file:/home/me/token}"', '+  "apiKey": "{file:/home/me/token}"'),
        ('"API_KEY": "$CCPROXY_TOKEN"', '"API_KEY": "$CCPROXY_TOKEN"'),
        ('"API_KEY": "$ecret-word"', '"API_KEY": [redacted]'),
        ('env_key = "CCPROXY_TOKEN"', 'env_key = "CCPROXY_TOKEN"'),
        ('"tokenFile": "/home/me/token"', '"tokenFile": "/home/me/token"'),
    ],
)
def test_a_setting_with_a_secret_name_is_masked(line: str, masked: str) -> None:
    assert redact_setting(line) == masked


@pytest.mark.parametrize("secret", SHAPED)
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
        ("x-api-tokens", True),
        ("access-tokens", True),
        ("x-total-tokens", False),
        ("x-tokens-used", False),
        ("content-type", False),
        ("x-goog-api-key", True),
        ("ocp-apim-subscription-key", True),
        ("x-amz-security-token", True),
        ("x-jwt-assertion", True),
        ("x-hub-signature-256", True),
        ("x-auth", True),
        ("authentication", True),
        ("idempotency-key", False),
        ("session-id", False),
        ("x-request-id", False),
        ("x-stainless-lang", False),
        ("author", False),
        ("anthropic-beta", False),
    ],
)
def test_headers_are_judged_by_name(name: str, secret: bool) -> None:
    assert is_secret_header(name) is secret
    assert redact_headers([(name, "value")]) == [(name, MASK if secret else "value")]


def test_nothing_is_learned_from_a_header() -> None:
    """A client could have any text masked otherwise, on its own permission card, too."""
    redact_headers([("x-token", "&&./scripts/deploy-to-production"), ("authorization", "Bearer what.the.client.sent")])
    text = "npm run build &&./scripts/deploy-to-production, what.the.client.sent"
    assert redact_text(text) == text


def test_a_credential_of_our_own_is_masked_without_a_shape() -> None:
    learn_secret("local/0123456789+key", "short")
    assert redact_text("Incorrect API key: local/0123456789+key.") == f"Incorrect API key: {MASK}."
    assert redact_text("GET /x?y=local%2F0123456789%2Bkey") == f"GET /x?y={MASK}"
    assert redact_text("a short text, long enough") == "a short text, long enough"


def test_the_credentials_of_an_account_are_own_ones() -> None:
    Credential("api_key", "local-0123456789-key", refresh="quite.plain.token.1")
    Credential("api_key", "x")
    assert redact_text("key: local-0123456789-key, quite.plain.token.1") == f"key: {MASK}, {MASK}"
    assert redact_text("a text with an x in it") == "a text with an x in it"


def test_own_credentials_are_forgotten_only_for_newer_ones() -> None:
    learn_secret(*(f"opaque-credential-{number:03}" for number in range(200)))
    learn_secret("opaque-credential-199")
    assert redact_text("opaque-credential-199 opaque-credential-150") == f"{MASK} {MASK}"
    assert "opaque-credential-001" in redact_text("opaque-credential-001")


def test_a_secret_in_an_innocent_header_is_masked_too() -> None:
    assert redact_headers([("x-note", f"uses {SECRETS[0]}")]) == [("x-note", f"uses {MASK}")]


@given(st.binary(max_size=300))
def test_masking_twice_changes_nothing_more(data: bytes) -> None:
    once = redact_bytes(data)
    assert redact_bytes(once) == once
