"""The tools' files with us in them, and without: nothing of theirs is lost."""

from __future__ import annotations

import json
import shlex
import tomllib

import pytest

from ccproxy_tui.core.connect import TARGETS, CantConnect, Proxy, Target

URL = "http://127.0.0.1:8000"
PROXY = Proxy(URL, hook="'/opt/my tools/ccproxy-tui' hook", key_file="/home/me/key")
SECURED = Proxy(URL, token=True)
CLAUDE, CODEX, CODEX_HOOKS, OPENCODE, OPENCODE_PLUGIN = (target for targets in TARGETS.values() for target in targets)


def test_claude_keeps_its_own_hooks_and_variables() -> None:
    own = {
        "model": "opus",
        "env": {"MINE": "1"},
        "hooks": {
            "PermissionRequest": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "x"}]}],
            "Other": [],
        },
    }
    text = CLAUDE.add(json.dumps(own), PROXY)
    made = json.loads(text)
    assert made["env"] == {"MINE": "1", "ANTHROPIC_BASE_URL": f"{URL}/api"}
    first, ours = made["hooks"]["PermissionRequest"]
    assert first == own["hooks"]["PermissionRequest"][0]  # type: ignore[index]
    command = "'/opt/my tools/ccproxy-tui' hook claude-code"
    assert ours["hooks"] == [{"type": "command", "command": command, "timeout": 600}]
    after = made["hooks"]["PostToolUse"][0]["hooks"][0]
    assert (after["command"], after["async"]) == (command, True), "no tool waits for it"
    assert CLAUDE.add(text, PROXY) == text, "twice is once"
    assert json.loads(CLAUDE.remove(text, PROXY) or "") == own


def test_claude_s_hooks_of_earlier_versions_are_replaced_and_removed() -> None:
    old = {"type": "http", "url": "http://127.0.0.1:21830/hooks/claude-code", "timeout": 600}
    theirs = {"type": "command", "command": "notify-send ccproxy-tui"}
    own = {
        "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:21830/api"},
        "hooks": {
            "PermissionRequest": [{"matcher": "*", "hooks": [old]}],
            "Stop": [{"matcher": "*", "hooks": [theirs, old]}],
        },
    }
    made = json.loads(CLAUDE.add(json.dumps(own), PROXY))
    assert "/hooks/" not in json.dumps(made), "no hook of the port is left"
    assert [len(group["hooks"]) for group in made["hooks"]["Stop"]] == [1, 1]
    assert made["env"]["ANTHROPIC_BASE_URL"] == f"{URL}/api"
    both = CLAUDE.add(json.dumps(own), Proxy("http://127.0.0.1:9"))
    left = {"hooks": {"Stop": [{"matcher": "*", "hooks": [theirs]}]}}
    assert json.loads(CLAUDE.remove(both, PROXY) or "") == left, "on whatever port it was"
    assert json.loads(CLAUDE.remove(json.dumps(own), PROXY) or "") == left


def test_codex_keeps_its_comments() -> None:
    own = '# mine\nmodel = "gpt-5.4"  # best\n\n[model_providers.other]\nname = "other"\n'
    text = CODEX.add(own, PROXY)
    made = tomllib.loads(text)
    assert (made["model_provider"], made["model_providers"]["ccproxy"]["base_url"]) == ("ccproxy", f"{URL}/codex")
    assert "# mine" in text
    assert "# best" in text
    assert tomllib.loads(CODEX.add(text, PROXY)) == made
    assert tomllib.loads(CODEX.remove(text, PROXY) or "") == tomllib.loads(own)
    assert tomllib.loads(CODEX.remove(CODEX.add("", SECURED), PROXY) or "") == {}
    hooks = json.loads(CODEX_HOOKS.add("", PROXY))
    assert hooks["hooks"]["PermissionRequest"][0]["hooks"][0]["command"] == "'/opt/my tools/ccproxy-tui' hook codex"
    assert json.loads(CODEX_HOOKS.remove(json.dumps(hooks), PROXY) or "") == {}
    earlier = CODEX_HOOKS.add("", Proxy(URL))
    assert json.loads(CODEX_HOOKS.add(earlier, PROXY)) == hooks


def test_opencode_keeps_its_other_options() -> None:
    own = {"provider": {"anthropic": {"options": {"timeout": 5}}}, "theme": "x"}
    text = OPENCODE.add(json.dumps(own), PROXY)
    made = json.loads(text)
    assert made["provider"]["anthropic"]["options"] == {"timeout": 5, "baseURL": f"{URL}/api/v1", "apiKey": "any-word"}
    assert json.loads(OPENCODE.remove(text, Proxy("http://127.0.0.1:9")) or "") == own


def test_opencode_s_plugin_is_a_file_of_ours() -> None:
    text = OPENCODE_PLUGIN.add("", PROXY)
    assert (f'"{URL}"' in text, '"/home/me/key"' in text) == (True, True)
    assert OPENCODE_PLUGIN.add(text, Proxy("http://127.0.0.1:9")).count("127.0.0.1:9") == 1
    assert OPENCODE_PLUGIN.remove(text, PROXY) is None
    with pytest.raises(CantConnect):
        OPENCODE_PLUGIN.add("export const Mine = 1", PROXY)
    assert OPENCODE_PLUGIN.remove("export const Mine = 1", PROXY) == "export const Mine = 1"


@pytest.mark.parametrize("target", [CLAUDE, CODEX, CODEX_HOOKS, OPENCODE])
@pytest.mark.parametrize("text", ["{", "[]", "= 5", '{"hooks": 5, "env": [], "provider": 1}', "\x00"])
def test_what_is_not_the_tools_is_left_alone(target: Target, text: str) -> None:
    with pytest.raises(CantConnect):
        target.add(text, PROXY)


TOKEN_FILE = "/home/me/it's/ccproxy/client-token"
FILED = Proxy(URL, token_file=TOKEN_FILE)


def test_the_token_of_the_install_is_read_from_its_file_by_each_tool() -> None:
    claude = json.loads(CLAUDE.add("", FILED))
    assert shlex.split(claude["apiKeyHelper"]) == ["cat", TOKEN_FILE]
    codex = tomllib.loads(CODEX.add("", FILED))["model_providers"]["ccproxy"]
    assert (codex["auth"], "env_key" in codex) == ({"command": "cat", "args": [TOKEN_FILE]}, False)
    opencode = json.loads(OPENCODE.add("", FILED))["provider"]["openai"]["options"]
    assert opencode["apiKey"] == f"{{file:{TOKEN_FILE}}}"
    assert f"const tokenFile = {json.dumps(TOKEN_FILE)}" in OPENCODE_PLUGIN.add("", FILED)


def test_the_token_s_file_is_taken_out_and_another_helper_left_alone() -> None:
    assert json.loads(CLAUDE.remove(CLAUDE.add("{}", FILED), PROXY) or "") == {}
    assert CLAUDE.add(CLAUDE.add("{}", FILED), FILED) == CLAUDE.add("{}", FILED)
    own = json.dumps({"apiKeyHelper": "cat ~/my-key"})
    with pytest.raises(CantConnect, match="apiKeyHelper"):
        CLAUDE.add(own, FILED)
    assert json.loads(CLAUDE.remove(CLAUDE.add(own, PROXY), PROXY) or "") == json.loads(own)
