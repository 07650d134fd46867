"""Two HOMEs of one user share its runtime folders: each has its own proxies, and ends none of the other's."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pty.terminal import program
from tests.pty.test_terminal import free_port

RUNTIME = "XDG_RUNTIME_DIR"


class Install:
    """A HOME, in the shell of its user."""

    def __init__(self, home: Path, shared: dict[str, str]) -> None:
        home.mkdir()
        self.state = home / ".local" / "state" / "ccproxy"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        self.environ = {**kept, **shared, "HOME": str(home)}

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            program(*arguments), env=self.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=40
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def shared(clean_environment: None, tmp_path: Path) -> dict[str, str]:
    folders = {RUNTIME: str(tmp_path / "shared"), "TMPDIR": str(tmp_path / "temporary")}
    for folder in folders.values():
        Path(folder).mkdir(mode=0o700)
    return folders


@pytest.fixture
def first(shared: dict[str, str], tmp_path: Path) -> Install:
    return Install(tmp_path / "first", shared)


@pytest.fixture
def second(shared: dict[str, str], tmp_path: Path) -> Install:
    return Install(tmp_path / "second", shared)


@pytest.fixture(params=[RUNTIME, ""], ids=["in the temporary folder", "in XDG_RUNTIME_DIR"])
def port(first: Install, request: pytest.FixtureRequest) -> Iterator[int]:
    """A proxy of the first HOME."""
    port = free_port()
    environ = {name: value for name, value in first.environ.items() if name != request.param}
    served = subprocess.Popen(
        program("serve", "--port", str(port)),
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while first.run("status", "--line")[0] != 0:
        assert served.poll() is None
        assert time.monotonic() < deadline
    yield port
    served.terminate()
    served.wait(20)


@pytest.mark.timeout(120)
def test_a_home_sees_and_ends_its_own_proxies_alone(first: Install, second: Install, port: int) -> None:
    assert first.run("status", "--line") == (0, f":{port} 0 live\n")
    status, printed = second.run("status")
    assert status == 4
    assert f"has one on port {port} ({first.state})" in printed
    assert second.run("status", "--line") == (4, "ccproxy off\n")
    for command in (["stop"], ["stop", str(port)], ["attach", "--plain"], ["ask", "deploy?"]):
        status, printed = second.run(*command)
        assert (status, "No proxy runs" in printed) == (4, True), (command, printed)
    status, printed = second.run("serve", "--port", str(port))
    assert status != 0
    assert f"of another HOME or XDG_STATE_HOME ({first.state})" in printed
    assert first.run("stop") == (0, "stopped\n")
