"""Patches of Codex: what a card shows of them, and which files they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.permissions.patch import changes_in, patch_of, read_patch
from ccproxy_tui.core.permissions.preview import preview_of
from ccproxy_tui.core.permissions.risk import written_paths

PATCH = """*** Begin Patch
*** Add File: new.py
+import os
+
*** Update File: src/a.py
*** Move to: src/b.py
@@ def f():
 x = 1
-y = 2
+y = 3

*** End of File
*** Delete File: old.py
*** End Patch"""


def test_each_file_has_its_changes() -> None:
    assert preview_of("apply_patch", {"command": PATCH}, "").lines == [
        *("add new.py", "+import os", "+"),
        *(
            "update src/a.py, and move it to src/b.py",
            "@@ def f():",
            " x = 1",
            "-y = 2",
            "+y = 3",
            " ",
            "*** End of File",
        ),
        "delete old.py",
    ]
    assert written_paths("apply_patch", {"command": PATCH}) == ["new.py", "src/a.py", "src/b.py", "old.py"]


@pytest.mark.parametrize("name", ["command", "input", "patch"])
def test_it_may_come_in_any_of_these_fields(name: str) -> None:
    assert patch_of("apply_patch", {name: PATCH})[0] == name
    assert patch_of("Bash", {name: PATCH}) == ("", [])


def test_one_inside_of_a_command_is_found() -> None:
    assert [change.path for change in changes_in(f"apply_patch <<'EOF'\n{PATCH}\nEOF\n")] == [
        "new.py",
        "src/a.py",
        "old.py",
    ]


@pytest.mark.parametrize("odd", ["rm -rf /", "*** Copy File: x", "-x", "@@"])
def test_a_line_that_is_not_understood_leaves_the_text_as_it_is(odd: str) -> None:
    text = f"*** Begin Patch\n*** Add File: a\n+x\n{odd}\n*** End Patch"
    assert read_patch(text) == []
    assert preview_of("apply_patch", {"command": text}, "").lines == []


LINES = st.sampled_from([*PATCH.split("\n"), "", "x", "\0", "*** Add File: "])


@given(st.lists(LINES).map("\n".join))
def test_any_text_is_read(text: str) -> None:
    for found in (read_patch(text), read_patch(f"*** Begin Patch\n{text}\n*** End Patch"), changes_in(text)):
        assert all(change.heading for change in found)
