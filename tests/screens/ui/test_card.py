"""The guard of a permission card, on a clock of its own; and what a card says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from ccproxy_tui.core.control.frames import AskView
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui.card_guard import CardGuard
from ccproxy_tui.screens.ui.card_view import body_lines, head_lines, headline
from ccproxy_tui.screens.ui.pieces import PieceLine


def shown(at: float = 100.0) -> CardGuard:
    guard = CardGuard()
    guard.show("a", at)
    return guard


def test_a_card_is_armed_a_while_after_it_was_painted() -> None:
    assert shown().press(100.5) == "early"
    assert shown().press(100.61) == "go"


def test_typing_ahead_answers_nothing() -> None:
    guard = shown()
    for moment in (100.1, 100.3, 100.5, 100.7):
        guard.note_key(moment)
    assert guard.press(100.8) == "early", "keys have not been quiet"
    assert guard.press(100.9) == "early"
    assert guard.press(101.2) == "go"


def test_a_held_key_answers_one_card_at_most() -> None:
    guard = shown()
    assert guard.press(101.0) == "go"
    guard.show("b", 101.01)
    for repeat in range(1, 100):
        assert guard.press(101.0 + repeat * 0.03) == "early"
    assert guard.press(101.0 + 99 * 0.03 + 0.3) == "go"


def test_a_grave_yes_needs_the_key_twice_in_time() -> None:
    guard = shown()
    assert guard.press(101.0, grave=True) == "again"
    assert guard.press(101.1, grave=True) == "early", "a bounce is no second press"
    assert guard.press(101.6, grave=True) == "go"
    guard = shown()
    assert guard.press(101.0, grave=True) == "again"
    assert guard.press(105.0, grave=True) == "again"
    guard.show("b", 106.0)
    assert guard.press(107.0, grave=True) == "again", "another card starts anew"


def test_a_card_that_gets_the_focus_arms_anew() -> None:
    guard = shown()
    assert guard.press(101.0, grave=True) == "again"
    guard.rearm(101.5)
    assert guard.press(101.8) == "early"
    assert guard.press(102.2, grave=True) == "again", "what was typed before counts no more"


def ask(tool: str, input_: Any, **more: Any) -> AskView:
    text = json.dumps(input_, ensure_ascii=False)
    return AskView("1", tool, "pending", expires=160.0, input=text, size=len(text.encode()), **more)


def card_lines(view: AskView, width: int) -> list[PieceLine]:
    return [*head_lines(view, width, 100.0, 1, 1), *body_lines(view, width)]


def words_of(view: AskView, width: int = 60) -> str:
    return "\n".join(line.text for line in card_lines(view, width))


def test_a_command_is_shown_to_its_end() -> None:
    command = "echo " + "x" * 500 + " END"
    text = words_of(ask("Bash", {"command": command, "timeout": 5000, "description": "Say it"}))
    assert text.replace("\n", "").count("x") >= 500
    assert "END" in text
    assert "timeout: 5000" in text
    assert "description: Say it" in text
    assert "Bash wants to run a command  1 of 1  1m left" in text


@pytest.mark.parametrize(
    ("written", "shown_"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("[/bold] [link=x]y[/link]", "[/bold] [link=x]y[/link]"),
        ("a\u202eb", "a\\u202eb"),
        ("tab\there  ", "tab→   here··"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("rm\xa0-rf", "rm\\xa0-rf"),
    ],
)
def test_what_hides_is_spelled_out(written: str, shown_: str) -> None:
    assert shown_ in words_of(ask("Bash", {"command": written}))
    assert "\x1b" not in headline(ask("Bash", {"command": written}))


def test_a_difference_takes_the_place_of_the_texts() -> None:
    view = ask(
        "Edit",
        {"file_path": "a.py", "old_string": "OLD", "new_string": "NEW"},
        preview=["@@ -1 +1 @@", "-OLD line", "+NEW line"],
        covers=["old_string", "new_string"],
    )
    lines = card_lines(view, 60)
    assert PieceLine((("   1 -", "removed"), ("OLD line", "")), "removed") in lines
    assert PieceLine((("   1 +", "added"), ("NEW line", "")), "added") in lines
    assert not any("old_string" in line.text for line in lines)
    bare = words_of(ask("Edit", {"file_path": "a.py", "old_string": "OLD", "new_string": "NEW"}))
    assert "old_string: OLD" in bare


@pytest.mark.parametrize(
    "preview",
    [
        ["the file is not there"],
        ["the file can't be read: Permission denied"],
        ["the old text of 1 edit is not in the file", "@@ -1 +1 @@", "-a", "+b"],
    ],
)
def test_what_no_difference_shows_is_shown_as_it_is(preview: list[str]) -> None:
    view = ask("Edit", {"file_path": "a.py", "old_string": "OLD", "new_string": "NEW"}, preview=preview)
    assert "old_string: OLD" in words_of(view)
    assert "new_string: NEW" in words_of(view)


def test_one_that_is_over_says_so() -> None:
    late = AskView("1", "Bash", "expired", by="time-out", input="{}")
    assert "ENDED: timed out" in words_of(late, 120).splitlines()[0]
    assert "time-out" not in words_of(late, 120)
    assert "ENDED: denied by you" in words_of(AskView("1", "Bash", "denied", by="you (screens)", input="{}"), 120)
    cut = AskView("1", "x", "pending", input='{"a": "' + "b" * 50, size=9_000_000)
    assert "b" * 50 in words_of(cut).replace("\n", "")
    assert "only the start is shown: the whole input has 9,000,000 bytes" in words_of(cut)
    masked = AskView("1", "x", "pending", input='{"a": "[redacted]"}', size=500, masked=True)
    assert "only the start is shown" not in words_of(masked)


def test_lines_of_a_difference_have_the_numbers_of_the_file() -> None:
    preview = ["@@ -9,3 +9,4 @@", " nine", "-ten", "+TEN", "+more", " eleven", "@@ -40 +41 @@", "-x", "+y"]
    view = ask("Edit", {"file_path": "a"}, preview=preview)
    shown_ = [line.text for line in card_lines(view, 60)][-9:]
    assert shown_ == [
        *("@@ -9,3 +9,4 @@", "   9  nine", "  10 -ten", "  10 +TEN", "  11 +more", "  12  eleven"),
        *("@@ -40 +41 @@", "  40 -x", "  41 +y"),
    ]
    new = ask("Write", {"file_path": "a"}, preview=["new file, 3 characters", "+a", "+b"])
    assert [line.text for line in card_lines(new, 60)][-2:] == ["   1 +a", "   2 +b"]


# Escapes that terminals act on, marks that reorder or hide, widths that lie, and markup of other systems.
CORPUS = (
    *("\x1b[2J", "\x1b]52;c;aGk=\x07", "\x1b]8;;http://x\x1b\\y", "\x9b31m", "\x1bP1$r\x1b\\", "\x1b[6n"),
    *("\r", "\b\b", "\x7f", "\0", "\x0e", "\u202eevil", "\u2066x\u2069", "\u200bz", "\ufeff", "\U000e0041", "\x85"),
    *("[bold]x[/]", "[/]", "[@click=app.quit]x[/]", "$(rm)", "{0}", "%s", "\\x1b"),
    *("\u2028", "\u3164", "\u034f", "\U00013430", "\u2800"),
    *("é" * 40, "漢字" * 40, "\U0001f469\u200d\U0001f467" * 9, "a\u0301" * 40, "\ufdfa" * 20, "\uffa0", "\u3000"),
    *("\u0301" * 200, "\ufe0f" * 200, "x" * 5000, "\t" * 50, "\n" * 50),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


TEXT = st.text() | st.lists(st.sampled_from(CORPUS), max_size=4).map("".join)


@settings(max_examples=10 * settings.default.max_examples)
@given(TEXT.filter(bool), JSON | TEXT, st.sampled_from([60, 80, 120]), TEXT, st.lists(TEXT, max_size=3))
def test_any_input_fits_and_hides_nothing(tool: str, input_: Any, width: int, cwd: str, preview: list[str]) -> None:
    view = ask(tool, input_, cwd=cwd, client=tool, session=cwd, reason=cwd, preview=preview, notes=[cwd])
    for text in (line.text for line in card_lines(view, width)):
        assert cell_len(text) <= max(width, 2)
        assert escape_line(text) == text
    assert "\n" not in headline(view)


@pytest.mark.parametrize(
    ("view", "title"),
    [
        (AskView("1", "deploy?", "pending", client="ccproxy-tui"), "ccproxy-tui requests: deploy?  1 of 1"),
        (AskView("1", "mcp__files__move", "pending", source="hook"), "hook requests: mcp__files__move  1 of 1"),
        (
            AskView("1", "Bash wants to run a command", "pending"),
            "a client requests: Bash wants to run a command  1 of 1",
        ),
        (AskView("1", "Bash", "pending", client="claude-code"), "Bash wants to run a command  1 of 1"),
    ],
)
def test_the_title_names_the_client_before_a_name_that_it_gave(view: AskView, title: str) -> None:
    assert head_lines(view, 120, 60.0, 1, 1)[0].text.startswith(title)
