"""Settings that stand out, and the defaults that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.probes.settings import probe_settings
from ccproxy_tui.core.settings import load


def probe(**environ: str) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in probe_settings(load(environ={"HOME": "/nowhere", **environ}))]


def test_the_defaults_are_in_order() -> None:
    assert probe() == [("ok", "No setting widens the defaults.")]


@pytest.mark.parametrize(
    ("name", "value", "level", "words"),
    [
        ("PROVIDERS__CLAUDE_API__BASE_URL", "http://far.example", "open", "without TLS to far.example"),
        ("PROVIDERS__CLAUDE_API__BASE_URL", "https://far.example", "note", "not the vendor's address: far.example"),
        ("PROVIDERS__CLAUDE_API__BASE_URL", "http://127.0.0.1:9", "note", "127.0.0.1:9"),
        ("PROVIDERS__CODEX__OAUTH__TOKEN_URL", "http://far.example/token", "open", "without TLS"),
        ("HTTP__SSL_VERIFY", "false", "open", "http.ssl_verify is off"),
        ("HTTP__PROXY", "http://me:secret@proxy.example:3128", "note", "the proxy proxy.example:3128"),
        ("CORS__ORIGIN_REGEX", ".*", "open", "Any web page"),
        ("CORS__ORIGINS", "https://page.example", "note", "https://page.example"),
        ("SECURITY__AUTH_TOKEN", "short", "open", "short enough to be guessed"),
        ("SECURITY__ALLOWED_HOSTS", "box", "note", "'box'"),
        ("CLAUDE__CODE_OPTIONS__PERMISSION_MODE", "bypassPermissions", "open", "every tool without asking"),
        ("CLAUDE__CODE_OPTIONS__ALLOWED_TOOLS", "Bash,Edit", "note", "Bash, Edit"),
        ("CLAUDE__REQUEST_CWD", "true", "note", "choose the folder"),
        ("PROVIDERS__CODEX__EXTRA_PATHS", "GET conversations", "note", "GET conversations"),
        ("PERMISSIONS__DECIDERS", "any", "open", "agents included"),
        ("PERMISSIONS__RULES", '[{"rule": "Edit"}]', "note", "The rule Edit allows every use"),
    ],
)
def test_what_widens_a_default_is_named(name: str, value: str, level: str, words: str) -> None:
    [(found, text)] = probe(**{name: value})
    assert (found, words in text) == (level, True), text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("url", "level"), [("http://far.example/v1", "open"), ("https://far.example/v1", "ok"), ("http://[::1]/v1", "ok")]
)
def test_a_key_without_tls_is_open(url: str, level: str) -> None:
    server: dict[str, Any] = {"base_url": url, "api_key": "k"}
    [(found, _)] = probe(PROVIDERS__COMPATIBLE=json.dumps({"mine": server}))
    assert found == level


def test_what_a_project_file_sets_is_named(tmp_path: Path) -> None:
    """Ignored without trust, and named once it counts."""
    (tmp_path / ".ccproxy.toml").write_text('[providers.codex]\nbase_url = "https://far.example"\n')
    environ = {"HOME": "/nowhere"}
    [ignored] = probe_settings(load(environ=environ, cwd=tmp_path))
    assert (ignored.level, "providers.codex.base_url" in ignored.text) == ("ok", True)
    trusted = probe_settings(load(environ={**environ, "CCPROXY_TRUST_FOLDER": "1"}, cwd=tmp_path))
    assert [one.level for one in trusted] == ["note", "note"]
    assert "comes from a project file that you trusted" in trusted[0].text
