"""The lines that point a tool here: each has the token that the proxy wants, from where it lies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ccproxy_tui.core.control.frames import Status
from ccproxy_tui.screens.welcome import tool_lines


def lines_of(status: Status) -> str:
    return "\n".join(line for _, lines in tool_lines(status) for line in lines)


def test_without_a_token_any_word_does() -> None:
    assert "CCPROXY_TOKEN" not in lines_of(Status())


@pytest.mark.parametrize("prefix", ["api", "demo"])
def test_no_line_is_cut_at_80_columns_and_a_shell_joins_those_of_codex(prefix: str) -> None:
    status = Status(host="127.0.0.1", port=65535, auth_required=True)
    blocks = dict(tool_lines(status, prefix))
    assert max(len(line) for tool, lines in blocks.items() if tool != "curl" for line in lines) <= 74
    script = "codex() { printf '%s\\n' \"$@\"; }\n" + "\n".join(blocks["Codex"])
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("-c\n")[1:]
    values = dict(line.strip().split("=", 1) for line in told)
    folder = "codex" if prefix == "api" else prefix
    assert values["model_providers.here.base_url"] == f"http://127.0.0.1:65535/{folder}"
    assert values["model_providers.here.env_key"] == "CCPROXY_TOKEN"


@pytest.mark.parametrize("token_file", ["", "/state/client-token"])
def test_every_tool_sends_the_token(token_file: str) -> None:
    for tool, lines in tool_lines(Status(auth_required=True, token_file=token_file)):
        assert "CCPROXY_TOKEN" in "\n".join(lines), tool


def test_the_token_of_the_install_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "it's a folder" / "client-token"
    file.parent.mkdir()
    file.write_text("the-token")
    first = tool_lines(Status(auth_required=True, token_file=str(file)))[0][1][0]
    shown = subprocess.run(["sh", "-c", f"{first}; echo $CCPROXY_TOKEN"], capture_output=True, text=True, check=True)
    assert shown.stdout == "the-token\n"
