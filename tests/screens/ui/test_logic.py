"""The screens' logic without a screen: lists, texts, trees, words, the mirror, the session."""

from __future__ import annotations

import asyncio
import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from ccproxy_tui.core.control.frames import AskView, Frame, LogView, Segment, Status, TextFrame, Watch
from ccproxy_tui.core.hosting import ProxyDied
from ccproxy_tui.screens.split import columns_for
from ccproxy_tui.screens.ui import row_view, terminal, words
from ccproxy_tui.screens.ui.json_tree import JsonTree
from ccproxy_tui.screens.ui.list_model import ListModel
from ccproxy_tui.screens.ui.mirror import Changes, Mirror
from ccproxy_tui.screens.ui.session import Session, State
from ccproxy_tui.screens.ui.status_line import status_parts
from ccproxy_tui.screens.ui.text_model import MAX_LINES, TextModel
from tests.conftest import until
from tests.fakes.control import STATUS, FakeControl, FakeSource, live_row, make_detail, make_row

# --- words ---


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9949, "9.9k"),
        (9950, "10k"),
        (31_400, "31k"),
        (999_499, "999k"),
        (1_200_000, "1.2M"),
    ],
)
def test_tokens_fit_four_cells(count: int, text: str) -> None:
    assert words.tokens(count) == text
    assert len(text) <= 4


@pytest.mark.parametrize(
    ("value", "text"), [(None, "--"), (0.004, "0.00"), (0.61, "0.61"), (12.34, "12.3"), (128.4, "128"), (9.999, "10.0")]
)
def test_seconds_have_three_figures(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (2100, "2.1 kB"), (1_200_000, "1.2 MB"), (52_000_000, "52 MB")]
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


@given(st.text(max_size=40), st.integers(0, 30), st.booleans())
def test_a_fitted_text_is_exactly_as_wide_as_asked(text: str, width: int, right: bool) -> None:
    safe = "".join(char for char in text if char.isprintable())
    assert cell_len(words.fit(safe, width, right=right)) == width


@given(st.text(alphabet="ab 漢字é🎉", max_size=80), st.integers(2, 20))
def test_wrapped_lines_fit_and_lose_no_word(text: str, width: int) -> None:
    lines = words.wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


# --- the list ---


def numbers(model: ListModel, keys: list[str]) -> None:
    model.set_keys(keys, int, reverse=True)


def test_the_cursor_follows_new_rows_while_it_is_at_the_top() -> None:
    model = ListModel()
    numbers(model, ["1"])
    numbers(model, ["1", "2"])
    assert (model.cursor_key, model.cursor, model.unseen) == ("2", 0, 0)


def test_the_cursor_stays_with_its_row_once_it_left_the_top_and_new_rows_are_counted() -> None:
    model = ListModel()
    numbers(model, ["1", "2", "3"])
    model.move_to(1)
    numbers(model, ["1", "2", "3", "4", "5"])
    assert (model.cursor_key, model.cursor, model.unseen) == ("2", 3, 2)
    model.move_to(0)
    assert model.unseen == 0


def test_rows_that_a_filter_kept_out_are_nothing_new_when_it_goes() -> None:
    model = ListModel()
    everything = [str(number) for number in range(1, 9)]
    numbers(model, everything)
    model.move_to(7)
    model.set_keys(["1", "6"], int, reverse=True, everything=everything)
    numbers(model, everything)
    assert model.unseen == 0
    everything = [*everything, "9"]
    model.set_keys(["1", "6"], int, reverse=True, everything=everything)
    assert model.unseen == 0, "what is new is not among those that are shown"
    numbers(model, everything)
    assert model.unseen == 1


def test_no_more_rows_are_new_than_there_are() -> None:
    model = ListModel()
    numbers(model, ["1", "2"])
    model.move_to(1)
    for number in range(3, 100):
        numbers(model, ["1", *(str(one) for one in range(max(number - 5, 2), number))])
    assert model.unseen <= 5


def test_it_follows_only_at_the_top() -> None:
    model = ListModel()
    numbers(model, ["1", "2"])
    assert model.following
    model.move_to(1)
    assert not model.following


def test_paused_following_keeps_the_row_even_at_the_top() -> None:
    model = ListModel()
    model.follow = False
    numbers(model, ["1"])
    numbers(model, ["1", "2"])
    assert (model.cursor_key, model.cursor, model.unseen) == ("1", 1, 1)


