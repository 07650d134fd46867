"""The wall clock of front ends jumps by a day, forward and back, or that of their proxy: no time they show follows."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attack import box
from tests.faults.test_clock import Shift
from tests.pty.terminal import Terminal
from tests.pty.test_guards import Asker
from tests.pty.test_terminal import Start, start

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(120)]

SECONDS = 25  # that a permission request waits
MARGIN = 4.0
STREAM = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"demo: tokens=9000, pace=50, wait=0.1"}]}'


@pytest.fixture
def shift(tmp_path: Path) -> Shift:
    return Shift.new(tmp_path / "shift")


@pytest.fixture(params=["front end", "proxy"])
def whose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(shift: Shift, whose: str) -> Iterator[box.Served]:
    faked = shift.environ if whose == "proxy" else {}
    served = box.start(Path.home(), environ={**faked, "PERMISSIONS__TIMEOUT_SECONDS": str(SECONDS)})
    yield served
    served.stop()


def stream(port: int) -> None:
    """Be a client whose stream goes on until the proxy ends."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/demo/v1/messages", STREAM, {"content-type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError), opener.open(request, timeout=60) as answer:
        while answer.read1(65536):
            pass


def seconds_in(pattern: str, terminal: Terminal) -> float:
    terminal.wait_for(lambda: re.search(pattern, terminal.text) is not None)
    found = re.search(pattern, terminal.text)
    assert found is not None
    return float(found[1])


def assert_times(screens: Terminal, place: str, streaming: float, asked: float) -> None:
    """The age of the stream, or the time that is left for a decision, is that of a clock which does not jump."""
    if place == "list":
        assert seconds_in(r"live +(\d+)s", screens) == pytest.approx(time.monotonic() - streaming, abs=MARGIN)
    else:
        left = seconds_in(r"1 of 1 +(\d+)s left", screens)
        assert left == pytest.approx(SECONDS - (time.monotonic() - asked), abs=MARGIN)


def test_no_time_on_screen_follows_a_wall_clock(start: Start, shift: Shift, served: box.Served, whose: str) -> None:
    faked = shift.environ if whose == "front end" else {}
    screens = start("attach", str(served.port), environ=faked)
    plain = start("attach", "--plain", str(served.port), environ=faked)
    plain.wait_for("proxy up at")
    screens.wait_for("? help")
    threading.Thread(target=stream, args=(served.port,), daemon=True).start()
    screens.wait_for("live")
    streaming = time.monotonic()
    asker = Asker(served.port)
    asker.start()
    asked = time.monotonic()
    plain.wait_for("Bash")
    place = "list"
    for days in (1, -1, 0):
        shift.jump(days)
        screens.quiet(1.5)
        assert_times(screens, place, streaming, asked)  # before a frame comes that tells all times again
        place = "card" if place == "list" else "list"
        screens.send("\x07" if place == "card" else "1")
        assert_times(screens, place, streaming, asked)
        plain.quiet(0.2)
        for front in (screens, plain):
            assert "expired" not in front.text
            assert "has not responded" not in front.text
            assert "restarted" not in front.text
    shift.jump(1)
    plain.wait_for("expired", seconds=SECONDS + 10)
    assert time.monotonic() - asked == pytest.approx(SECONDS, abs=MARGIN)
    screens.wait_for("expired")
    asker.join(5)
    assert asker.answer is not None
    assert asker.answer["behavior"] == "deny"
