"""Few open files: every client is served in the end, or gets a clear error; none is cut."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.attack.box import Served, start

pytestmark = [pytest.mark.attack, pytest.mark.timeout(120)]

CLIENTS = 120
BODY = {
    "model": "demo",
    "stream": True,
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "demo: tokens=40, pace=100, wait=0.1"}],
}


def test_no_client_is_cut_where_few_files_may_be_open(folder: Path) -> None:
    served = start(
        folder,
        environ={"PROVIDERS__DEMO__ASKS": "false"},
        prefix=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"],
    )
    try:
        assert "only 64 files may be open at once" in served.printed
        found = ask_all(served)
        assert found == {(200, True): CLIENTS}
        assert served.request("GET", "/health/live")[0] == 200
        assert served.printed.count("the limit of open files allows no more") == 1
    finally:
        served.stop()


def ask_all(served: Served) -> Counter[tuple[int, bool]]:
    """Status, and whether the stream was whole, of many clients at once."""
    found: Counter[tuple[int, bool]] = Counter()
    lock = threading.Lock()

    def ask() -> None:
        try:
            status, body = served.request("POST", "/demo/v1/messages", BODY)
        except OSError:
            status, body = 0, b""
        with lock:
            found[status, b"message_stop" in body] += 1

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
