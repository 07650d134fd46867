"""The plain front end: what is said of questions, and which typed words answer them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from ccproxy_tui.core.control.frames import AskView, Frame
from ccproxy_tui.screens.ui.plain import PlainFrontEnd
from ccproxy_tui.screens.ui.plain_asks import SHOWN_LINES
from tests.conftest import until
from tests.fakes.control import STARTED, FakeControl, FakeSource
from tests.screens.test_approvals import asking

Type = Callable[[str], None]


class Console:
    """A terminal of lines: what was written on it, and a keyboard."""

    def __init__(self) -> None:
        self.text = ""
        self.source, self.keys = os.pipe()

    def write(self, text: str) -> None:
        self.text += text

    def type(self, line: str) -> None:
        os.write(self.keys, f"{line}\n".encode())


@pytest.fixture
async def console(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Console]:
    shown = Console()
    with os.fdopen(shown.source) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        front = PlainFrontEnd(FakeSource(control), shown.write, lambda: STARTED)
        running = asyncio.create_task(front.run(commands=True))
        await until(lambda: "proxy up" in shown.text)
        yield shown
        shown.type("quit")
        await running
    os.close(shown.keys)


def show(control: FakeControl, revision: int, *asks: AskView) -> None:
    control.push(Frame(revision, asks=list(asks)))


def answers(control: FakeControl) -> list[tuple[object, ...]]:
    return [call for call in control.calls if call[0] in ("answer ask", "extend")]


async def test_a_question_is_said_whole_and_answered_by_its_number(console: Console, control: FakeControl) -> None:
    show(control, 200, asking("1", input_=json.dumps({"command": "git status\x1b[2J"}), programs=["git"]))
    await until(lambda: "type allow 1, deny 1, or deny 1 because" in console.text)
    assert "ASK 1 Bash wants to run a command  1 of 1  52s left" in console.text
    assert "  $ git status\\x1b[2J" in console.text
    assert "\x1b" not in console.text
    console.type("asks")
    await until(lambda: "ASK 1 Bash of claude-code" in console.text)
    console.type("more 1")
    console.type("allow 1")
    await until(lambda: answers(control) == [("extend", "1", 120.0), ("answer ask", "1", True, "", False, None)])
    show(control, 201, asking("1", status="allowed", by="person"), asking("2"))
    await until(lambda: "ASK 1 allowed by person" in console.text and "ASK 2 Bash" in console.text)
    console.type("deny 2 because use git mv")
    await until(lambda: answers(control)[-1] == ("answer ask", "2", False, "use git mv", False, None))
    show(control, 202, asking("2", status="denied", by="person"))
    await until(lambda: "ASK 2 denied by person" in console.text)
    console.type("allow 2")
    await until(lambda: "ASK 2 has ended" in console.text)


async def test_a_grave_one_wants_a_word_more(console: Console, control: FakeControl) -> None:
    show(control, 200, asking("1", notes=["deletes x"], high=True))
    await until(lambda: "type allow 1 anyway" in console.text)
    console.type("allow 1")
    await until(lambda: "high risk (deletes x): type allow 1 anyway" in console.text)
    assert answers(control) == []
    console.type("allow 1 anyway")
    await until(lambda: answers(control) == [("answer ask", "1", True, "", False, None)])


async def test_a_long_one_must_be_shown_to_its_end_first(console: Console, control: FakeControl) -> None:
    lines = [f"echo {number}" for number in range(SHOWN_LINES)]
    show(control, 200, asking("1", input_=json.dumps({"command": "\n".join([*lines, "rm -rf /"])})))
    await until(lambda: "more lines: type show 1" in console.text)
    assert "rm -rf /" not in console.text
    console.type("allow 1")
    await until(lambda: "not shown in full yet: type show 1 first" in console.text)
    console.type("show 1")
    await until(lambda: "> rm -rf /" in console.text)
    console.type("allow 1")
    await until(lambda: answers(control) == [("answer ask", "1", True, "", False, None)])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("allow", "no permission request ''"),
        ("allow 2", "no permission request '2'"),
        ("allow 0", "no permission request '0'"),
        ("allow ²", "no permission request"),
        ("allow 99999999999999999999", "no permission request"),
        ("allow 1 and 2", "not allowed: type exactly allow 1"),
        ("y", "type: list"),
        ("yes", "type: list"),
        ("1", "type: list"),
    ],
)
async def test_other_words_allow_nothing(console: Console, control: FakeControl, typed: str, said: str) -> None:
    console.type("allow 1")  # ahead of the question
    await until(lambda: "no permission request '1'" in console.text)
    show(control, 200, asking("1"))
    await until(lambda: "type allow 1" in console.text)
    console.type(typed)
    await until(lambda: said in console.text)
    assert answers(control) == []


async def test_a_refusal_is_said(console: Console, control: FakeControl) -> None:
    show(control, 200, asking("1"))
    await until(lambda: "type allow 1" in console.text)
    control.refusal = "It was answered already."
    console.type("allow 1")
    await until(lambda: "It was answered already." in console.text)


async def test_where_nobody_can_type_no_answer_is_asked_for(control: FakeControl) -> None:
    written: list[str] = []
    front = PlainFrontEnd(FakeSource(control), written.append, lambda: STARTED)
    running = asyncio.create_task(front.run())
    await until(lambda: any("proxy up" in text for text in written))
    show(control, 200, asking("1"), asking("2"))
    await until(lambda: any("ASK 2 Bash" in text for text in written))
    assert not any("type allow" in text for text in written)
    assert not front.session.watch.answers
    front.end("stop")
    await running
