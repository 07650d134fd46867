"""Screens that were left are freed soon, with all that Textual keeps of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from ccproxy_tui.app import CCProxyApp
from tests.conftest import until


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Python's own collections come at any time: here only those that are asked for."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("key", ["v", "enter"])
@pytest.mark.usefixtures("no_collection")
async def test_what_was_left_is_freed_soon(app: CCProxyApp, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.app.FREE_SECONDS", 0.2)
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
        earlier = [reference for visit in left[:-1] for reference in visit]  # an event loop may hold the last one
        assert len(earlier) > 40
        await until(lambda: not any(reference() is not None for reference in earlier), seconds=10)


def references_to(app: CCProxyApp) -> list[weakref.ref[object]]:
    nodes = app.screen.walk_children(with_self=True)
    return [weakref.ref(thing) for node in nodes for thing in (node, node._styles_cache)]  # type: ignore[attr-defined]
