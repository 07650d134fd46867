"""Requests as an agent is asked them, and options that a request may narrow."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.formats.misfit import Misfit
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.settings.agents import Claude
from ccproxy_tui.core.text.redact import learn_secret
from ccproxy_tui.providers.claude_sdk.ask import Ask, Said, read_ask, since_last_answer
from ccproxy_tui.providers.claude_sdk.cli import agent_environ
from ccproxy_tui.providers.claude_sdk.options import Options, arguments, files, least_thinking, narrowed, options_of
from ccproxy_tui.providers.claude_sdk.quota import headers_of


def read(**body: Any) -> Ask:
    return read_ask(json.dumps(body).encode(), Report())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def test_the_last_turn_is_the_question_and_the_rest_was_said_before() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    ask = read(
        system=[{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
        messages=[
            user("a"),
            answer("b"),
            {"role": "system", "content": "rule"},
            user([image, {"type": "text", "text": "c"}]),
        ],
        thinking={"type": "enabled", "budget_tokens": 2048},
        output_config={"effort": "high"},
    )
    assert ask.question == [image, {"type": "text", "text": "c"}]
    assert ask.history == [
        Said("user", "a"),
        Said("assistant", "b"),
        Said("user", "<system-reminder>\nrule\n</system-reminder>"),
    ]
    assert (ask.system, ask.thinking, ask.effort) == ("One.\n\nTwo.", 2048, "high")
    assert since_last_answer(ask) == [ask.history[2]]


def test_what_an_agent_decides_itself_is_told() -> None:
    report = Report()
    body = {"messages": [user("a")], "tools": [{"name": "x"}], "temperature": 0, "stop_sequences": [], "top_k": None}
    read_ask(json.dumps(body).encode(), report)
    assert [note.field for note in report] == ["temperature", "tools"]


FIELDS = st.sampled_from(["messages", "role", "content", "system", "thinking", "type"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused(raw: bytes) -> None:
    try:
        ask = read_ask(raw, Report())
    except Misfit:
        return
    assert ask.question


OPTIONS = Options(
    "/repo", permission_mode="acceptEdits", allowed_tools=("Read", "Bash"), disallowed_tools=("WebFetch",), max_turns=5
)


@pytest.mark.parametrize(
    ("wishes", "changed"),
    [
        ({}, {}),
        ({"cwd": "src/a"}, {"cwd": "/repo/src/a"}),
        ({"cwd": "/repo/x"}, {"cwd": "/repo/x"}),
        ({"permission_mode": "plan"}, {"permission_mode": "plan"}),
        ({"allowed_tools": ["Read"]}, {"allowed_tools": ("Read",)}),
        ({"allowed_tools": ""}, {"allowed_tools": ()}),
        ({"disallowed_tools": "Edit, Write"}, {"disallowed_tools": ("WebFetch", "Edit", "Write")}),
        ({"max_turns": "3"}, {"max_turns": 3}),
        ({"max_thinking_tokens": 1000}, {"thinking": 1000}),
        ({"append_system_prompt": "Be brief."}, {"system": "Be brief."}),
    ],
)
def test_a_request_narrows(wishes: dict[str, Any], changed: dict[str, Any]) -> None:
    made = narrowed(OPTIONS, wishes, any_folder=True)
    assert {name: getattr(made, name) for name in changed} == changed
    assert sum(getattr(made, name) != getattr(OPTIONS, name) for name in Options.__slots__) == len(changed)


@pytest.mark.parametrize(
    "wishes",
    [
        {"cwd": "/etc"},
        {"cwd": "/repository"},
        {"cwd": "a/../../b"},
        {"cwd": 5},
        {"permission_mode": "bypassPermissions"},
        {"permission_mode": "all"},
        {"allowed_tools": ["Read", "Edit"]},
        {"allowed_tools": {"Read": 1}},
        {"disallowed_tools": [5]},
        {"max_turns": 6},
        {"max_turns": 0},
        {"max_turns": -1},
        {"max_thinking_tokens": True},
    ],
)
def test_a_request_never_widens(wishes: dict[str, Any]) -> None:
    with pytest.raises(Misfit):
        narrowed(OPTIONS, wishes, any_folder=True)


@pytest.mark.parametrize(
    ("limit", "wanted", "got"),
    [
        ("", "", ""),
        ("", 5000, 5000),
        ("", "adaptive", "adaptive"),
        (2000, "", 2000),
        (2000, 1000, 1000),
        (2000, 5000, 2000),
        (2000, "adaptive", 2000),
        (2000, "disabled", "disabled"),
    ],
)
def test_a_budget_of_the_settings_is_the_most(limit: int | str, wanted: int | str, got: int | str) -> None:
    assert least_thinking(limit, wanted) == got


def test_no_value_is_taken_for_a_flag() -> None:
    options = Options("/repo", model="--dangerously-skip-permissions", system="--x", allowed_tools=("-a",))
    made = arguments(options, Path("/run/agent-1"))
    assert files(options) == {"system-prompt.txt": "--x"}
    flags = [word for word in made if word.startswith("--") and "=" not in word]
    assert set(flags) == {
        *("--output-format", "--input-format", "--verbose", "--include-partial-messages"),
    }


def test_the_settings_own_options() -> None:
    given_ = {
        "permission_prompt_tool_name": "mcp__ccproxy__check_permission",
        "mcp_servers": {"mine": {"command": "x"}},
    }
    made = options_of(Claude.model_validate({"code_options": given_}), Path("/here"), "http://127.0.0.1:8123")
    servers = json.loads(made.mcp_servers)["mcpServers"]
    assert servers["ccproxy"] == {"type": "http", "url": "http://127.0.0.1:8123/mcp"}, "where the proxy really is"
    assert "mine" in servers
    assert (made.cwd, made.permission_tool) == ("/here", given_["permission_prompt_tool_name"])
    assert options_of(Claude(), Path("/here"), "").permission_tool == "stdio"
    assert options_of(Claude(builtin_permissions=False), Path("/here"), "").permission_tool == ""


SPELLINGS = st.sampled_from(
    [
        "SECURITY__AUTH_TOKEN",
        "PROVIDERS__CLAUDE_API__API_KEY",
        "PROVIDERS__COMPATIBLE__X__API_KEY",
        "SERVER__PORT",
        "PLUGINS__CLAUDE_API__API_KEY",
        "CODEX__OAUTH__CLIENT_SECRET",
        "CCPROXY_TOKEN",
        "CCPROXY_CONFIG_OVERRIDES",
        "CONFIG_FILE",
        "OPENAI_API_KEY",
        "GITHUB_TOKEN",
        "GEMINI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "NPM_AUTH",
        "PGPASSWORD",
        "DB_PASSWORD",
        "MY_SECRET",
    ]
)


@given(SPELLINGS, st.randoms(use_true_random=False))
def test_an_agent_gets_no_key_in_any_spelling(name: str, random: Random) -> None:
    spelled = "".join(random.choice((char.lower(), char.upper())) for char in name)
    made = agent_environ({spelled: "canary-0123456789", "MONKEY": "banana"}, {}, "http://127.0.0.1:8000")
    assert "canary-0123456789" not in made.values()
    assert made["MONKEY"] == "banana"


def test_an_agent_gets_no_value_of_ours_under_another_name() -> None:
    learn_secret("configured-key-of-a-server")
    environ = {"THING": "configured-key-of-a-server", "HEADER": "Bearer configured-key-of-a-server", "PATH": "/bin"}
    assert set(agent_environ(environ, {}, "http://h")) & set(environ) == {"PATH"}


def test_an_agent_keeps_what_it_needs_and_what_the_settings_name() -> None:
    needed = {
        "ANTHROPIC_API_KEY": "a",
        "CLAUDE_CODE_OAUTH_TOKEN": "b",
        "SSH_AUTH_SOCK": "/run/x",
        "HTTPS_PROXY": "http://u:p@h:1",
        "MAX_THINKING_TOKENS": "5",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "7",
        "GITHUB_TOKEN": "kept",
    }
    assert set(needed) <= set(agent_environ({**needed, "OTHER_TOKEN": "x"}, {}, "http://h", ["GITHUB_TOKEN"]))
    cloud = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y"}
    assert set(cloud) <= set(agent_environ(cloud, {}, "http://h"))


def test_an_agent_gets_no_secret_of_ours_and_no_way_back_to_itself() -> None:
    url = "http://127.0.0.1:8000"
    environ = {"SECURITY__AUTH_TOKEN": "x", "CCPROXY_TOKEN": "y", "PATH": "/bin", "CLAUDECODE": "1"}
    made = agent_environ({**environ, "ANTHROPIC_BASE_URL": f"{url}/sdk"}, {"MINE": "1"}, url)
    assert made["PATH"] == "/bin"
    assert made["MINE"] == "1"
    assert agent_environ({"MY__OWN": "1"}, {}, url)["MY__OWN"] == "1"
    assert not {"SECURITY__AUTH_TOKEN", "CCPROXY_TOKEN", "CLAUDECODE", "ANTHROPIC_BASE_URL"} & set(made)
    assert agent_environ({"ANTHROPIC_BASE_URL": f"{url}/api"}, {}, url)["ANTHROPIC_BASE_URL"] == f"{url}/api"


def test_a_quota_event_is_told_as_headers() -> None:
    info = {
        "status": "allowed",
        "overageStatus": "rejected",
        "unifiedWindows": {"five_hour": {"utilization": 0.42, "resetsAt": 1790000000}, "x": 5},
    }
    assert headers_of({"rate_limit_info": info}) == [
        ("anthropic-ratelimit-unified-5h-utilization", "0.42"),
        ("anthropic-ratelimit-unified-5h-reset", "1790000000"),
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
    ]
    assert headers_of({"rate_limit_info": [1]}) == []
    assert headers_of({}) == []
