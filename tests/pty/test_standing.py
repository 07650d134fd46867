"""A proxy that stands still is noticed within seconds by everything that is attached; one that comes back, too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.pty.test_terminal import Start, start, up

__all__ = ["start"]
pytestmark = [pytest.mark.pty, pytest.mark.timeout(120)]

SAID = "has not answered for 5 s (pid"


@contextmanager
def standing(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_screens_say_that_the_proxy_stands_still_until_it_goes_on(start: Start) -> None:
    terminal, proxy, port = up(start)
    plain = start("attach", "--plain", str(port))
    plain.wait_for("proxy up at")
    with standing(proxy):
        terminal.wait_for(f"the proxy on {port} {SAID} {proxy})")
        plain.wait_for(f"the proxy on {port} {SAID} {proxy})")
        late = start("attach", str(port))
        late.wait_for(f"the proxy on {port} {SAID} {proxy})")
    for front in (terminal, late):
        front.wait_for(f" * 127.0.0.1:{port}")
    plain.wait_for("the proxy answers again")


def test_screens_that_stood_still_read_before_they_judge(start: Start) -> None:
    terminal, _, port = up(start)
    with standing(terminal.pid):
        time.sleep(8)  # longer than the silence that is allowed
    terminal.send("3")
    terminal.wait_for("provider  ")
    terminal.quiet(2.5)
    assert b"has not answered" not in terminal.output
    assert f" * 127.0.0.1:{port}" in terminal.text