def test_when_the_row_under_the_cursor_goes_its_neighbour_takes_over() -> None:
    model = ListModel()
    numbers(model, ["1", "2", "3", "4"])
    model.move_to(2)
    numbers(model, ["1", "3", "4"])
    assert model.cursor_key == "1"
    numbers(model, [])
    assert (model.cursor_key, model.cursor) == (None, 0)


def test_pinned_rows_stand_first() -> None:
    model = ListModel()
    numbers(model, ["1", "2", "3"])
    assert model.toggle_pin("1")
    numbers(model, ["1", "2", "3"])
    assert model.order == ["1", "3", "2"]
    assert not model.toggle_pin("1")


@given(st.lists(st.tuples(st.sampled_from("amug"), st.integers(0, 30)), max_size=40))
def test_the_cursor_is_always_on_a_row_that_is_there(steps: list[tuple[str, int]]) -> None:
    model = ListModel()
    keys: list[str] = []
    for verb, number in steps:
        if verb == "a" and str(number) not in keys:
            keys.append(str(number))
        elif verb == "g" and keys:
            keys.pop(number % len(keys))
        elif verb == "m":
            model.move_by(number - 15)
        numbers(model, keys)
        assert (model.cursor_key in keys) if keys else model.cursor_key is None


# --- live text ---


def segments(*parts: tuple[int, str, str]) -> list[Segment]:
    return [Segment(block, kind, text) for block, kind, text in parts]  # type: ignore[arg-type]


def test_text_grows_at_its_end_and_says_from_which_line_on() -> None:
    model = TextModel(20)
    assert model.append(segments((0, "text", "hello world"))) == 0
    assert model.append(segments((0, "text", " and more of it"))) == 0
    assert [line.text for line in model.lines] == ["hello world and more", "of it"]
    assert model.append(segments((0, "text", "!"))) == 1
    assert model.append(segments((0, "text", "\nnext"))) == 2


def test_blocks_stand_apart_and_arguments_belong_to_their_tool() -> None:
    model = TextModel(40)
    model.append(segments((0, "thinking", "hm"), (1, "text", "so")))
    model.append([Segment(2, "tool", "", "Bash"), Segment(2, "arguments", '{"a"'), Segment(2, "arguments", ":1}")])
    assert [(line.kind, line.text) for line in model.lines] == [
        ("thinking", "hm"),
        ("text", ""),
        ("text", "so"),
        ("tool", ""),
        ("tool", "Bash"),
        ("arguments", '  {"a":1}'),
    ]


def test_text_from_a_model_can_not_act_on_the_terminal() -> None:
    model = TextModel(60)
    model.append(segments((0, "text", "a\x1b[2Jb\u202ec\r\nd\x07")))
    assert [line.text for line in model.lines] == ["a\\x1b[2Jb\\u202ec", "d\\x07"]


def test_a_new_width_wraps_everything_again() -> None:
    model = TextModel(10)
    model.append(segments((0, "text", "one two three four")))
    assert model.set_width(100)
    assert [line.text for line in model.lines] == ["one two three four"]
    assert not model.set_width(100)


def test_an_endless_text_keeps_its_end_only() -> None:
    model = TextModel(10)
    for number in range(MAX_LINES * 3):
        model.append(segments((0, "text", f"{number}\n")))
    assert len(model.lines) <= MAX_LINES * 2 + 1
    assert model.lines[-2].text == str(MAX_LINES * 3 - 1)
    assert model.trimmed > 0


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["text", "thinking"]), st.text(max_size=12)), max_size=20),
    st.integers(1, 12),
)
def test_growing_piece_by_piece_ends_as_laying_out_at_once(parts: list[tuple[int, str, str]], width: int) -> None:
    grown = TextModel(width)
    for part in parts:
        before = list(grown.lines)
        first = grown.append(segments(part))
        assert grown.lines[:first] == before[:first]
    again = TextModel(width + 1)
    for part in parts:
        again.append(segments(part))
    again.set_width(width)
    assert grown.lines == again.lines


# --- the JSON tree ---


def texts(tree: JsonTree) -> list[str]:
    return [line.text for line in tree.lines]


def test_long_strings_and_images_are_shown_by_size() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "A" * 400_000}
    tree = JsonTree({"text": "x" * 3000, "source": image, "url": "data:image/jpeg;base64," + "B" * 4000}, depth=3)
    joined = "\n".join(texts(tree))
    assert "(3.0 kB)" in joined
    assert "<image/png 300 kB>" in joined
    assert "<image/jpeg 3.0 kB>" in joined
    assert "AAAA" not in joined


