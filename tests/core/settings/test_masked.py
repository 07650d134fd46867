"""No surface of the settings shows what a secret-like place holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from ccproxy_tui.core.settings import Settings, entries, leaves, show
from ccproxy_tui.core.settings.masked import masked_value, secrets_of

CANARY = "Canary/0123456789+abcdef"
NAMES = [
    "api_key",
    "apiKey",
    "PASSWORD",
    "db_password",
    "token",
    "GITHUB_TOKEN",
    "client_secret",
    "Authorization",
    "cookie",
]
PLAIN = ["command", "args", "name", "x", "type"]

CASES: list[tuple[str, Any]] = [
    ("http.proxy", f"http://user:{CANARY.replace('/', '%2F')}@proxy.example:3128"),
    ("claude.code_options.env", {"HARMLESS": CANARY, "DATABASE_URL": f"x{CANARY}"}),
    ("claude.code_options.mcp_servers", {"a": {"type": "http", "headers": {"X-Any": CANARY}}}),
    ("claude.code_options.mcp_servers", {"a": {"command": "x", "env": {"Y": CANARY}}}),
    ("claude.code_options.mcp_servers", {"a": {"command": "x", "args": ["--api-key", CANARY, "-v"]}}),
    ("claude.code_options.mcp_servers", {"a": {"command": "x", "args": [f"--token={CANARY}"]}}),
    ("claude.code_options.mcp_servers", {"a": {"command": "x", "args": ["--header", f"X-Any: {CANARY}"]}}),
    ("claude.code_options.mcp_servers", {"a": {"command": "x", "args": [f"-p{CANARY}", f"-ume:{CANARY}"]}}),
    ("claude.code_options.mcp_servers", {"a": {"command": "x", "args": [f"-HX-Any: {CANARY}", f"-eX={CANARY}"]}}),
    ("claude.code_options.mcp_servers", {"a": {"url": f"https://mcp.example/x?api_key={CANARY}"}}),
    ("claude.code_options.mcp_servers", {"a": {"oauth": {"client_secret": CANARY}}}),
    ("providers.claude_api.base_url", f"https://me:{CANARY.replace('/', '%2F')}@gate.example/v1"),
    ("providers.claude_api.api_key", CANARY),
    ("security.auth_token", CANARY),
    ("providers.compatible", {"a": {"base_url": "https://Canary012345@gate.example", "api_key": CANARY}}),
    ("claude.code_options.append_system_prompt", f"use Bearer {CANARY}"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_setting_hides_its_secret(key: str, value: Any) -> None:
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    shown = entries(Settings.model_validate(tree), {})
    texts = [entry.value for entry in shown] + [entry.default for entry in shown]
    assert not [text for text in texts if "anary" in text]
    assert next(entry for entry in shown if entry.key == key).value


def test_what_is_no_secret_is_shown() -> None:
    value = {
        "a": {
            "command": "npx",
            "args": ["-y", "@vendor/server", "--port", "80", "-p80:80", "-print"],
            "url": "https://h.example/x?v=1",
        }
    }
    args = "[-y, @vendor/server, --port, 80, -p80:80, -print]"
    assert show(value) == f"a={{command=npx, args={args}, url=https://h.example/x?v=1}}"
    assert show([{"match": "a", "to": ["b", "c"]}, {"match": "d"}]) == "{match=a, to=[b, c]}, {match=d}"
    for entry in entries(Settings(), {}):
        assert "***" not in entry.value, entry.key


VARIABLES = st.dictionaries(st.text("abcXYZ_", min_size=1), st.just(CANARY), max_size=3)
TABLE = st.sampled_from([*PLAIN, "env", "headers"])
LEAVES = st.recursive(
    st.fixed_dictionaries({}, optional={name: st.just(CANARY) for name in NAMES}),
    lambda inner: (
        st.dictionaries(TABLE, inner | st.lists(inner, max_size=2), max_size=3)
        | st.fixed_dictionaries({"env": VARIABLES})
    ),
    max_leaves=8,
)


@given(LEAVES)
def test_no_leaf_of_any_tree_with_a_secret_name_is_shown(tree: Any) -> None:
    assert CANARY not in show(tree)
    assert CANARY not in json.dumps(masked_value(tree))


def test_every_secret_field_of_the_models_is_masked_and_known() -> None:
    for path, info in leaves(Settings):
        if "SecretStr" in str(info.annotation):
            tree: Any = CANARY
            for part in reversed(path):
                tree = {part: tree}
            settings = Settings.model_validate(tree)
            assert CANARY in list(secrets_of(settings))
            assert not [entry for entry in entries(settings, {}) if CANARY in entry.value]


def test_secrets_in_tables_and_addresses_are_known() -> None:
    class Some(BaseModel):
        proxy: str = f"http://user:{CANARY}1@h.example"
        env: dict[str, str] = {"GITHUB_TOKEN": f"{CANARY}2", "HOME": "/home/me"}
        headers: dict[str, str] = {"Authorization": f"Bearer {CANARY}3"}
        key: SecretStr = SecretStr(f"{CANARY}4")

    assert [one[-1] for one in secrets_of(Some())] == ["1", "2", "3", "4"]
