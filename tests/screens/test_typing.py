"""Keys that come faster than the screens follow, and the lines that they are typed into."""

from __future__ import annotations

import pytest
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.command import CommandList
from textual.widgets import Input

from ccproxy_tui.app import CCProxyApp
from ccproxy_tui.screens.ui.palette import Palette
from tests.conftest import until
from tests.fakes.control import FakeControl
from tests.screens.conftest import SIZES, make_app, screen_text
from tests.screens.test_screens import ENTRIES, settle

_NAMES = {"\r": "enter", "\x1b": "escape", "/": "slash", " ": "space", "?": "question_mark", ":": "colon", "-": "minus"}


def burst(app: CCProxyApp, text: str) -> None:
    """Everything at once, as a terminal hands over what was pasted."""
    for character in text:
        app.post_message(events.Key(_NAMES.get(character, character), character))


@pytest.mark.parametrize("tab", ["1", "7", "8"])
async def test_what_follows_a_slash_at_once_goes_into_the_filter(app: CCProxyApp, tab: str) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        burst(app, f"{tab}/yes q:p")
        await until(lambda: isinstance(app.focused, Input) and app.focused.value == "yes q:p")
        await settle(pilot)
        assert len(app.screen_stack) == 1, "no dialog was opened by it"
        assert "/ yes q:p" in screen_text(app)


async def test_in_the_inspector_too(app: CCProxyApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        burst(app, "\r3/xylo\r")
        await settle(pilot)
        burst(app, "/")
        await until(lambda: isinstance(app.focused, Input))
        assert app.focused.value == "xylo"  # type: ignore[union-attr]


async def test_a_filter_that_is_typed_and_kept_in_one_burst_is_kept(app: CCProxyApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        burst(app, "/opus\rj/\x1b")
        await settle(pilot)
        await until(lambda: app.focused is not None and app.focused.id == "streams-list")
        burst(app, "/haiku\rj")
        await until(lambda: app.remembered.filter == "haiku")


@pytest.mark.parametrize(("keys", "call"), [("3l", "login"), ("3r", "renew")])
async def test_keys_on_a_screen_that_opens_wait_for_its_rows(
    app: CCProxyApp, control: FakeControl, keys: str, call: str
) -> None:
    async with app.run_test(size=(100, 30)):
        await until(lambda: len(app.session.mirror.rows) == 12)
        burst(app, keys)
        await until(lambda: any(call in name for name, *_ in control.calls))


async def test_keys_on_screens_that_are_built_and_taken_down_do_no_harm(control: FakeControl) -> None:
    app = make_app(control)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        burst(app, "\r]]3/x\r\x1bv++\x1b23\r\x1b4578w\x1b1\r]\x1bvf\x1b?\x1b" * 4)
        await until(lambda: app._keyboard.idle, seconds=30)
        await settle(pilot)
        assert app.is_running
        assert app._exception is None


# keys that open a line on a fresh screen, and those that close it
LINES = {
    "streams": ("1/", "\x1b"),
    "logs": ("7/", "\x1b"),
    "settings": ("8/", "\x1b"),
    "find": ("1\r3/", "\x1b\x1b"),
    "a setting": ("8\r", "\x1b"),
    "a model": ("8t", "\x1b"),
    "login": ("3l", "\x1b"),
}


SOME = ("streams", "a setting")
LOOKS = [
    ("dark", "wide", SOME),
    ("dark", "mid", tuple(LINES)),
    ("dark", "narrow", tuple(LINES)),
    ("light", "mid", SOME),
    ("ansi", "narrow", SOME),
    ("mono", "mid", SOME),
]


@pytest.mark.parametrize(("theme", "size", "names"), LOOKS)
async def test_what_is_typed_its_cursor_and_the_placeholder_are_seen(
    control: FakeControl, theme: str, size: str, names: tuple[str, ...]
) -> None:
    control.entries = ENTRIES
    app = make_app(control, theme=theme)
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        for name in names:
            keys, close = LINES[name]
            burst(app, keys)
            await until(lambda: isinstance(app.focused, Input), seconds=10)
            field = app.focused
            assert isinstance(field, Input)
            field.value = ""
            await settle(pilot)
            if field.placeholder:
                shown = field.placeholder[: field.size.width - 1].rstrip()[1:]
                assert shown in screen_text(app), f"no placeholder in {name}"
            burst(app, "zebra")
            await until(lambda field=field: field.value == "zebra")  # type: ignore[misc]
            await settle(pilot)
            text, cursor = cells_of(app, field)
            assert "".join(cell.text for cell in text) == "zebra", f"{name} hides what is typed"
            assert all(is_legible(cell.style) for cell in text), name
            assert cursor.style != text[0].style, f"no cursor in {name}"
            burst(app, close)
            await until(lambda: not isinstance(app.focused, Input), seconds=10)


def cells_of(app: CCProxyApp, field: Input) -> tuple[list[Segment], Segment]:
    """The five cells of the text as they are drawn, and that of the cursor behind it."""
    region = field.content_region
    strip = app.screen._compositor.render_strips()[region.y]
    cells = [Segment(letter, part.style) for part in strip for letter in part.text]
    return cells[region.x : region.x + 5], cells[region.x + 5]


def is_legible(style: Style | None) -> bool:
    return style is None or style.color is None or style.color.is_default or style.color != style.bgcolor


async def test_a_long_complaint_leaves_room_for_what_is_typed(control: FakeControl) -> None:
    app = make_app(control)
    async with app.run_test(size=SIZES["narrow"]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        burst(app, "/nothing:like_this")
        await settle(pilot)
        await until(lambda: "nothing:like_this" in screen_text(app))


async def test_keys_in_an_empty_palette_and_in_one_that_closes_do_nothing(app: CCProxyApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("ctrl+p")
        await until(lambda: isinstance(app.screen, Palette))
        await pilot.press(*"qqqq", "pagedown", "pageup", "home", "end", "pagedown")
        palette = app.screen
        assert isinstance(palette, Palette)
        palette.dismiss()
        palette.dismiss()
        palette._refresh_command_list(palette.query(CommandList).first(), [], True)
        await settle(pilot)
        assert len(app.screen_stack) == 1
