"""What a path asks for."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.errors import InvalidRequest
from ccproxy_tui.core.routing import allows, check_pattern, guess_dialect, parse_path, read_path

PREFIXES = {
    "/api": "claude_api",
    "/claude": "claude_api",
    "/claude/sdk": "claude_sdk",
    "/sdk": "claude_sdk",
    "/codex": "codex",
    "": "any",
}


@pytest.mark.parametrize(
    ("path", "provider", "operation", "rest", "session"),
    [
        ("/api/v1/messages", "claude_api", "messages", "v1/messages", ""),
        ("/api/messages", "claude_api", "messages", "messages", ""),
        ("/claude/v1/messages/count_tokens", "claude_api", "count_tokens", "v1/messages/count_tokens", ""),
        ("/claude/sdk/v1/messages", "claude_sdk", "messages", "v1/messages", ""),
        ("/claude/sdk/s1/v1/messages", "claude_sdk", "messages", "v1/messages", "s1"),
        ("/sdk/s1/v1/chat/completions", "claude_sdk", "chat", "v1/chat/completions", "s1"),
        ("/codex/responses", "codex", "responses", "responses", ""),
        ("/codex/s1/responses", "codex", "responses", "responses", "s1"),
        ("/codex/v1/responses/compact", "codex", "compact", "v1/responses/compact", ""),
        ("/codex/v1/chat/completions", "codex", "chat", "v1/chat/completions", ""),
        ("/api/v1/models", "claude_api", "models", "v1/models", ""),
        ("/api/v1/models/a/b", "claude_api", "model", "v1/models/a/b", ""),
        ("/api/v1/messages/batches", "claude_api", "other", "v1/messages/batches", ""),
        ("/api/v1/files/x", "claude_api", "other", "v1/files/x", ""),
        ("/v1/messages", "any", "messages", "v1/messages", ""),
        ("/responses", "any", "responses", "responses", ""),
        ("/api", "claude_api", "base", "", ""),
        ("/api/v1/", "claude_api", "base", "v1", ""),
        ("//api//v1//messages", "claude_api", "messages", "v1/messages", ""),
    ],
)
def test_a_path_is_understood(path: str, provider: str, operation: str, rest: str, session: str) -> None:
    target = parse_path(path, PREFIXES)
    assert target is not None
    assert (target.provider, target.operation, target.rest, target.session) == (provider, operation, rest, session)


def test_a_models_path_names_its_model() -> None:
    target = parse_path("/codex/models/openai/gpt-5", PREFIXES)
    assert target is not None
    assert target.model == "openai/gpt-5"


@pytest.mark.parametrize("path", ["/", "", "/health", "/control/status", "/v2/messages", "/apix/v1/messages"])
def test_paths_that_are_not_ours_are_left_to_others(path: str) -> None:
    assert parse_path(path, PREFIXES) is None


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/x/messages", set(), "anthropic_messages"),
        ("/x", {"anthropic-version"}, "anthropic_messages"),
        ("/x/responses", set(), "openai_responses"),
        ("/x", set(), "openai_chat"),
    ],
)
def test_an_error_on_an_unknown_path_takes_the_likely_dialect(path: str, headers: set[str], dialect: str) -> None:
    assert guess_dialect(path, frozenset(headers)) == dialect


SAFE = st.text("abcXYZ019-_.~!$&'()*+,=:@[]", min_size=1, max_size=8).filter(lambda part: part.strip("."))
BAD = st.sampled_from(
    ["..", ".", "%2e%2e", ".%2E", "..;a", "%252e.", "%2f..", "..%5c", "\\..", "%00", "%0a", "%C0%AE", "%"]
)


@given(st.lists(SAFE, min_size=1, max_size=4))
def test_a_plain_path_is_kept_as_it_is(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert read_path(path.encode()) == path


@given(st.lists(SAFE, max_size=3), BAD, st.lists(SAFE, max_size=3))
def test_a_path_that_a_server_could_read_as_another_one_is_refused(
    before: list[str], bad: str, after: list[str]
) -> None:
    with pytest.raises(InvalidRequest):
        read_path(("/" + "/".join([*before, bad, *after])).encode())


@given(st.binary(max_size=40), st.sampled_from([b"/api/", b"/codex/", b"/api/v1/files/", b"/codex/models/", b"/", b""]))
def test_no_bytes_lead_out_of_the_prefix(tail: bytes, start: bytes) -> None:
    """What is let through stays below any base URL, however often a server decodes it."""
    try:
        target = parse_path(read_path(start + tail), PREFIXES)
    except InvalidRequest:
        return
    if target is None:
        return
    url = f"/base/{target.rest}"
    for _ in range(4):
        url = unquote(url, errors="surrogateescape").replace("\\", "/")
        assert posixpath.normpath(url).startswith("/base")
        assert url.isprintable()


@pytest.mark.parametrize(
    ("pattern", "method", "path", "covered"),
    [
        ("GET files/*", "GET", "v1/files/f_1", True),
        ("GET files/*", "HEAD", "files/f_1", True),
        ("GET files/*", "DELETE", "files/f_1", False),
        ("GET files/*", "GET", "files/f_1/content", False),
        ("GET files/*", "GET", "files/", False),
        ("GET v1/models/**", "GET", "models/a/b", True),
        ("GET models/**", "GET", "models", False),
        ("GET a.b", "GET", "axb", False),
    ],
)
def test_a_pattern_covers(pattern: str, method: str, path: str, covered: bool) -> None:
    assert allows([pattern], method, path) is covered


def test_a_pattern_of_the_settings_is_checked() -> None:
    assert check_pattern(" get /v1/skills/** ") == "GET v1/skills/**"
    for wrong in ("", "GET", "v1/skills", "GET ../x", "GET a/./b", "GET a?b", "GET a//b", "GET a*", "GET ***"):
        with pytest.raises(ValueError, match="is not a method and a path"):
            check_pattern(wrong)
