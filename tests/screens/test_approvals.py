"""Approvals through their real keys, on a fake proxy and a clock that the tests move."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, cast

import msgspec
import pytest
from rich.cells import cell_len
from textual import events
from textual.pilot import Pilot
from textual.widgets import TextArea

from ccproxy_tui.app import CCProxyApp
from ccproxy_tui.core.control.frames import AskView, Frame
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.text.escape import has_hidden
from ccproxy_tui.screens.answers import EditDialog, MessageDialog
from ccproxy_tui.screens.approvals import ApprovalsScreen
from ccproxy_tui.screens.inspector import InspectorScreen
from ccproxy_tui.screens.rules import RulesDialog
from ccproxy_tui.screens.streams import StreamsScreen
from tests.conftest import until
from tests.fakes.clock import FakeClock
from tests.fakes.control import STARTED, FakeControl
from tests.screens.conftest import SIZES, Compare, screen_text
from tests.screens.test_screens import settle
from tests.screens.ui.test_card import CORPUS

Wait = Pilot[str]


@pytest.fixture
def clock(app: CCProxyApp) -> FakeClock:
    return cast("FakeClock", app.clock)


def asking(name: str, tool: str = "Bash", input_: str = '{"command": "git status"}', **more: Any) -> AskView:
    fields: dict[str, Any] = {
        "client": "claude-code",
        "session": "s1",
        "cwd": "/repo",
        "created": STARTED + int(name),
        "expires": STARTED + 52.5,
        "left": 52.5,
        "input": input_,
        "size": len(input_.encode()),
        **more,
    }
    status = fields.pop("status", "pending")
    return AskView(name, tool, status, **fields)


ASKS = [
    asking(
        "1",
        input_=json.dumps(
            {"command": 'rm -rf build && make -j4 all CFLAGS="-O2 -g" | tee ../make.log\nls build', "timeout": 5000}
        ),
        notes=["deletes build", "writes outside the project: ../make.log", "2 lines"],
        programs=["rm", "make", "tee", "ls"],
        high=True,
    ),
    asking(
        "2",
        "Edit",
        '{"file_path": "/repo/a.py", "old_string": "x", "new_string": "y"}',
        preview=["@@ -1,3 +1,3 @@", " import os", " ", "-x = None", "+y = 'it'  # is"],
        covers=["old_string", "new_string"],
        digest="5f" * 32,
        reason="permission mode plan",
    ),
    asking(
        "3", "WebFetch", '{"url": "https://example.org/"}', status="denied", by="person", notes=["network: example.org"]
    ),
]


async def open_card(app: CCProxyApp, pilot: Wait, control: FakeControl, clock: FakeClock, *asks: AskView) -> None:
    await until(lambda: len(app.session.mirror.rows) == 12)
    control.push(Frame(200, asks=list(asks)))
    await until(lambda: len(app.session.mirror.asks) == len(asks))
    await pilot.press("ctrl+g")
    await until(lambda: isinstance(app.screen, ApprovalsScreen))
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_approvals_look_the_same(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, size: str, same_as: Compare
) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.push(Frame(200, asks=ASKS))
        await until(lambda: "2 waiting HIGH 52s" in screen_text(app))
        await settle(pilot)
        same_as(app, f"streams-{size}-ask-waiting")
        await pilot.press("2")
        await until(lambda: "Bash wants to run a command" in screen_text(app))
        await settle(pilot)
        same_as(app, f"approvals-{size}")
        await pilot.press("n")
        await until(lambda: "Edit wants to edit a file" in screen_text(app))
        same_as(app, f"approvals-{size}-edit")


async def test_early_keys_and_wrong_keys_answer_nothing(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"), asking("2"))
        await pilot.press("a")
        clock.advance(5)
        await pilot.press("enter", "space", "y", "1", "2", "Y", "tab", "shift+tab")
        await pilot.press("ctrl+g")
        app.post_message(events.Paste("a"))
        await settle(pilot)
        assert not any(call[0] == "answer ask" for call in control.calls)
        clock.advance(5)
        await pilot.press("a")
        await until(lambda: ("answer ask", "1", True, "", False, None) in control.calls)
        await pilot.press(*"aaaa")  # held down: the next card has to arm anew
        await settle(pilot)
        assert [call[1] for call in control.calls if call[0] == "answer ask"] == ["1"]


async def test_a_key_counts_for_when_it_came(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    """The screen may have been busy meanwhile: what was typed before the card could be read answers nothing."""
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        clock.advance(5)
        typed = events.Key("a", "a")
        typed.time -= 4.8
        app.post_message(typed)
        await until(lambda: "Ignored: the card had only just appeared" in screen_text(app))
        assert not any(call[0] == "answer ask" for call in control.calls)


async def test_keys_answer_only_where_the_card_has_the_focus(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.push(Frame(200, asks=[asking("1")]))
        await until(lambda: "1 waiting" in screen_text(app))
        clock.advance(5)
        await pilot.press("a", "d", "e")
        await settle(pilot)
        assert not any(call[0] == "answer ask" for call in control.calls)
        assert isinstance(app.screen, StreamsScreen), "a question takes the focus nowhere"


async def test_every_answer(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, *(asking(str(number)) for number in range(1, 7)))
        clock.advance(1)
        await pilot.press("d")
        await until(lambda: ("answer ask", "1", False, "", False, None) in control.calls)
        clock.advance(1)
        await pilot.press("i")
        await until(lambda: ("answer ask", "2", False, "", True, None) in control.calls)
        clock.advance(1)
        await pilot.press("D")
        await until(lambda: isinstance(app.screen, MessageDialog))
        await pilot.press(*"use", "space", *"mv", "enter")
        await until(lambda: ("answer ask", "3", False, "use mv", False, None) in control.calls)
        clock.advance(1)
        await pilot.press("x")
        await until(lambda: ("extend", "4", 120.0) in control.calls)
        clock.advance(1)
        await pilot.press("D")
        await until(lambda: isinstance(app.screen, MessageDialog))
        await pilot.press("n", "o", "ctrl+s")
        await until(lambda: ("answer ask", "4", False, "no", True, None) in control.calls)


def edits(control: FakeControl) -> list[Any]:
    return [call[5] for call in control.calls if call[0] == "answer ask"]


@pytest.mark.parametrize("size", SIZES)
async def test_an_edit_is_shown_before_it_is_sent(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, size: str, same_as: Compare
) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_='{"command": "git status", "timeout": 5}'))
        clock.advance(1)
        await pilot.press("e")
        await until(lambda: "Edit command:" in screen_text(app))
        area = app.screen.query_one(TextArea)
        assert area.text == "git status"
        await pilot.press("ctrl+s")
        await until(lambda: "No changes." in screen_text(app))
        area.text = "git diff\nls \x1b[2J"  # as a paste or an editor may leave it
        await settle(pilot)
        assert "ls \ufffd[2J" in screen_text(app)
        await pilot.press("ctrl+s")
        await until(lambda: "   1 -git status" in screen_text(app))
        assert "   2 +ls \\x1b[2J" in screen_text(app)
        await settle(pilot)
        same_as(app, f"edit-{size}")
        await pilot.press("ctrl+s", "ctrl+s")  # held down: it was not read yet
        await settle(pilot)
        assert edits(control) == []
        await pilot.press("escape")
        await until(lambda: area.display and area.has_focus)
        area.text = "git diff"
        await pilot.press("ctrl+s")
        await until(lambda: "   1 +git diff" in screen_text(app))
        clock.advance(1)
        await pilot.press("ctrl+s")
        await until(lambda: edits(control) == [{"command": "git diff", "timeout": 5}])


@pytest.mark.parametrize(("key", "what"), [("e", "edit"), ("D", "words"), ("A", "rules")])
async def test_what_is_written_stays_when_the_request_ends(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, key: str, what: str
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(CCProxyApp, "copy", lambda _, text, name: copied.append(text))
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_='{"command": "git status"}'))
        clock.advance(1)
        await pilot.press(key)
        await until(lambda: "s left; f8 more time" in screen_text(app))
        await pilot.press("f8")
        await until(lambda: ("extend", "1", 120.0) in control.calls)
        await pilot.press("x", "y")
        ended = msgspec.structs.replace(app.session.mirror.asks[0], status="expired", by="time-out")
        control.push(Frame(201, asks=[ended]))
        await until(lambda: "The request has expired, so nothing is sent." in screen_text(app))
        await pilot.press("f2" if what == "rules" else "enter" if what == "words" else "ctrl+s")
        await settle(pilot)
        assert not any(call[0] in ("answer ask", "add rules") for call in control.calls)
        await pilot.press("f9")
        await until(lambda: len(copied) == 1 and "xy" in copied[0])
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, ApprovalsScreen))


async def test_an_edit_that_came_too_late_is_shown_again(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise ControlError("Permission request '1' already resolved with status: expired")

    monkeypatch.setattr(control, "answer_permission", refuse)
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_='{"command": "git status"}'))
        clock.advance(1)
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, EditDialog))
        app.screen.query_one(TextArea).text = "git diff"
        await pilot.press("ctrl+s")
        await until(lambda: "+git diff" in screen_text(app))
        clock.advance(1)
        await pilot.press("ctrl+s")
        await until(lambda: "already resolved" in screen_text(app) or '"git diff"' in screen_text(app))
        await until(lambda: isinstance(app.screen, EditDialog) and '"git diff"' in app.screen.query_one(TextArea).text)


async def test_all_of_an_input_is_edited_as_json(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_='{"command": "a", "timeout": 5}'))
        clock.advance(1)
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, EditDialog))
        area = app.screen.query_one(TextArea)
        area.text = "b"
        await pilot.press("f2")
        await until(lambda: json.loads(area.text) == {"command": "b", "timeout": 5})
        area.text = "{nonsense"
        await pilot.press("ctrl+s")
        await until(lambda: "not valid JSON" in screen_text(app))
        area.text = '{"command": "rm", "command": "a", "timeout": 5}'
        await pilot.press("ctrl+s")
        await until(lambda: "twice in one object" in screen_text(app))
        area.text = '{"command": "a", "timeout": 5.0}'
        await pilot.press("ctrl+s")
        await until(lambda: '+  "timeout": 5.0' in screen_text(app))
        clock.advance(1)
        await pilot.press("ctrl+s")
        await until(lambda: [type(one["timeout"]) for one in edits(control)] == [float])


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\x9b31m", "\u202e", "\U000e0041", "a\rb"])
async def test_what_hides_is_spelled_out_where_it_is_edited(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, hidden: str
) -> None:
    given = {"command": f"ls {hidden}"}
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_=json.dumps(given)))
        clock.advance(1)
        await pilot.press("e")
        await until(lambda: "Edit the input:" in screen_text(app))
        area = app.screen.query_one(TextArea)
        assert json.loads(area.text) == given
        assert not has_hidden(area.text)


async def test_a_fault_in_the_text_is_shown_until_the_text_changes(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_=json.dumps({"number": 1})))
        clock.advance(1)
        await pilot.press("e")
        await until(lambda: "Edit the input:" in screen_text(app))
        area = app.screen.query_one(TextArea)
        area.text = "{"
        await settle(pilot)
        await pilot.press("ctrl+s")
        await until(lambda: "not valid JSON" in screen_text(app))
        area.text = '{"number": 2}'
        await until(lambda: "not valid JSON" not in screen_text(app))
        assert "ctrl+s review" in screen_text(app)


async def test_an_editor_that_is_not_set_or_can_not_be_opened_is_said(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        clock.advance(1)
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, EditDialog))
        await pilot.press("f4")
        await until(lambda: "No editor is set" in screen_text(app))
        monkeypatch.setenv("EDITOR", "vi")
        await pilot.press("f4")
        await until(lambda: "can't run an editor" in screen_text(app))


async def test_a_grave_one_wants_the_key_twice(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, ASKS[0])
        clock.advance(1)
        await pilot.press("a")
        await until(lambda: "Press a again" in screen_text(app))
        assert not any(call[0] == "answer ask" for call in control.calls)
        clock.advance(1)
        await pilot.press("a")
        await until(lambda: ("answer ask", "1", True, "", False, None) in control.calls)


async def test_what_does_not_fit_must_be_read_first(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    long = json.dumps({"command": "\n".join(f"echo {number}" for number in range(60)) + "\nrm -rf /"})
    async with app.run_test(size=(60, 15)) as pilot:
        await open_card(app, pilot, control, clock, asking("1", input_=long))
        await until(lambda: " j 51 more lines" in screen_text(app))
        await pilot.press("j")
        await until(lambda: " j 50 more lines" in screen_text(app))
        for _ in range(12):
            clock.advance(1)
            await pilot.press("a")
            await settle(pilot)
            if any(call[0] == "answer ask" for call in control.calls):
                break
            assert "Scroll to the end first" in screen_text(app)
        assert "rm -rf /" in screen_text(app)
        assert ("answer ask", "1", True, "", False, None) in control.calls


async def test_a_card_that_is_over_stays_and_takes_no_answer(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        control.push(Frame(201, asks=[asking("2"), asking("1", status="cancelled")]))
        await until(lambda: "ENDED: cancelled by its client" in screen_text(app))
        clock.advance(2)
        await pilot.press("a")
        await until(lambda: "This request has ended" in screen_text(app))
        assert not any(call[0] == "answer ask" for call in control.calls)
        await pilot.press("n")
        await until(lambda: "1 of 1" in screen_text(app))


async def test_the_key_that_answers_leads_on_from_a_card_that_is_over(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        control.push(Frame(201, asks=[asking("2"), asking("3"), asking("1", status="expired")]))
        await until(lambda: "ENDED: timed out" in screen_text(app))
        await pilot.press("ctrl+g")
        await until(lambda: "1 of 2" in screen_text(app))
        await pilot.press("n", "ctrl+g")  # one that waits stays
        await settle(pilot)
        assert "2 of 2" in screen_text(app)


async def test_the_latest_that_has_ended_comes_first_after_what_waits(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        over = [asking(name, f"Old{name}", status="denied", by="you") for name in "12"]
        await open_card(app, pilot, control, clock, *over, asking("3", "New3"), asking("4", "New4"))
        await until(lambda: "Old1" in screen_text(app))
        rows = screen_text(app).split("answer")[0]
        assert sorted(("New3", "New4", "Old2", "Old1"), key=rows.index) == ["New3", "New4", "Old2", "Old1"]


async def test_a_rule_is_made_from_the_card(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        clock.advance(1)
        await pilot.press("A")
        await until(lambda: "would have matched 14 of the last 200 requests" in screen_text(app))
        area = app.screen.query_one(TextArea)
        area.text = "Bash(rm:*)"
        await pilot.press("f4")
        await until(lambda: "never allowed by a rule" in screen_text(app))
        area.text = "Bash(git status:*)"
        await pilot.press("f4")
        await until(lambda: ("rules", "1", ["Bash(git status:*)"], "allow", "project", None) in control.calls)


async def test_a_rule_dialog_says_that_no_rule_answers_a_high_risk_request(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    control.high = True
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        clock.advance(1)
        await pilot.press("A")
        await until(lambda: "high risk: an allow rule never allows requests like this" in screen_text(app))


@pytest.mark.parametrize("size", SIZES)
async def test_a_letter_makes_a_rule_outside_of_the_text(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, size: str, same_as: Compare
) -> None:
    control.offer = "allow Bash(git:*) in its session \x1b[2J"
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_card(app, pilot, control, clock, asking("1"), asking("2"))
        clock.advance(1)
        await pilot.press("A")
        await until(lambda: "the tool's own suggestion: allow Bash(git:*)" in screen_text(app))
        assert "\\x1b[2J" in screen_text(app)
        await settle(pilot)
        same_as(app, f"rule-{size}")
        await pilot.press("tab", "enter", "space")
        assert not any(call[0] == "rules" for call in control.calls)
        await pilot.press("h")
        await until(lambda: ("rules", "1", ["Bash(git status:*)"], "allow", "project", 8.0) in control.calls)
        clock.advance(1)
        await pilot.press("A")
        await until(lambda: "the tool's own suggestion" in screen_text(app))
        clock.advance(1)
        await pilot.press("f7")
        await until(lambda: "Press f7 again" in screen_text(app))
        told = " ".join(screen_text(app).replace("│", " ").split())
        assert "will save this in its own settings: allow Bash(git:*) in its session" in told
        assert not any(call[:2] == ("rules", "2") for call in control.calls)
        await pilot.press("f7")
        assert not any(call[:2] == ("rules", "2") for call in control.calls), "a held key takes nothing"
        clock.advance(1)
        await pilot.press("f7")
        await until(lambda: ("rules", "2", [], "allow", "asker", None) in control.calls)


async def test_an_offer_that_does_not_fit_the_terminal_is_not_taken(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    control.offer = f"allow {', '.join(f'Bash(tool{number}:*)' for number in range(60))} everywhere"
    async with app.run_test(size=(60, 20)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        clock.advance(1)
        await pilot.press("A")
        await until(lambda: "Rules, one per line" in screen_text(app))
        clock.advance(1)
        await pilot.press("f7")
        await until(lambda: "will save this in its own settings" in screen_text(app))
        clock.advance(1)
        await pilot.press("f7")
        await until(lambda: "too small to show" in screen_text(app))
        clock.advance(1)
        await pilot.press("f7")
        await until(lambda: "will save this in its own settings" in screen_text(app))
        assert not any(call[0] == "rules" for call in control.calls)


async def test_after_an_answer_the_card_goes_on_by_itself(
    app: CCProxyApp, control: FakeControl, clock: FakeClock
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        clock.advance(1)
        await pilot.press("a")
        await until(lambda: ("answer ask", "1", True, "", False, None) in control.calls)
        control.push(Frame(201, asks=[asking("1", status="allowed", by="person")]))
        await until(lambda: "ENDED: allowed by person" in screen_text(app))
        assert "n next" in screen_text(app)
        assert "│>allowed    Bash" in screen_text(app), "the list says the same as the card"
        control.push(Frame(202, asks=[asking("2"), asking("1", status="allowed", by="person")]))
        await until(lambda: "1 of 1" in screen_text(app))
        await pilot.press("a")
        await settle(pilot)
        assert [call[1] for call in control.calls if call[0] == "answer ask"] == ["1"], "the new one arms anew"


@pytest.mark.parametrize("size", SIZES)
async def test_all_rules_with_their_hits(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, size: str, same_as: Compare
) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        await pilot.press("R")
        await until(lambda: isinstance(app.screen, RulesDialog) and "git diff" in screen_text(app))
        await settle(pilot)
        same_as(app, f"rules-{size}")
        assert "\x1b" not in screen_text(app)
        await pilot.press("j", "d")
        await until(lambda: ("remove rule", "Bash(git diff:*)") in control.calls)
        await until(lambda: "removed. Press u" in screen_text(app))
        await pilot.press("u")
        await until(lambda: "Bash(git diff:*) is back" in screen_text(app))
        control.refusal = "This rule does not exist"
        await pilot.press("d")
        await until(lambda: "This rule does not exist" in screen_text(app))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, ApprovalsScreen))
        assert not any(call[0] == "answer ask" for call in control.calls)


async def test_a_card_leads_to_the_stream_that_asked(app: CCProxyApp, control: FakeControl, clock: FakeClock) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        name = next(iter(app.session.mirror.rows))
        await open_card(app, pilot, control, clock, asking("1", exchange=name, agent="a12"))
        assert "sub-agent a12  o opens its stream" in screen_text(app)
        await pilot.press("o")
        await until(lambda: isinstance(app.screen, InspectorScreen))


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_questions_stay_in_their_place(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, size: str
) -> None:
    """Through the real screens: each is shown literally, and none leaves its row."""
    asks = [
        asking(str(place), escape, json.dumps({"command": escape, escape[:9]: [escape]}), cwd=escape, notes=[escape])
        for place, escape in enumerate(CORPUS)
    ]
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_card(app, pilot, control, clock, *asks)
        for _ in asks:
            await pilot.press("n")
            lines = screen_text(app).split("\n")
            assert max(map(cell_len, lines)) <= SIZES[size][0]
            assert not any(unicodedata.category(char) in ("Cc", "Cf") for char in "".join(lines))
        assert isinstance(app.screen, ApprovalsScreen)
        assert not any(call[0] == "answer ask" for call in control.calls)


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_answered_before(
    app: CCProxyApp, control: FakeControl, clock: FakeClock, size: str, same_as: Compare
) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_card(app, pilot, control, clock, asking("1"))
        await pilot.press("H")
        await until(lambda: "make" in screen_text(app))
        await settle(pilot)
        same_as(app, f"history-{size}")
        assert "\x1b" not in screen_text(app)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, ApprovalsScreen))
