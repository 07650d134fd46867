"""What a card shows of a file that a tool wants to change, as the file lies on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ccproxy_tui.core.permissions.preview import preview_of


def test_a_change_is_shown_against_the_file_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    edit = {"file_path": "a.py", "old_string": "two", "new_string": "three"}
    assert preview_of("Edit", edit, str(tmp_path)) == ["@@ -1,2 +1,2 @@", " one", "-two", "+three"]
    write = {"file_path": str(tmp_path / "a.py"), "content": "one\ntwo\n"}
    assert preview_of("Write", write, "") == ["overwrites the file with what it holds already"]
    missing = {"file_path": "a.py", "edits": [{"old_string": "four", "new_string": "x"}]}
    assert preview_of("MultiEdit", missing, str(tmp_path)) == ["the old text of 1 edit is not in the file"]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pipe would wait for ever, and a device would never end."""
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    shown = preview_of("Write", {"file_path": str(path), "content": "x"}, "")
    assert shown == ["the file can't be read: it is no plain file", "+x"]
