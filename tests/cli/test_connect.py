"""What `connect` says of the token that clients must send."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ccproxy_tui.cli import cli


@pytest.mark.parametrize(("tool", "variable"), [("claude-code", "ANTHROPIC_AUTH_TOKEN"), ("codex", "CCPROXY_TOKEN")])
def test_the_variable_is_the_one_that_the_tool_reads(
    clean_environment: None, monkeypatch: pytest.MonkeyPatch, tool: str, variable: str
) -> None:
    monkeypatch.setenv("SECURITY__AUTH_TOKEN", "hush-hush")
    monkeypatch.setenv("SERVER__PORT", "8123")
    for _ in range(2):  # also where nothing is left to change
        done = CliRunner().invoke(cli, ["connect", tool])
        assert done.exit_code == 0
        assert f"as the variable {variable}." in done.output
        assert "hush" not in done.output
    assert "Nothing to change." in done.output


def test_a_new_token_is_printed_for_every_line_that_names_one(clean_environment: None) -> None:
    done = CliRunner().invoke(cli, ["generate-token"])
    lines = dict(
        line.removeprefix("export ").split()[0].split("=", 1) for line in done.output.splitlines() if "=" in line
    )
    assert lines["CCPROXY_TOKEN"] == lines["SECURITY__AUTH_TOKEN"] == lines["ANTHROPIC_AUTH_TOKEN"]
