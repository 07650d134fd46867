"""A client that is not let in: the user learns of it, and a flood of them hides nothing."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from tests.attack.box import Served, as_nobody
from tests.attack.conftest import StartServe

pytestmark = pytest.mark.attack

AGENT = {"user-agent": "claude-cli/2.1.300"}
WRONG = "wrong-secret-0123456789"


def status_of(served: Served) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(served.socket))
        connection.sendall(b"GET /control/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        data = b""
        while piece := connection.recv(64 * 1024):
            data += piece
    found: dict[str, Any] = json.loads(data.partition(b"\r\n\r\n")[2])
    return found


def test_is_named_on_the_screens_and_in_the_log(serve: StartServe) -> None:
    served = serve(SECURITY__AUTH_TOKEN="right-secret-0123456789")
    for name, value in [("x-api-key", WRONG), ("authorization", f"Bearer {WRONG}")]:
        assert served.request("POST", "/v1/messages", {}, {**AGENT, name: value})[0] == 401
    words = f"claude-code (pid {os.getpid()}): The proxy's token is missing or wrong."
    found = status_of(served)
    assert (found["refused"], found["refusal"]) == (2, words)
    assert served.request("GET", "/v1/models", None, {"host": "evil.example"})[0] == 403
    assert "evil.example" in status_of(served)["refusal"]
    assert served.printed.count(f"refused {words} [POST /v1/messages]") == 1, "the second one is the same"
    assert WRONG not in served.printed


def test_a_secret_in_its_path_is_masked_wherever_the_path_is_cut(serve: StartServe) -> None:
    served = serve(SECURITY__AUTH_TOKEN="right-secret-0123456789")
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
    for number, padding in enumerate(range(50, 110, 10)):
        agent = f"tool-{chr(ord('a') + number)}/1"
        path = f"/v1/{'x' * padding}/{token}"
        assert served.request("GET", path, None, {"user-agent": agent})[0] == 401
    assert served.printed.count("refused ") == 6
    assert "eyJ" not in served.printed


@pytest.mark.usefixtures("second_user")
def test_is_named_with_its_user(serve: StartServe) -> None:
    served = serve()
    assert as_nobody(f"print(request({served.port}, 'GET', '/v1/models')[0])").strip() == "403"
    assert "uid 65534" in status_of(served)["refusal"]
    assert "another user of this machine" in served.printed


def test_a_flood_is_counted_and_fills_no_log(serve: StartServe) -> None:
    served = serve(SECURITY__AUTH_TOKEN="right-secret-0123456789")
    for number in range(300):
        agent = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        path = f"/v1/models/{'x' * 5000}"
        assert served.request("GET", path, None, {"user-agent": f"{agent}{'x' * 5000}/1"})[0] == 401
    assert status_of(served)["refused"] == 300
    assert 1 <= served.printed.count("refused ") <= 20
    assert len(served.printed) < 20_000


def test_a_hook_event_that_is_not_clear_is_named(serve: StartServe) -> None:
    served = serve()
    assert served.request("POST", "/hooks/codex", {"hook_event_name": "PreToolUse"}, AGENT)[0] == 400
    assert "A hook must name its tool" in status_of(served)["refusal"]
