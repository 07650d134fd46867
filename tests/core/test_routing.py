"""What a path asks for."""

from __future__ import annotations

import pytest

from ccproxy_tui.core.routing import guess_dialect, parse_path

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
