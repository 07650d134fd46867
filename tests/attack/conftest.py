"""Fixtures of the attacks: each starts real processes of its own and ends them by pid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attack.box import Loot, Served, collect, start

StartServe = Callable[..., Served]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project folder: what `git clone` would have left."""
    path = tmp_path / "project"
    (path / ".git").mkdir(parents=True)
    return path


@pytest.fixture
def serve(folder: Path) -> Iterator[StartServe]:
    """Starts `ccproxy-tui serve` in the project folder (or another one)."""
    served: list[Served] = []

    def begin(*arguments: str, cwd: Path | None = None, **environ: str) -> Served:
        served.append(start(cwd or folder, *arguments, environ=environ))
        return served[-1]

    yield begin
    for one in served:
        one.stop()


@pytest.fixture
def loot() -> Iterator[Loot]:
    """The attacker's server."""
    found = Loot("")
    server = collect(found)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def second_user() -> None:
    """The attack needs a second uid, which only root can become."""
    if os.getuid() != 0:
        if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
            pytest.fail("a second user needs root")
        pytest.skip("a second user needs root")


@pytest.fixture(autouse=True)
def defaults(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks meet the checks that users have; the other tests decide without a terminal."""
    monkeypatch.delenv("PERMISSIONS__DECIDERS")
