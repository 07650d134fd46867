"""The shape of the code: sizes, and tests where one looks for them."""

from __future__ import annotations

import ast
import dataclasses
import re
import statistics
from pathlib import Path

from ccproxy_tui.core.records.record import ExchangeRecord

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "ccproxy_tui").rglob("*.py"))


def function_lengths() -> list[tuple[int, str]]:
    return [
        (node.end_lineno - node.lineno + 1, f"{path.name}:{node.name}")
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    ]


def test_functions_stay_short() -> None:
    lengths = function_lengths()
    assert max(lengths) < (80, "")
    assert statistics.median(length for length, _ in lengths) <= 9
    assert statistics.quantiles([length for length, _ in lengths], n=10)[-1] <= 35


def test_files_stay_small() -> None:
    assert max((len(path.read_text("utf-8").splitlines()), path.name) for path in SOURCES) <= (600, "")


def test_every_module_says_in_one_sentence_what_it_is() -> None:
    missing = [path.name for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert missing == []


def test_every_broad_except_has_its_reason() -> None:
    for path in SOURCES:
        for line in path.read_text("utf-8").splitlines():
            if "except Exception" in line:
                assert "  # " in line, f"{path}: {line}"


_LIVE = {"client_body", "last_byte", "upstream_bytes", "client_bytes", "events"}  # see ExchangeRecord


def test_records_are_written_by_the_store_alone_but_for_live_counters() -> None:
    fields = {field.name for field in dataclasses.fields(ExchangeRecord)}
    written = {
        (path.name, name)
        for path in SOURCES
        for name in re.findall(r"\brecord\.(\w+) [-+]?= ", path.read_text("utf-8"))
        if name in fields and path.name != "store.py"
    }
    assert written == {("tap.py", name) for name in _LIVE}
