"""What a card shows of a file that a tool wants to change, as the file lies on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.control.frames import AskView
from ccproxy_tui.core.permissions import Broker, Entry, preview
from ccproxy_tui.core.permissions.preview import look_at, preview_of
from ccproxy_tui.core.permissions.request import Look, PermissionRequest
from ccproxy_tui.core.permissions.risk import UNKNOWN, level_of
from ccproxy_tui.core.permissions.rules import decide, parse_rule
from ccproxy_tui.core.server.desk import audit_row
from ccproxy_tui.core.server.viewer import ask_view
from ccproxy_tui.screens.ui.card_view import body_lines
from tests.fakes.clock import FakeClock


def test_a_change_is_shown_against_the_file_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    edit = {"file_path": "a.py", "old_string": "two", "new_string": "three"}
    assert preview_of("Edit", edit, str(tmp_path)).lines == ["@@ -1,2 +1,2 @@", " one", "-two", "+three"]
    write = {"file_path": str(tmp_path / "a.py"), "content": "one\ntwo\n"}
    assert preview_of("Write", write, "").lines == ["overwrites the file with what it holds already"]
    missing = {"file_path": "a.py", "edits": [{"old_string": "four", "new_string": "x"}]}
    assert preview_of("MultiEdit", missing, str(tmp_path)).lines == ["the old text of 1 edit is not in the file"]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pipe would wait for ever, and a device would never end."""
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    shown = preview_of("Write", {"file_path": str(path), "content": "x"}, "").lines
    assert shown == ["the file can't be read: it is no plain file", "+x"]


def test_line_ends_are_told_once_and_not_in_every_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"one\r\ntwo\r\n")
    edit = {"file_path": "a.py", "old_string": "one\ntwo", "new_string": "one\nthree"}
    assert preview_of("Edit", edit, str(tmp_path)).lines == ["@@ -1,2 +1,2 @@", " one", "-two", "+three"]
    write = {"file_path": "a.py", "content": "one\nthree\n"}
    assert preview_of("Write", write, str(tmp_path)).lines == [
        *("overwrites the file (its line ends become LF)", "@@ -1,2 +1,2 @@", " one", "-two", "+three")
    ]
    (tmp_path / "a.py").write_text("one")
    assert preview_of("Write", {"file_path": "a.py", "content": "one\n"}, str(tmp_path)).lines == [
        *("overwrites the file", "a newline comes at its end")
    ]


def test_signs_that_some_take_for_line_ends_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\n", "utf-8")
    write = {"file_path": "a.py", "content": "one # \u2028 import os\x0b\rtwo\n"}
    assert preview_of("Write", write, str(tmp_path)).lines[1:] == [
        *("@@ -1 +1 @@", "-one", "+one # \u2028 import os\x0b\rtwo")
    ]


def test_an_edit_of_nothing_makes_a_file(tmp_path: Path) -> None:
    edit = {"file_path": "new.py", "old_string": "", "new_string": "a\nb\n"}
    assert preview_of("Edit", edit, str(tmp_path)).lines == ["new file, 4 characters", "+a", "+b"]
    edits = [{"old_string": "", "new_string": "a\nb\n"}, {"old_string": "b", "new_string": "c"}]
    made = preview_of("MultiEdit", {"file_path": "new.py", "edits": edits}, str(tmp_path))
    assert made.lines == ["new file, 4 characters", "+a", "+c"]
    edits.append({"old_string": "x", "new_string": "y"})
    assert preview_of("MultiEdit", {"file_path": "new.py", "edits": edits}, str(tmp_path)).lines == [
        *("the old text of 1 edit is not in the file", "new file, 4 characters", "+a", "+c")
    ]
    edit = {"file_path": "new.py", "old_string": "x", "new_string": "a"}
    assert preview_of("Edit", edit, str(tmp_path)).lines == ["the file is not there"]


