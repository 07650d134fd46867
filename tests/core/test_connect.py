"""The tools' files with us in them, and without: nothing of theirs is lost."""

from __future__ import annotations

import json
import tomllib

import pytest

from ccproxy_tui.core.connect import TARGETS, CantConnect, Target

URL = "http://127.0.0.1:8000"
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
    text = CLAUDE.add(json.dumps(own), URL, False)
    made = json.loads(text)
    assert made["env"] == {"MINE": "1", "ANTHROPIC_BASE_URL": f"{URL}/api"}
    first, ours = made["hooks"]["PermissionRequest"]
    assert first == own["hooks"]["PermissionRequest"][0]  # type: ignore[index]
    assert ours["hooks"] == [{"type": "http", "url": f"{URL}/hooks/claude-code", "timeout": 600}]
    assert CLAUDE.add(text, URL, False) == text, "twice is once"
    assert json.loads(CLAUDE.remove(text, URL) or "") == own
    secured = json.loads(CLAUDE.add("", URL, True))["hooks"]["PermissionRequest"][0]["hooks"][0]
    assert secured["headers"] == {"Authorization": "Bearer $CCPROXY_TOKEN"}, "the token itself is in no file"


def test_codex_keeps_its_comments() -> None:
    own = '# mine\nmodel = "gpt-5.4"  # best\n\n[model_providers.other]\nname = "other"\n'
    text = CODEX.add(own, URL, False)
    made = tomllib.loads(text)
    assert (made["model_provider"], made["model_providers"]["ccproxy"]["base_url"]) == ("ccproxy", f"{URL}/codex")
    assert "# mine" in text
    assert "# best" in text
    assert tomllib.loads(CODEX.add(text, URL, False)) == made
    assert tomllib.loads(CODEX.remove(text, URL) or "") == tomllib.loads(own)
    assert tomllib.loads(CODEX.remove(CODEX.add("", URL, True), URL) or "") == {}
    hooks = json.loads(CODEX_HOOKS.add("", URL, False))
    assert hooks["hooks"]["PermissionRequest"][0]["hooks"][0]["command"] == "ccproxy-tui hook codex"
    assert json.loads(CODEX_HOOKS.remove(json.dumps(hooks), URL) or "") == {}


def test_opencode_keeps_its_other_options() -> None:
    own = {"provider": {"anthropic": {"options": {"timeout": 5}}}, "theme": "x"}
    text = OPENCODE.add(json.dumps(own), URL, False)
    made = json.loads(text)
    assert made["provider"]["anthropic"]["options"] == {"timeout": 5, "baseURL": f"{URL}/api/v1", "apiKey": "any-word"}
    assert json.loads(OPENCODE.remove(text, URL) or "") == own


def test_opencode_s_plugin_is_a_file_of_ours() -> None:
    text = OPENCODE_PLUGIN.add("", URL, True)
    assert f"{URL}/hooks/opencode" in text
    assert OPENCODE_PLUGIN.add(text, "http://127.0.0.1:9", False).count("127.0.0.1:9") == 1
    assert OPENCODE_PLUGIN.remove(text, URL) is None
    with pytest.raises(CantConnect):
        OPENCODE_PLUGIN.add("export const Mine = 1", URL, False)
    assert OPENCODE_PLUGIN.remove("export const Mine = 1", URL) == "export const Mine = 1"


@pytest.mark.parametrize("target", [CLAUDE, CODEX, CODEX_HOOKS, OPENCODE])
@pytest.mark.parametrize("text", ["{", "[]", "= 5", '{"hooks": 5, "env": [], "provider": 1}', "\x00"])
def test_what_is_not_the_tools_is_left_alone(target: Target, text: str) -> None:
    with pytest.raises(CantConnect):
        target.add(text, URL, False)
