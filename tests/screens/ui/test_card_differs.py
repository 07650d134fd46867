"""Two different permission requests never give the same card, and nothing of one is cut without a mark."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ccproxy_tui.core.control.frames import AskView
from ccproxy_tui.core.permissions import Broker, Entry, PermissionRequest
from ccproxy_tui.core.permissions.preview import look_at
from ccproxy_tui.core.server.viewer import ask_view
from ccproxy_tui.screens.ui.card_view import body_lines, head_lines, headline
from ccproxy_tui.screens.ui.driver import LastingFile
from tests.fakes.clock import FakeClock

WIDTH = 44


def view_of(request: PermissionRequest) -> AskView:
    return ask_view(Entry("1", request, 0.0, 0.0, 60.0, look=look_at(request)), Broker(FakeClock()))


def drawn(request: PermissionRequest, width: int = WIDTH, *, plain: bool = False) -> list[str]:
    """What a terminal shows, without colours: spaces at the end of a line are not seen, accents are one sign.

    Without the notes, which would tell apart most of what looks alike.
    """
    view = msgspec.structs.replace(view_of(request), notes=[], programs=[], high=False)
    lines = [*head_lines(view, width, 0.0, 1, 1), *body_lines(view, width, plain=plain)]
    shown = [unicodedata.normalize("NFC", line.text.rstrip(" ")) for line in lines]
    return [written(line) for line in shown] if plain else shown


class Written:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def written(line: str) -> str:
    """A line as a terminal without symbols gets it."""
    file = Written()
    LastingFile(file, lambda: True).write(line)  # type: ignore[arg-type]
    return file.text


# Pieces that have passed for others: hidden signs and how they are spelled, spaces, accents, line ends, our own words.
PIECES = (
    *(
        "a",
        "b",
        "A",
        "0",
        "1",
        " ",
        "  ",
        "\n",
        "\t",
        "\r",
        "\\",
        "·",
        "→",
        "→   ",
        "…",
        "↳ ",
        "^",
        '"',
        "'",
        ":",
        ": ",
        ",",
        "|",
    ),
    *(
        "\u202e",
        "\\u202e",
        "\\\\u202e",
        "\x1b",
        "\\x1b",
        "\\x20",
        "\\x09",
        "\\t",
        "\\n",
        "\x7f",
        "\u200b",
        "\U000e0041",
        "\\U000e0041",
    ),
    *(
        "\ufe00",
        "\ufe0f",
        "\u2764\ufe0f",
        "\u2764",
        "1\ufe0f\u20e3",
        "\u2800",
        "\u3000",
        "\xa0",
        "\\xa0",
        "\\u00a0",
        "\xad",
        "\u3164",
    ),
    *(
        "\u00e9",
        "e\u0301",
        "\u0301",
        "\u0301\u0301\u0301",
        "\u212a",
        "K",
        "\u037e",
        ";",
        "\uac00",
        "\u1100\u1161",
        "\u0958",
        "\u0915\u093c",
    ),
    *(
        "! sudo",
        "$ ls",
        "> ls",
        "| x",
        "a: b",
        "programs: git, rm (best effort)",
        "  in /tmp",
        "why: x",
        "x" * 20,
        "y" * 39,
    ),
    *(
        "null",
        "true",
        "1",
        "1.0",
        "-0.0",
        "[",
        "]",
        "{}",
        "[]",
        "\n\n",
        " \n",
        "\n ",
        "only the start is shown: the whole input has 9 bytes",
    ),
)
TEXT = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
NAME = (
    st.sampled_from(("command", "cmd", "script", "path", "file_path", "url", "query", "content", "a", "a: b", "b", ""))
    | TEXT
)
JSON = st.recursive(
    st.none() | st.booleans() | st.sampled_from((0, 1, 1.0, 0.0, -0.0, 12, "1", "null")) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=6,
)
INPUT = st.dictionaries(NAME, TEXT | JSON, max_size=3) | JSON
FIELDS = ("client", "session", "cwd", "model", "reason", "agent")
REQUEST = st.builds(
    PermissionRequest,
    tool=st.sampled_from(("Bash", "Write", "deploy")) | TEXT.filter(str.strip),
    input=INPUT,
    source=st.sampled_from(("rest", "codex")),
    **{name: st.just("") | TEXT for name in FIELDS},
)


def mutated(request: PermissionRequest, data: st.DataObject) -> PermissionRequest:
    """The same, but for one thing: a field, or a text or a value somewhere in the input."""
    name = data.draw(st.sampled_from(("tool", "input", "input", "input", *FIELDS)))
    if name != "input":
        value = data.draw(TEXT.filter(str.strip) if name == "tool" else TEXT)
        return msgspec.structs.replace(request, **{name: value})
    return msgspec.structs.replace(request, input=changed(request.input, data))


def changed(value: Any, data: st.DataObject) -> Any:
    if isinstance(value, str) and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(place, min(place + 2, len(value))))
        return value[:place] + data.draw(TEXT) + value[end:]
    if isinstance(value, dict) and value and data.draw(st.integers(0, 3)):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: changed(value[name], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], changed(value[place], data), *value[place + 1 :]]
    return data.draw(JSON)


def same(one: PermissionRequest, other: PermissionRequest) -> bool:
    """What is the same by its value: the order of keys does not count, and 1 is not 1.0."""
    return canonical(one) == canonical(other)


def canonical(request: PermissionRequest) -> str:
    return json.dumps({**msgspec.structs.asdict(request), "suggestions": None}, sort_keys=True)


@settings(max_examples=6 * settings.default.max_examples)
@given(REQUEST, st.data(), st.booleans())
def test_a_request_that_differs_in_one_thing_has_another_card(
    request_: PermissionRequest, data: st.DataObject, plain: bool
) -> None:
    other = mutated(request_, data)
    assert same(request_, other) or drawn(request_, plain=plain) != drawn(other, plain=plain)


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(INPUT, min_size=2, max_size=12), st.booleans())
def test_no_two_of_many_inputs_have_the_same_card(inputs: list[Any], plain: bool) -> None:
    requests = {canonical(one): one for one in (PermissionRequest("Bash", given_, "rest") for given_ in inputs)}
    cards = ["\n".join(drawn(one, plain=plain)) for one in requests.values()]
    assert len(set(cards)) == len(cards)


PAIRS: list[tuple[Any, Any]] = [
    ({"command": "a\u202eb"}, {"command": "a\\u202eb"}),
    ({"command": "x"}, {"cmd": "x"}),
    ({"file_path": "x"}, {"path": "x"}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1}, {"a": "1"}),
    ({"a": None}, {"a": "null"}),
    ({"a": "x\nb: y"}, {"a": "x", "b": "y"}),
    ({"a: b": "c"}, {"a": "b: c"}),
    ({"a": "x "}, {"a": "x"}),
    ({"a": "x\t"}, {"a": "x→   "}),
    ({"a": ""}, {}),
    ("x", {"x": ""}),
    ({"command": "rm -rf " + "x" * 33 + " y"}, {"command": "rm -rf " + "x" * 33 + "y"}),
    ({"command": "x" * 38 + " &&" + "y" * 9}, {"command": "x" * 38 + " && " + "y" * 9}),
    ({"a": "x" * 50}, {"a": "x" * 41 + "\n" + "x" * 9}),
    ({"command": "ls\n! sudo"}, {"command": "ls", "a": "! sudo"}),
    ({"a": "cafe\u0301"}, {"a": "caf\u00e9"}),
    ({"a": "ls\u037e"}, {"a": "ls;"}),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("width", [20, 44, 60, 120])
def test_what_has_looked_alike_no_longer_does(one: Any, other: Any, width: int) -> None:
    first, second = (drawn(PermissionRequest("Bash", given_, "rest"), width) for given_ in (one, other))
    assert first != second


@pytest.mark.parametrize(
    ("tool", "one", "other"),
    [
        ("Write", {"content": "a"}, {"content": "a\n"}),
        ("Write", {"content": "a\r\nb\n"}, {"content": "a\nb\r\n"}),
        ("Write", {"content": "a\r\nb\r\n"}, {"content": "a\nb\n"}),
        ("Write", {"content": "x"}, {"content": "x", "mode": "append"}),
        ("Edit", {"old_string": "", "new_string": "a"}, {"old_string": "", "new_string": "a", "replace_all": True}),
    ],
)
def test_differences_tell_files_apart(tool: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (drawn(PermissionRequest(tool, {"file_path": "/none/x", **more}, "rest")) for more in (one, other))
    assert first != second


LONG = "start " + "lorem ipsum " * 300 + "THE-VERY-END"


@pytest.mark.parametrize("name", ["tool", "input", "client", "session", "cwd", "model", "reason", "agent"])
@pytest.mark.parametrize("text", [LONG, "x" * 3000 + "THE-VERY-END"])
def test_the_end_of_every_long_field_is_on_the_card(name: str, text: str) -> None:
    request = msgspec.structs.replace(PermissionRequest("Bash", {"command": "ls"}, "rest"), **{name: text})
    card = "".join(line.removeprefix("↳ ").removeprefix("  ") for line in drawn(request))
    assert "THE-VERY-END" in card


@given(TEXT, TEXT)
@example("a\nb", "a")
def test_the_line_in_a_list_says_that_it_is_cut(command: str, more: str) -> None:
    view = view_of(PermissionRequest("Bash", {"command": f"{command}\n{more}\nx"}, "rest"))
    assert "\n" not in headline(view)
    assert not command.strip() or "more line" in headline(view)
