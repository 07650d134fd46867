"""Files that others can read or change."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ccproxy_tui.core.probes.files import probe_files
from ccproxy_tui.core.probes.tools import probe_hooks
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import write_claude_login

HOOK = {"type": "command", "command": "/usr/bin/ccproxy-tui hook claude-code"}
HTTP_HOOK = {"type": "http", "url": "http://127.0.0.1:8000/hooks/claude-code"}


@pytest.fixture
def open_home() -> Path:
    """A home that everyone may enter, as most are."""
    for folder in (Path.home(), *Path.home().parents):
        if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o011 == 0:
            folder.chmod(0o711)
    return Path.home()


def probe(*credentials: Path) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in probe_files(Paths.of_user(), credentials)]


def test_a_credential_file_that_others_can_read_is_open(open_home: Path) -> None:
    path = write_claude_login()
    path.chmod(0o600)
    assert probe(path)[0][0] == "ok"
    path.chmod(0o644)
    assert probe(path) == [("open", f"Other users can read {path}.")]
    path.chmod(0o602)
    assert probe(path) == [("open", f"Other users can change {path}.")]
    path.parent.chmod(0o700)
    path.chmod(0o644)
    assert probe(path)[0][0] == "ok", "its folder lets nobody else in"


def test_files_of_ours_count_too(open_home: Path) -> None:
    folder = Paths.of_user().config
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("")
    (folder / "config.toml").chmod(0o666)
    assert probe() == [("open", f"Other users can change {folder / 'config.toml'}.")]


@pytest.mark.parametrize(("hook", "levels"), [(HOOK, ["ok"]), (HTTP_HOOK, ["open"]), ({"type": "command"}, [])])
def test_a_hook_that_anything_on_the_port_can_answer_is_open(
    tmp_path: Path, hook: dict[str, str], levels: list[str]
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"hooks": {"PermissionRequest": [{"matcher": "*", "hooks": [hook]}]}}))
    assert [one.level for one in probe_hooks(path)] == levels


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"hooks": 1}', '{"hooks": {"x": 1}}', '{"hooks": {"x": [{"hooks": 2}]}}']
)
def test_settings_that_are_not_ours_to_judge(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    assert probe_hooks(path) == []
