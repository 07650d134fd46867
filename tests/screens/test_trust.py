"""The dialog about files of the folder, the line on every screen, and whose theme counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccproxy_tui.app import TABS, CCProxyApp
from ccproxy_tui.core.control.frames import Frame
from ccproxy_tui.core.settings.offer import Change, Offer
from ccproxy_tui.core.settings.trust import TrustStore
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.screens.trust import TrustDialog
from ccproxy_tui.screens.ui.session_state import SessionState, load_state, save_state
from tests.conftest import until
from tests.fakes.clock import FakeClock
from tests.fakes.control import STARTED, STATUS, FakeControl, FakeSource
from tests.screens.conftest import SIZES, busy_frame, own_settings, screen_text

FILE = Path("/home/me/repo/.ccproxy.toml")


def offer(*changes: Change) -> Offer:
    made = changes or (Change("claude.cli_path", "./tools/run", ""),)
    return Offer(FILE, "d1", {change.key: change.value for change in made}, list(made))


def app_with(
    control: FakeControl, *offers: Offer, ui: dict[str, object] | None = None, remember: bool = True
) -> CCProxyApp:
    paths = Paths.of_user()
    if remember and load_state(paths.state / "screens.json") == SessionState():
        save_state(paths.state / "screens.json", SessionState(welcomed=True))
    clock = FakeClock(STARTED)
    own = own_settings(**({"theme": "dark"} if ui is None else ui))
    return CCProxyApp(FakeSource(control), own, clock, paths, remember=remember, offers=offers)


def store() -> TrustStore:
    return TrustStore(Paths.of_user())


async def opened(app: CCProxyApp, pilot: Any) -> None:
    """Wait until the dialog is painted, which is when it begins to arm."""
    await until(lambda: isinstance(app.screen, TrustDialog) and app.screen.is_painted)
    await pilot.pause()


def armed(app: CCProxyApp) -> None:
    app.clock.advance(1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", SIZES)
async def test_the_dialog_shows_the_whole_change_and_T_trusts_it(control: FakeControl, size: str) -> None:
    app = app_with(control, offer(Change("claude.cli_path", "./tools/" + "x" * 200 + "/run", "")))
    async with app.run_test(size=SIZES[size]) as pilot:
        await opened(app, pilot)
        text = screen_text(app)
        assert str(FILE) in text
        assert text.count("x") >= 200
        assert "T trust" in text
        armed(app)
        await pilot.press("T")
        await pilot.pause()
    assert app.return_value == "trust"
    assert store().trusts(FILE, "d1")


async def test_a_key_typed_ahead_trusts_nothing(control: FakeControl) -> None:
    app = app_with(control, offer())
    async with app.run_test() as pilot:
        await opened(app, pilot)
        await pilot.press("T")
        assert "Ignored" in screen_text(app)
        armed(app)
        await pilot.press("x", "T")
        assert isinstance(app.screen, TrustDialog)
        assert store().records() == {}


@pytest.mark.parametrize("key", ["escape", "enter", "n", "q"])
async def test_every_other_way_out_trusts_nothing_and_is_remembered_for_this_content(
    control: FakeControl, key: str
) -> None:
    app = app_with(control, offer())
    async with app.run_test() as pilot:
        await opened(app, pilot)
        armed(app)
        await pilot.press(key)
        await pilot.pause()
        assert not isinstance(app.screen, TrustDialog)
        assert app.is_running
    assert store().records() == {}
    again = app_with(control, offer())
    async with again.run_test() as pilot:
        await pilot.pause()
        assert not isinstance(again.screen, TrustDialog)
    changed = app_with(control, Offer(FILE, "d2", {}, offer().changes))
    async with changed.run_test() as pilot:
        await opened(changed, pilot)


async def test_a_long_change_is_read_to_its_end_first(control: FakeControl) -> None:
    app = app_with(control, offer(*(Change(f"key{number}", "x" * 50, "") for number in range(60))))
    async with app.run_test(size=SIZES["mid"]) as pilot:
        await opened(app, pilot)
        armed(app)
        await pilot.press("T")
        assert "Scroll to the end" in screen_text(app)
        for _ in range(12):
            armed(app)
            await pilot.press("T")
            await pilot.pause()
            if not isinstance(app.screen, TrustDialog):
                break
        else:
            pytest.fail("the end was never reached")
    assert store().trusts(FILE, "d1")


async def test_nothing_in_the_dialog_reaches_the_terminal_unescaped(control: FakeControl) -> None:
    app = app_with(control, offer(Change("a\x1b[31m", "b\u202e [bold]c", "\x07")))
    async with app.run_test() as pilot:
        await opened(app, pilot)
        text = screen_text(app)
    assert r"a\x1b[31m = b\u202e [bold]c" in text


@pytest.mark.parametrize("size", SIZES)
async def test_the_line_is_on_every_screen_while_a_project_file_decides_something(size: str) -> None:
    words = "1 setting of ./.ccproxy.toml in force: http.proxy\x1b[31m"
    frame = msgspec.structs.replace(busy_frame(), status=msgspec.structs.replace(STATUS, project=words))
    app = app_with(FakeControl(frame), remember=False)
    async with app.run_test(size=SIZES[size]) as pilot:
        await pilot.pause()
        for tab in TABS:
            app.open_tab(tab)
            await pilot.pause()
            lines = screen_text(app).splitlines()
            assert lines[1].startswith(r" 1 setting of ./.ccproxy.toml in force: http.proxy\x1b"), tab


async def test_no_line_while_nothing_is_decided(control: FakeControl) -> None:
    app = app_with(control, remember=False)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert not app.screen.query_one("#trust-line").display


@pytest.mark.parametrize(
    ("ui", "expected"),
    [
        ({}, "light"),
        ({"theme": "dark"}, "dark"),
        ({"theme": "mono", "mouse": False}, "mono"),
        ({"mouse": False}, "light"),
    ],
)
async def test_a_configured_theme_wins_over_a_remembered_one(
    control: FakeControl, ui: dict[str, object], expected: str
) -> None:
    path = Paths.of_user().state / "screens.json"
    save_state(path, SessionState(theme="light", welcomed=True))
    app = app_with(control, ui=ui)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.theme == expected
    assert load_state(path).theme == "light", "what is configured is not remembered as if it had been chosen"


def test_a_frame_carries_the_line() -> None:
    status = msgspec.structs.replace(STATUS, project="x")
    raw = msgspec.json.encode(Frame(1, status=status))
    assert msgspec.json.decode(raw, type=Frame).status == status
