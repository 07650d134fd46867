"""The doctor finds what is open, on the real program, and finds nothing where nothing is."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccproxy_tui.core.probes.proxy import ATTEMPTS, probe_proxy
from tests.attack.box import run
from tests.attack.conftest import StartServe

pytestmark = pytest.mark.attack


def test_a_proxy_as_it_comes_has_nothing_open(serve: StartServe, folder: Path) -> None:
    served = serve()
    status, printed = run("doctor", "--security", "--json", cwd=folder)
    report = json.loads(printed)
    assert (status, [one for found in report.values() for one in found if one["level"] == "open"]) == (0, [])
    assert len(report[f"Proxy on port {served.port}"]) == len(ATTEMPTS) + 2
    status, printed = run("doctor", cwd=folder)
    assert (status, printed.splitlines()[-1]) == (0, "Nothing open.")


def test_settings_that_open_it_are_found(serve: StartServe, folder: Path) -> None:
    opened = {"CORS__ORIGINS": "https://page.example"}
    serve(**opened)
    status, printed = run("doctor", "--security", cwd=folder, environ=opened)
    assert status == 1
    assert "Web pages of https://page.example may call the proxy" in printed
    assert "A web page of another origin gets an answer (" in printed


@pytest.fixture
def careless() -> Iterator[int]:
    """A server that answers everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_every_attempt_can_fail(careless: int, second_user: None) -> None:
    found = probe_proxy("127.0.0.1", careless, "")
    assert {one.level for one in found} == {"open"}


def test_without_a_proxy_it_says_so(folder: Path) -> None:
    status, printed = run("doctor", "--security", cwd=folder)
    assert (status, "No proxy runs." in printed) == (0, True)
