"""What `trust` says of the proxy that runs already."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ccproxy_tui.cli import cli


@pytest.fixture
def folder(clean_environment: None, tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".ccproxy.toml").write_text('[http]\nproxy = "http://127.0.0.1:9"\n')
    return project


def test_both_ways_a_running_proxy_needs_a_new_start(folder: Path) -> None:
    trusted = CliRunner().invoke(cli, ["trust", str(folder), "--yes"])
    assert (trusted.exit_code, "when you restart it" in trusted.output) == (0, True)
    revoked = CliRunner().invoke(cli, ["trust", str(folder), "--revoke"])
    assert (revoked.exit_code, "keeps their settings until you restart it" in revoked.output) == (0, True)
    again = CliRunner().invoke(cli, ["trust", str(folder), "--revoke"])
    assert (again.exit_code, "started again" in again.output) == (1, False)