def test_folding_and_unfolding() -> None:
    tree = JsonTree({"a": [1, 2], "b": {"type": "text", "text": "hello"}}, depth=1)
    assert texts(tree) == ["- {", '  + "a": [ 2 items ],', '  + "b": { "text" hello }', "  }"]
    tree.toggle(1)
    assert texts(tree)[1:5] == ['  - "a": [', "      1,", "      2", "    ],"]
    tree.toggle(1)
    assert len(texts(tree)) == 4


def test_a_huge_list_is_shown_in_parts() -> None:
    tree = JsonTree(list(range(5000)), depth=1)
    assert len(tree.lines) < 250
    assert "4800 more" in texts(tree)[-2]
    tree.toggle(len(tree.lines) - 2)
    assert len(tree.lines) > 1000


def test_searching_opens_what_hides_the_match() -> None:
    tree = JsonTree({"messages": [{"role": "user", "content": [{"text": "the needle is here"}]}]}, depth=1)
    found = tree.find("NEEDLE", 0)
    assert found is not None
    assert "needle" in texts(tree)[found]
    assert tree.find("not there", 0) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
        max_leaves=20,
    )
)
@example("\n\t")
def test_any_json_is_drawn_without_control_characters(value: object) -> None:
    tree = JsonTree(value, depth=9)
    for index in reversed(range(len(tree.lines))):
        tree.toggle(index)
    assert all(unicodedata.category(char) not in ("Cc", "Cs") for text in texts(tree) for char in text)
    json.dumps(value)


# --- the mirror ---


def test_questions_change_one_by_one() -> None:
    mirror = Mirror()
    one, two = (AskView(name, "Bash", "pending") for name in "12")
    mirror.apply(Frame(1, reset=True, asks=[one, two], ask_ids=["1", "2"]))
    three, over = AskView("3", "Edit", "pending"), AskView("1", "Bash", "allowed")
    changes = mirror.apply(Frame(2, asks=[three, over], ask_ids=["2", "3", "1"]))
    assert changes.asks
    assert mirror.asks == [two, three, over]
    mirror.apply(Frame(3, asks=[], ask_ids=["3"]))
    assert mirror.asks == [three]
    mirror.apply(Frame(4, asks=[one]))
    assert mirror.asks == [one], "without names it is all of them"


def test_frames_change_the_mirror_and_say_what_changed() -> None:
    mirror = Mirror()
    first = mirror.apply(Frame(1, reset=True, status=STATUS, rows=[live_row(1), make_row(2)]))
    assert (first.reset, first.added, first.status) == (True, {live_row(1).id, make_row(2).id}, True)
    second = mirror.apply(Frame(2, rows=[make_row(1)], gone=[make_row(2).id]))
    assert (second.added, second.rows, second.gone) == (set(), {make_row(1).id}, {make_row(2).id})
    assert [row.state for row in mirror.rows.values()] == ["200"]


def test_texts_are_joined_and_reset() -> None:
    mirror = Mirror()
    mirror.apply(Frame(texts=[TextFrame("a", segments((0, "text", "x")), reset=True)]))
    mirror.apply(Frame(texts=[TextFrame("a", segments((0, "text", "y")), ended=True)]))
    log = mirror.texts["a"]
    assert ("".join(s.text for s in log.segments), log.ended) == ("xy", True)
    mirror.apply(Frame(texts=[TextFrame("a", segments((0, "text", "z")), reset=True)]))
    assert [s.text for s in log.segments] == ["z"]
    mirror.forget(Watch())
    assert mirror.texts == {}


def test_what_a_proxy_leaves_when_it_ends_is_said_to_be_unknown() -> None:
    mirror = Mirror()
    live, done = live_row(1), make_row(2)
    mirror.apply(Frame(1, reset=True, status=STATUS, rows=[live, done], detail=make_detail(live)))
    changes = mirror.lose("stopped by SIGTERM at 12:00")
    assert (changes.rows, changes.detail) == ({live.id}, True)
    lost = mirror.rows[live.id]
    assert (lost.live, lost.state, lost.end, lost.error) == (False, "ERR", "proxy_ended", "stopped by SIGTERM at 12:00")
    assert mirror.rows[done.id] == done
    assert mirror.detail is not None
    assert mirror.detail.row == lost


def test_log_lines_are_counted() -> None:
    mirror = Mirror()
    assert mirror.apply(Frame(logs=[LogView(1, 1.0, "info", "x", "y")])).logs == 1