def test_what_is_cut_is_said() -> None:
    def look(lines: int) -> Look:
        given = {"file_path": "/nowhere/a", "content": "x\n" * lines}
        return look_at(PermissionRequest("Write", given, "rest", cwd="/nowhere"))

    assert look(3999).notes == []
    assert len(look(3999).preview) == 4000
    cut = look(5000)
    assert cut.preview[-1] == "1,001 more lines are not shown"
    assert level_of(cut.notes) == "HIGH"


@pytest.mark.parametrize("text", ["x", "$(", "git ", "ls\n", "\t", "http://a ", "<<A", "'a' "])
def test_five_megabytes_are_looked_at_in_time(text: str) -> None:
    """By the guard of the test's own time-out: read as shell words, a word of megabytes took minutes."""
    command = text * (5_000_000 // len(text)) + " rm"
    asked = PermissionRequest("Bash", {"command": command}, "rest", cwd="/repo")
    assert {"deletes", "longer than is shown"} <= set(look_at(asked).notes)
    assert decide([parse_rule("Bash(x:*)", "allow")], asked) is None


NAMES = st.sampled_from(
    ("file_path", "path", "command", "url", "content", "edits", "old_string", "new_string", "files")
)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from(("a\0b", "\ud800", "/", "~", "")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | NAMES, inner, max_size=4),
    max_leaves=8,
)
TOOLS = st.sampled_from(("Bash", "Write", "Edit", "MultiEdit", "NotebookEdit", "WebFetch", "apply_patch", "Read", "x"))


@given(TOOLS | st.text(min_size=1), ANY, st.sampled_from(("", "/a\0b", "/none", "x", "\ud800")) | st.text())
def test_any_request_at_all_has_a_card(tool: str, given_: Any, cwd: str) -> None:
    entry = Entry("1", PermissionRequest(tool, given_, "sdk", cwd=cwd, reason=cwd), 0.0, 0.0, 1.0)
    entry.look = look_at(entry.request)
    view = ask_view(entry, Broker(FakeClock()))
    assert UNKNOWN not in view.notes
    assert body_lines(msgspec.json.decode(msgspec.json.encode(view), type=AskView), 60)
    assert msgspec.json.encode(audit_row(entry))


def test_what_fails_to_be_analysed_is_shown_and_asks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "risk_notes", lambda *_: 1 / 0)
    look = look_at(PermissionRequest("Bash", {"command": "ls"}, "rest"))
    assert look.notes == [UNKNOWN]
    assert level_of(look.notes) == "HIGH"
    assert look.shown == b'{"command":"ls"}'


def test_an_edit_that_would_make_a_file_endless_has_no_difference(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("a" * 1_000_000)
    once = {"file_path": str(file), "old_string": "a", "new_string": "b" * 1_000_000, "replace_all": True}
    twice = [{"old_string": "a", "new_string": "aa", "replace_all": True}] * 60
    more = [{"old_string": "", "new_string": "aa"}, *twice]
    for tool, given_ in (
        ("Edit", once),
        ("MultiEdit", {"file_path": str(file), "edits": twice}),
        ("MultiEdit", {"file_path": str(tmp_path / "new"), "edits": more}),
    ):
        shown = preview_of(tool, given_, "/")
        assert (shown.lines, shown.covers) == (["the file would be too large to show what changes"], ())


@pytest.mark.parametrize("lines", [140_001, 3_000_000])
def test_a_text_of_too_many_lines_is_marked_and_costs_little(tmp_path: Path, lines: int) -> None:
    patch = "*** Begin Patch\n*** Add File: a\n" + "+\n" * lines + "*** End Patch"
    for tool, given_ in (
        ("Write", {"file_path": str(tmp_path / "a"), "content": "\n" * lines}),
        ("apply_patch", {"input": patch}),
    ):
        look = look_at(PermissionRequest(tool, given_, "rest", cwd=str(tmp_path)))
        assert (len(look.preview) <= 1, look.covers) == (True, [])
        assert level_of(look.notes) == "HIGH"
