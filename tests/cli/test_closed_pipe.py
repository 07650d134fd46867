"""Plain lines end with the program that reads them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.attack.box import PROGRAM, start

REQUEST = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.timeout(90)
def test_attached_lines_end_when_nothing_reads_them() -> None:
    served = start(Path.home())
    front = subprocess.Popen(
        [*PROGRAM, "attach", "--plain"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert front.stdout is not None
        assert b"proxy up" in front.stdout.readline()
        front.stdout.close()
        deadline = time.monotonic() + 30
        while front.poll() is None:
            assert time.monotonic() < deadline, "it goes on without a reader"
            assert served.request("POST", "/demo/v1/messages", REQUEST)[0] == 200
        assert front.returncode == 128 + 13
        assert front.stderr is not None
        assert front.stderr.read() == b""
        assert served.process.poll() is None, "the proxy is still running"
    finally:
        if front.poll() is None:
            front.kill()
        front.wait()
        if front.stderr is not None:
            front.stderr.close()
        served.stop()