# --- rows and bars ---


@pytest.mark.parametrize("width", [40, 60, 71, 72, 80, 109, 110, 120, 300])
def test_columns_always_fit(width: int) -> None:
    found = row_view.columns(width, lambda started: "4s")
    assert sum(column.width + 1 for column in found) < width
    assert len(found) == (5 if width < 72 else 7 if width < 110 else 11)


@pytest.mark.parametrize(
    ("name", "short"),
    [("claude-sonnet-4-5-20250929", "sonnet-4-5"), ("gpt-5-codex", "gpt-5-codex"), ("o3", "o3"), ("", "")],
)
def test_models_have_short_names(name: str, short: str) -> None:
    assert row_view.short_model(name) == short


def test_the_status_bar_says_what_matters_first() -> None:
    left, _ = status_parts(STATUS, "up", "", 60)
    text = "".join(part for part, _ in left)
    assert text.startswith(" * :8000")
    assert "claude ok 3h12m" in text
    assert "codex LOGIN" in text
    lost, _ = status_parts(Status(), "lost", "killed \x1b[2J", 80)
    assert "trying again" in "".join(part for part, _ in lost)
    assert "\x1b" not in "".join(part for part, _ in lost)


@pytest.mark.parametrize(
    ("count", "width", "height", "columns"),
    [(4, 120, 33, 2), (3, 120, 33, 3), (2, 60, 12, 1), (6, 120, 33, 3), (6, 60, 12, 3), (2, 80, 20, 2), (4, 40, 30, 1)],
)
def test_panes_share_the_screen(count: int, width: int, height: int, columns: int) -> None:
    assert columns_for(count, width, height) == columns


# --- the session ---


class Listener:
    def __init__(self) -> None:
        self.changes: list[Changes] = []
        self.states: list[tuple[State, str]] = []

    def on_state(self, state: State, problem: str) -> None:
        self.states.append((state, problem))


async def test_a_session_comes_back_after_its_proxy_died(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.screens.ui.session.BACKOFF_FIRST", 0.001)
    first, second = FakeControl(Frame(reset=True)), FakeControl(Frame(reset=True, rows=[make_row(1)]))
    listener = Listener()
    source = FakeSource(first, second)
    session = Session(source, listener.changes.append, listener.on_state)
    task = asyncio.ensure_future(session.run())
    await until(lambda: session.state == "up")
    first.lose()
    await until(lambda: session.state == "up" and source.connections == 2)
    assert listener.states[1] == ("lost", "the proxy was killed by SIGKILL")
    assert ("close",) in first.calls
    assert len(session.mirror.rows) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_bad_settings_are_not_tried_again() -> None:
    class Broken(FakeSource):
        async def connect(self):  # type: ignore[no-untyped-def]
            self.connections += 1
            raise ProxyDied("server.port: not a number", 2)

    listener = Listener()
    source = Broken(FakeControl())
    session = Session(source, listener.changes.append, listener.on_state)
    await asyncio.wait_for(session.run(), 2)
    assert (session.state, session.fatal_code, source.connections) == ("failed", 2, 1)
    assert listener.states == [("failed", "server.port: not a number")]


async def test_quick_changes_of_what_is_watched_send_the_last_one() -> None:
    control = FakeControl(Frame(reset=True))
    session = Session(FakeSource(control), lambda changes: None, lambda state, problem: None)
    task = asyncio.ensure_future(session.run())
    await until(lambda: session.state == "up")
    for number in range(10):
        session.look_at(Watch(detail=str(number)))
    await until(lambda: control.watches[-1].detail == "9")
    assert len(control.watches) < 6
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("environ", "sequence"),
    [
        ({}, "\x1b]9;a\\x1bb;c\x07"),
        ({"TERM": "xterm-kitty"}, "\x1b]99;;a\\x1bb;c\x1b\\"),
        ({"TERM": "foot"}, "\x1b]777;notify;ccproxy;a\\x1bb,c\x1b\\"),
        ({"TERM": "tmux-256color", "TMUX": "1"}, "\x1bPtmux;\x1b\x1b]9;a\\x1bb;c\x07\x1b\\"),
    ],
)
def test_a_notification_is_in_the_terminals_own_words(environ: dict[str, str], sequence: str) -> None:
    written: list[str] = []
    terminal.notify(written.append, "a\x1bb;c", environ)
    assert written == [sequence]
