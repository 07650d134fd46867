"""The three ways in which a tool's instructions get into a request."""

from __future__ import annotations

from typing import Any

import pytest

from ccproxy_tui.core.formats.openai_responses.instructions import Injection, Mode, inject
from ccproxy_tui.core.formats.report import Report

USER = {"type": "message", "role": "user", "content": "hi"}


def developer(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]}


@pytest.mark.parametrize(
    ("mode", "in_field", "expected"),
    [
        ("disabled", True, ("mine", [USER])),
        ("append", True, ("mine\n\nCODEX m", [USER])),
        ("override", True, ("CODEX m", [developer("mine"), USER])),
        ("disabled", False, ("mine", [USER])),
        ("append", False, ("", [developer("mine\n\nCODEX m"), USER])),
        ("override", False, ("", [developer("CODEX m"), developer("mine"), USER])),
    ],
)
def test_three_modes_are_three_bodies(mode: Mode, in_field: bool, expected: tuple[str, list[Any]]) -> None:
    body = {"model": "m", "instructions": "mine", "input": [USER]}
    report = Report()
    made = inject(body, Injection(mode, "CODEX {model}", developer=not in_field), report)
    assert (made["instructions"], made["input"]) == expected
    assert bool(len(report)) == (mode != "disabled")
    assert inject(made, Injection(mode, "CODEX {model}", developer=not in_field), Report()) == made, "never doubled"


@pytest.mark.parametrize("mode", ["append", "override"])
def test_without_words_of_the_client_the_tools_stand_alone(mode: Mode) -> None:
    made = inject({"model": "m", "input": [USER]}, Injection(mode, "CODEX"), Report())
    assert (made["instructions"], made["input"]) == ("CODEX", [USER])


def test_what_stands_in_a_developer_message_is_found() -> None:
    body = {"model": "m", "input": [developer("before CODEX after"), USER]}
    assert inject(body, Injection("override", "CODEX"), Report()) is body
    assert inject(body, Injection("override", ""), Report()) is body
