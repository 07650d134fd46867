"""A link says where it leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.permissions.place_notes import place_notes
from ccproxy_tui.core.permissions.preview import look_at
from ccproxy_tui.core.permissions.request import PermissionRequest
from ccproxy_tui.core.permissions.risk import level_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "real" / "app"
    (folder / "src").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / ".bashrc").write_text("")
    (tmp_path / "victim" / "id_rsa").write_text("")
    (folder / "src" / "notes.md").symlink_to("../../../victim/.bashrc")
    (folder / "src" / "out").symlink_to("../../../victim")
    (folder / "src" / "inside.md").symlink_to("plain.md")
    (folder / "src" / "plain.md").write_text("")
    (folder / "src" / "hook").symlink_to("../.git/hooks/pre-commit")
    (tmp_path / "app").symlink_to("real/app")
    return tmp_path / "app"


@pytest.mark.parametrize(
    ("tool", "given", "starts"),
    [
        ("Write", {"file_path": "src/notes.md"}, "writes outside the project: src/notes.md is a link to "),
        ("Edit", {"file_path": "src/out/new"}, "writes outside the project: src/out/new is a link to "),
        ("mcp__fs__write", {"path": "src/notes.md"}, "writes outside the project: src/notes.md is a link to "),
        ("Bash", {"command": "echo x > src/notes.md"}, "writes outside the project: src/notes.md is a link to "),
        ("Bash", {"command": "cd src && tee notes.md"}, "writes outside the project: src/notes.md is a link to "),
        ("Write", {"file_path": "src/notes.md"}, "runs by itself later: "),
        ("Write", {"file_path": "src/hook"}, "runs by itself later: "),
        ("Write", {"file_path": "src/inside.md"}, "src/inside.md is a link to "),
        ("Read", {"file_path": "src/out/id_rsa"}, "touches a place where secrets lie: src/out/id_rsa is a link to "),
        ("Bash", {"command": "cat src/out/id_rsa"}, "touches a place where secrets lie: src/out/id_rsa is a link to "),
        ("Bash", {"command": "cat < src/out/x"}, "src/out/x is a link to "),
        (
            "Write",
            {"file_path": "a\0b"},
            "could not be resolved: a\0b (it is no path that a file can have)",
        ),
    ],
)
def test_a_link_says_where_it_leads(project: Path, tool: str, given: Any, starts: str) -> None:
    notes = place_notes(tool, given, str(project))
    assert any(note.startswith(starts) for note in notes), notes
    absolute = {name: f"{project}/{path}" for name, path in given.items() if name in ("file_path", "path")}
    if absolute and "\0" not in str(given):
        last = starts.rpartition("src/")[0]
        assert any(note.startswith(last) for note in place_notes(tool, absolute, str(project)))


def test_links_above_the_project_are_not_of_interest(project: Path) -> None:
    for path in ("src/plain.md", f"{project}/src/plain.md", f"{project}/new/x"):
        assert place_notes("Write", {"file_path": path}, str(project)) == []


def test_a_link_out_of_the_project_asks_twice(project: Path) -> None:
    asked = PermissionRequest("Write", {"file_path": "src/notes.md", "content": ""}, "rest", cwd=str(project))
    assert level_of(look_at(asked).notes) == "HIGH"
