"""Screens on a fake proxy with a still clock, and snapshots of them as plain text."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ccproxy_tui.app import CCProxyApp
from ccproxy_tui.core.control.frames import Frame
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.settings.live import LiveSettings
from ccproxy_tui.core.system.paths import Paths
from tests.fakes.clock import FakeClock
from tests.fakes.control import STARTED, STATUS, FakeControl, FakeSource, live_row, make_detail, make_row

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = {"wide": (120, 36), "mid": (80, 24), "narrow": (60, 15)}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time zone and no animation everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")


def busy_frame() -> Frame:
    rows = [make_row(number) for number in range(1, 12)]
    rows[3] = make_row(
        4, state="429", status=429, end="upstream_error", error="upstream answered 429", rate=None, tokens_out=0
    )
    rows[5] = make_row(6, state="499", end="client_gone")
    rows[7] = make_row(8, state="ERR", end="cut", error="The connection broke.")
    return Frame(1, reset=True, status=STATUS, rows=[*rows, live_row(12)])


@pytest.fixture
def control() -> FakeControl:
    fake = FakeControl(busy_frame())
    fake.details = {row.id: make_detail(row) for row in busy_frame().rows}
    return fake


def own_settings(**ui: object) -> LiveSettings:
    """The settings of the terminal that the screens run in."""
    return LiveSettings(load(flags={f"--{name}": (("ui", name), value) for name, value in ui.items()}))


def make_app(
    control: FakeControl, *, owned: bool = True, remember: bool = False, is_demo: bool = False, **ui: object
) -> CCProxyApp:
    return CCProxyApp(
        FakeSource(control, owned=owned),
        own_settings(**({"theme": "dark", **ui} if ui.get("theme", "") is not None else {})),
        FakeClock(STARTED),
        Paths.of_user(),
        remember=remember,
        is_demo=is_demo,
    )


@pytest.fixture
def app(control: FakeControl) -> CCProxyApp:
    return make_app(control)


def screen_text(app: CCProxyApp) -> str:
    """What is on screen, as lines."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


Compare = Callable[[CCProxyApp, str], None]


@pytest.fixture
def same_as(request: pytest.FixtureRequest) -> Compare:
    """Compare the screen with its text file; `--snapshot-update` writes it."""

    def compare(app: CCProxyApp, name: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        text = screen_text(app) + "\n"
        if request.config.getoption("--snapshot-update"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        assert path.exists(), f"no snapshot {name}; run make snapshots"
        assert text == path.read_text("utf-8")

    return compare
