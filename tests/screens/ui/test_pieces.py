"""Long lines go on below, and nothing is left out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ccproxy_tui.screens.ui.highlight import code_spans, language_of, shell_spans
from ccproxy_tui.screens.ui.pieces import LongLine, PieceLine, wrapped


def texts(lines: list[PieceLine]) -> list[str]:
    return [line.text for line in lines]


def test_what_fits_stays_on_its_line() -> None:
    line = LongLine("a && b", breaks=[4], lead=("$ ", "dim"), spans=[(2, 4, "operator")])
    assert wrapped(line, 8) == [PieceLine((("$ ", "dim"), ("a ", ""), ("&&", "operator"), (" b", "")))]


def test_what_does_not_goes_on_after_each_break_or_a_space() -> None:
    line = LongLine("make all && make install | tee log", lead=("$ ", ""), follow=("  ", ""), breaks=[11, 26])
    assert texts(wrapped(line, 18)) == ["$ make all && ", "  make install | ", "  tee log"]
    assert texts(wrapped(LongLine("one two three four"), 10)) == ["one two ", "three four"]
    assert texts(wrapped(LongLine("a" * 25), 10)) == ["a" * 10, "a" * 10, "a" * 5]


def test_what_stands_out_does_so_on_both_lines() -> None:
    found = wrapped(LongLine("x" * 6, spans=[(2, 5, "string")], ground="added"), 4)
    assert found == [
        PieceLine((("xx", ""), ("xx", "string")), "added"),
        PieceLine((("x", "string"), ("x", "")), "added"),
    ]


SPAN = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (*sorted(pair), "string"))


@given(
    st.text("ab &漢é\u0301\ufe0f"), st.text("$> 漢", max_size=9), st.integers(2, 40), st.lists(st.integers(0, 60)), SPAN
)
def test_nothing_is_lost(text: str, lead: str, width: int, breaks: list[int], span: tuple[int, int, str]) -> None:
    lines = wrapped(LongLine(text, lead=(lead, ""), breaks=sorted(breaks), spans=[span]), width)
    assert "".join(texts(lines)) == lead + text
    assert all(cell_len(line.text.rstrip(" ")) <= width for line in lines)


def marked(text: str, spans: list[tuple[int, int, str]]) -> list[tuple[str, str]]:
    return [(text[start:end], kind) for start, end, kind in spans]


def test_a_command_is_told_apart() -> None:
    command = "A='b c' make x | tee $LOG && echo \"a;b\" > out # rm\nif ls $(pwd); then cd ${HOME}; fi"
    assert marked(command, shell_spans(command)) == [
        *(("'b c'", "string"), ("make", "program"), ("|", "operator"), ("tee", "program"), ("$LOG", "variable")),
        *(("&&", "operator"), ("echo", "program"), ('"a;b"', "string"), (">", "operator"), ("# rm", "comment")),
        *(("ls", "program"), ("$(", "variable"), ("pwd", "program"), (")", "operator"), (";", "operator")),
        *(("cd", "program"), ("${HOME}", "variable"), (";", "operator")),
    ]


def test_a_program_that_runs_another_leaves_that_one_in_sight() -> None:
    command = "sudo -E rm x; env A=b nice make all"
    assert marked(command, shell_spans(command)) == [
        *(("sudo", "program"), ("rm", "program"), (";", "operator")),
        *(("env", "program"), ("nice", "program"), ("make", "program")),
    ]


@pytest.mark.parametrize(
    ("path", "line", "expected"),
    [
        ("a.py", "return 'x'  # 1", [("return", "keyword"), ("'x'", "string"), ("# 1", "comment")]),
        ("/x/Makefile", "all: a  # b", [("# b", "comment")]),
        ("a.ts", "const x = 12 // y", [("const", "keyword"), ("12", "number"), ("// y", "comment")]),
        ("a.SQL", "select 1 -- y", [("select", "keyword"), ("1", "number"), ("-- y", "comment")]),
        ("a.json", '{"a": null}', [('"a"', "string"), ("null", "keyword")]),
        ("a.md", "don't return", []),
        ("a.py", "x" * 401, []),
    ],
)
def test_code_is_told_apart(path: str, line: str, expected: list[tuple[str, str]]) -> None:
    assert marked(line, code_spans(line, language_of(path))) == expected


ODD = ('"', "'", "\\", "`", "$(", "${", "}", "a", "\n", " ", "#", "&&", ">&")


@given(st.text() | st.lists(st.sampled_from(ODD)).map("".join))
def test_any_text_has_spans_in_their_order(text: str) -> None:
    for spans in (shell_spans(text), code_spans(text, "#"), code_spans(text, "//")):
        assert all(start < end for start, end, _ in spans)
        assert [start for start, _, _ in spans] == sorted(start for start, _, _ in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
