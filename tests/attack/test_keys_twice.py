"""A key that is there twice: the card would show one value, and the tool may take the other one."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.attack.box import PROGRAM, Served, run
from tests.attack.conftest import StartServe
from tests.attack.hostile import exchange

pytestmark = pytest.mark.attack

INPUTS = [
    '{"command": "rm -rf /", "command": "ls"}',
    '{"comm\\u0061nd": "rm -rf /", "command": "ls"}',
    '{"command": "ls", "more": [{"deep": 1, "deep": 2}]}',
]
ALLOW = json.dumps([{"rule": "Bash(ls:*)"}, {"rule": "Bash(git status)"}, {"rule": "bash"}])
CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"check_permission","arguments":%s}}'
DOORS = {
    "/permissions": '{"tool_name": "Bash", "input": %s}',
    "/mcp/permission/check": '{"tool_name": "Bash", "input": %s}',
    "/hooks/claude-code": '{"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": %s}',
    "/hooks/codex": '{"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": %s}',
    "/hooks/opencode": '{"permission": "bash", "metadata": %s}',
    "/mcp": CALL % '{"tool_name": "Bash", "input": %s}',
}


def post(served: Served, path: str, body: str) -> tuple[int, str]:
    lines = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n"
    raw = body.encode()
    status, answer = exchange(("127.0.0.1", served.port), f"{lines}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    return status, answer.decode()


@pytest.mark.parametrize("given", INPUTS)
def test_is_refused_at_every_door(serve: StartServe, folder: Path, given: str) -> None:
    served = serve(PERMISSIONS__RULES=ALLOW)
    for path, shape in DOORS.items():
        status, answer = post(served, path, shape % '{"command": "ls"}')
        assert (status, "deny" in answer) == (200, False), (path, answer)
        status, answer = post(served, path, shape % given)
        assert (status, "twice in one object" in answer) == (400, True), (path, answer)
    assert run("ask", "Bash", "--input", '{"command": "ls"}', cwd=folder)[0] == 0
    status, printed = run("ask", "Bash", "--input", given, cwd=folder)
    assert (status, "twice in one object" in printed) == (2, True)


@pytest.mark.parametrize("tool", ["claude-code", "codex"])
def test_is_refused_by_the_hook_command(serve: StartServe, folder: Path, tool: str) -> None:
    serve(PERMISSIONS__RULES=ALLOW)
    shape = '{"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": %s}'
    for given, says in [('{"command": "ls"}', True), *[(one, False) for one in INPUTS]]:
        done = subprocess.run(
            [*PROGRAM, "hook", tool], input=(shape % given).encode(), capture_output=True, cwd=folder, check=True
        )
        assert (b"allow" in done.stdout, done.stdout == b"") == (says, not says), "no opinion: the tool asks itself"


def test_is_refused_at_the_older_transport(serve: StartServe) -> None:
    served = serve(PERMISSIONS__RULES=ALLOW)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        begun = b""
        while b"session_id" not in begun or not begun.endswith(b"\n\r\n"):
            begun += connection.recv(4096)
        address = next(line for line in begun.decode().splitlines() if line.startswith("data: "))[6:]
        status, answer = post(served, address, CALL % f'{{"tool_name": "Bash", "input": {INPUTS[0]}}}')
        assert (status, "twice in one object" in answer) == (400, True)


def test_is_refused_in_an_edited_input(serve: StartServe) -> None:
    """What the user sends is decided on, too."""
    served = serve(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__DECIDERS="any")
    body = b'{"tool_name": "Bash", "input": {"command": "ls"}}'
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as asking:
        head = "POST /permissions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        asking.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        name = _first_request(served)
        status = _respond(served, name, f'{{"allowed": true, "input": {INPUTS[0]}}}')
        assert status == 400
        assert _respond(served, name, '{"allowed": false}') == 200


def _first_request(served: Served) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(served.socket))
        connection.sendall(b"GET /permissions/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
        data = b""
        while b"permission_request" not in data or not data.endswith(b"\n\r\n"):
            data += connection.recv(64 * 1024)
    found = next(line for line in data.decode().splitlines() if line.startswith("data: ") and '"request_id"' in line)
    return str(json.loads(found[6:])["request_id"])


def _respond(served: Served, name: str, body: str) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(served.socket))
        head = f"POST /permissions/{name}/respond HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        return int(connection.recv(4096).split()[1])
