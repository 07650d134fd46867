"""Screens that were left are freed soon, with all that Textual keeps of them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from ccproxy_tui.app import CCProxyApp
from ccproxy_tui.core.control.frames import Watch
from tests.conftest import until
from tests.fakes.control import FakeControl


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Python's own collections come at any time: here only those that are asked for."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def time_outs(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls have a time-out, as those over a socket do. An event loop keeps it until its time, cancelled or not."""

    async def look_at(watch: Watch) -> None:
        async with asyncio.timeout(60):
            control.watches.append(watch)

    monkeypatch.setattr(control, "look_at", look_at)


@pytest.mark.parametrize("key", ["v", "enter"])
@pytest.mark.usefixtures("no_collection", "time_outs")
async def test_what_was_left_is_freed_soon(app: CCProxyApp, key: str) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        left: list[list[weakref.ref[object]]] = []
        for _ in range(4):
            await pilot.press(key)
            await until(lambda: len(app.screen_stack) == 2 and app.screen.is_mounted)
            await pilot.pause()
            left.append(references_to(app))
            await pilot.press("escape")
            await until(lambda: len(app.screen_stack) == 1)
        every = [reference for visit in left for reference in visit]
        assert len(every) > 60
        await until(lambda: not any(reference() is not None for reference in every), seconds=10)


@pytest.mark.usefixtures("no_collection")
async def test_what_was_left_is_freed_while_more_is_left(app: CCProxyApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        first: list[weakref.ref[object]] = []
        for _ in range(60):
            await pilot.press("v")
            await until(lambda: len(app.screen_stack) == 2 and app.screen.is_mounted)
            first = first or references_to(app)
            await pilot.press("escape")
            await until(lambda: len(app.screen_stack) == 1)
            if not any(reference() is not None for reference in first):
                return
        pytest.fail("none is freed until the last is left")


def references_to(app: CCProxyApp) -> list[weakref.ref[object]]:
    nodes = app.screen.walk_children(with_self=True)
    return [weakref.ref(thing) for node in nodes for thing in (node, node._styles_cache)]  # type: ignore[attr-defined]
