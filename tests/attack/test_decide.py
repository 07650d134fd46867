"""An agent answers its own permission request: over the control socket, from wherever it can run a program."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccproxy_tui.core.system.paths import Paths
from tests.attack.box import PROGRAM, Served, run
from tests.attack.conftest import StartServe
from tests.attack.verbs import VERBS
from tests.fakes.claude import write_claude
from tests.pty.terminal import Terminal

pytestmark = [pytest.mark.attack, pytest.mark.timeout(90)]

ATTACK = Path(__file__).with_name("verbs.py")
COMMAND = {"tool_name": "Bash", "input": {"command": "rm -rf /"}}
SCRIPT = shutil.which("script")
# An orphan in a session of its own: its parent ends at once.
ORPHAN = """
import os, sys, subprocess
me = os.getpid()
if os.fork() == 0:
    if {own_session}: os.setsid()
    os.execvp(sys.argv[1], [*sys.argv[1:]] + ([str(me)] if {direct} else []))
"""


def plain(attack: list[str]) -> list[str]:
    return attack


def in_a_terminal(attack: list[str]) -> list[str]:
    if SCRIPT is None:
        pytest.skip("no script(1)")
    return [SCRIPT, "-qefc", shlex.join(attack), "/dev/null"]


def orphaned(attack: list[str]) -> list[str]:
    return [sys.executable, "-c", ORPHAN.format(own_session=False, direct=True), *attack]


def orphaned_in_a_session(attack: list[str]) -> list[str]:
    return [sys.executable, "-c", ORPHAN.format(own_session=True, direct=True), *attack]


def orphaned_in_a_terminal(attack: list[str]) -> list[str]:
    terminal = in_a_terminal(attack)
    return [sys.executable, "-c", ORPHAN.format(own_session=True, direct=False), *terminal]


Way = Callable[[list[str]], list[str]]
WAYS: list[Way] = [plain, in_a_terminal, orphaned, orphaned_in_a_session, orphaned_in_a_terminal]


class Pending:
    """A permission request that waits for the user."""

    def __init__(self, served: Served) -> None:
        self.answer: dict[str, Any] = {}
        self._served = served
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        self.id = waiting(served)

    def _ask(self) -> None:
        self.answer = json.loads(self._served.request("POST", "/permissions", COMMAND)[1])


def waiting(served: Served) -> str:
    """The id of the request that waits."""
    found = events_of(served, lambda event: event.get("type") == "permission_request")
    return str(found["request_id"])


def events_of(served: Served, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    transport = httpx.HTTPTransport(uds=str(served.socket))
    with (
        httpx.Client(transport=transport, base_url="http://localhost", timeout=20) as client,
        client.stream("GET", "/permissions/stream") as stream,
    ):
        for line in stream.iter_lines():
            if line.startswith("data: ") and wanted(event := json.loads(line[6:])):
                return dict(event)
    raise AssertionError("the stream has ended")


def history(served: Served) -> list[dict[str, Any]]:
    transport = httpx.HTTPTransport(uds=str(served.socket))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=20) as client:
        return list(client.get("/permissions/history").json())


def attack_on(served: Served, pending: Pending, out: Path) -> list[str]:
    return [sys.executable, "-S", str(ATTACK), str(served.socket), pending.id, str(out)]


def outcome(out: Path, seconds: float = 30) -> list[list[Any]]:
    deadline = time.monotonic() + seconds
    while not out.exists():
        assert time.monotonic() < deadline, "the attack has not been tried"
        time.sleep(0.02)
    return list(json.loads(out.read_text()))


def assert_refused(found: list[list[Any]], pending: Pending) -> None:
    assert [route for route, *_ in found] == [route for route, _ in VERBS]
    for route, status, text in found:
        assert (route, status) == (route, 403), text
        assert "permissions.deciders" in text, "it says what opens it"
    assert pending.answer == {}, "it still waits for the user"


@pytest.fixture
def served(serve: StartServe) -> Served:
    return serve(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__TIMEOUT_SECONDS="120")


def test_a_program_without_a_terminal_answers(served: Served, tmp_path: Path) -> None:
    pending = Pending(served)
    out = tmp_path / "out.json"
    subprocess.run(attack_on(served, pending, out), start_new_session=True, check=True)
    assert_refused(outcome(out), pending)


def test_it_says_that_it_is_the_user(served: Served, tmp_path: Path) -> None:
    """The user's own program at a terminal may; the record has what the kernel says of it, not what it says."""
    pending = Pending(served)
    out = tmp_path / "out.json"
    terminal = Terminal(attack_on(served, pending, out))
    try:
        terminal.wait_for(out.exists)
    finally:
        terminal.close()
    assert outcome(out)[-1][1] == 200
    [row] = history(served)
    assert row["by"] != "person"
    assert "pts/" in row["by"]
    assert f"pid {terminal.pid}" in row["decider"]


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_of_ours_answers(serve: StartServe, folder: Path, tmp_path: Path, way: Way) -> None:
    served = serve_agent(serve, folder, tmp_path)
    pending = Pending(served)
    out = tmp_path / "out.json"
    run_by_agent(served, tmp_path, way(attack_on(served, pending, out)))
    assert_refused(outcome(out), pending)


def serve_agent(serve: StartServe, folder: Path, tmp_path: Path) -> Served:
    """A proxy whose agents run the command in attack.json, and stay until out.json is there."""
    tool = write_claude(tmp_path / "tool")
    run = f"subprocess.run(json.loads(Path({str(tmp_path / 'attack.json')!r}).read_text()), stdin=subprocess.DEVNULL)"
    stay = f"while not Path({str(tmp_path / 'out.json')!r}).exists(): time.sleep(0.02)"  # what it started ends with it
    tool.write_text(tool.read_text().replace("def answer(text):\n", f"def answer(text):\n    {run}\n    {stay}\n"))
    return serve(
        PERMISSIONS__WITHOUT_FRONT_END="wait",
        PERMISSIONS__TIMEOUT_SECONDS="120",
        CLAUDE__CLI_PATH=str(tool),
        CLAUDE__CODE_OPTIONS__CWD=str(folder),
        CLAUDE__SDK_MESSAGE_MODE="ignore",
    )


def run_by_agent(served: Served, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "attack.json").write_text(json.dumps(command))
    body = {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    status, answer = served.request("POST", "/sdk/v1/messages", body)
    assert status == 200, answer


# Without the marks of its environment. What came of it is moved into its place, so that it is whole when it is there.
TRUSTS = """
import json, os, subprocess, sys
environ = {name: value for name, value in os.environ.items() if name not in ("CCPROXY_AGENT", "CLAUDECODE")}
done = subprocess.run(json.loads(sys.argv[1]), env=environ, capture_output=True, text=True)
with open(sys.argv[2] + ".new", "w") as file: json.dump([done.returncode, done.stdout + done.stderr], file)
os.rename(sys.argv[2] + ".new", sys.argv[2])
"""


@pytest.mark.parametrize("way", [plain, in_a_terminal, orphaned_in_a_session])
def test_an_agent_of_ours_trusts_what_it_has_written(serve: StartServe, folder: Path, tmp_path: Path, way: Way) -> None:
    (folder / ".ccproxy.toml").write_text('[claude]\ncli_path = "./agents-own"\n')
    served = serve_agent(serve, folder, tmp_path)
    out = tmp_path / "out.json"
    command = [*PROGRAM, "trust", "--yes", str(folder)]
    run_by_agent(served, tmp_path, way([sys.executable, "-c", TRUSTS, json.dumps(command), str(out)]))
    status, said = outcome(out)
    assert status == 1, said
    assert "agent" in said
    assert run("trust", "--list", cwd=folder)[1].startswith("No project file is trusted")


# A tool in another pane: it asks by its hook, and runs what it likes while that waits.
TOOL = """
import json, subprocess, sys, time
given = json.dumps({"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "rm -rf /"},
                    "session_id": "s1"})
hook = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
hook.stdin.write(given); hook.stdin.close()
attack = None
for line in sys.stdin:
    attack = subprocess.Popen(json.loads(line), stdin=subprocess.DEVNULL, env=json.loads(sys.argv[2]) or None)
    break
time.sleep(300)
"""


@pytest.mark.parametrize("way", [plain, in_a_terminal, orphaned, orphaned_in_a_session])
def test_a_tool_that_asks_by_its_hook_answers(served: Served, tmp_path: Path, way: Way) -> None:
    hook = [*PROGRAM, "hook", "claude-code"]
    terminal = Terminal([sys.executable, "-S", "-c", TOOL, json.dumps(hook), "null"])
    try:
        asked = Asked(waiting(served))
        out = tmp_path / "out.json"
        terminal.send(json.dumps(way(attack_on(served, asked, out))) + "\r")  # type: ignore[arg-type]
        terminal.wait_for(out.exists)
    finally:
        terminal.close()
    assert_refused(outcome(out), asked)  # type: ignore[arg-type]


class Asked:
    """A request that the tool itself has made."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.answer: dict[str, Any] = {}


def test_an_orphan_with_a_terminal_is_known_by_the_mark_of_its_tool(served: Served, tmp_path: Path) -> None:
    pending = Pending(served)
    out = tmp_path / "out.json"
    command = orphaned_in_a_terminal(attack_on(served, pending, out))
    subprocess.run(command, env={"PATH": "/usr/bin:/bin", "CLAUDECODE": "1"}, stdin=subprocess.DEVNULL, check=True)
    assert_refused(outcome(out), pending)


def test_a_program_counts_as_a_front_end(serve: StartServe) -> None:
    """Without a terminal it can't answer, so nothing waits for it."""
    served = serve(PERMISSIONS__TIMEOUT_SECONDS="2")
    transport = httpx.HTTPTransport(uds=str(served.socket))
    with (
        httpx.Client(transport=transport, base_url="http://localhost", timeout=20) as client,
        client.stream("GET", "/permissions/stream") as stream,
    ):
        assert next(stream.iter_lines())
        status, answer = served.request("POST", "/permissions", COMMAND)
    assert (status, json.loads(answer)["status"]) == (200, "denied"), "it has not waited"


# Signs as our own front ends do: the key lies in the runtime folder, and a program of the user can read it.
OVER_TCP = """
import asyncio, sys
from ccproxy_tui.core.control.key import find_key
from ccproxy_tui.core.control.transport import control_http
from ccproxy_tui.core.system.paths import Paths
async def main():
    port = int(sys.argv[1])
    async with control_http(url=f"http://127.0.0.1:{port}", key=find_key(Paths.of_user(), port)) as client:
        answer = await client.post(f"/permissions/{sys.argv[2]}/respond", json={"allowed": True})
        print(answer.status_code, answer.text)
asyncio.run(main())
"""


def test_it_answers_over_tcp_with_the_key_of_the_proxy(served: Served) -> None:
    pending = Pending(served)
    command = [sys.executable, "-c", OVER_TCP, str(served.port), pending.id]
    done = subprocess.run(command, start_new_session=True, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("403 ")
    assert "no terminal of its own" in done.stdout
    terminal = Terminal(command)
    try:
        terminal.wait_for("200 ")
    finally:
        terminal.close()


# A tool that asks over TCP: an HTTP hook of an earlier version, an MCP client.
ASKS_OVER_TCP = TOOL.replace(
    "hook = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
    "hook.stdin.write(given); hook.stdin.close()\n",
    "import http.client\n"
    "hook = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
    "hook.request('POST', '/hooks/claude-code', given, {'content-type': 'application/json'})\n",
)


@pytest.mark.parametrize("way", [plain, in_a_terminal])
def test_a_tool_that_asks_over_tcp_answers(served: Served, tmp_path: Path, way: Way) -> None:
    terminal = Terminal([sys.executable, "-S", "-c", ASKS_OVER_TCP, str(served.port), "null"])
    try:
        asked = Asked(waiting(served))
        out = tmp_path / "out.json"
        terminal.send(json.dumps(way(attack_on(served, asked, out))) + "\r")  # type: ignore[arg-type]
        terminal.wait_for(out.exists)
    finally:
        terminal.close()
    assert_refused(outcome(out), asked)  # type: ignore[arg-type]


# Its child connects and ends: the kernel's word on who has connected is then a process that is gone.
THROUGH_A_CHILD = """
import http.client, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
def respond(name):
    body = b'{"allowed": true}'
    connection.sendall(
        b"POST /permissions/%s/respond HTTP/1.1\\r\\nhost: localhost\\r\\ncontent-type: application/json\\r\\n"
        b"content-length: %d\\r\\n\\r\\n%s" % (name.encode(), len(body), body))
    response = http.client.HTTPResponse(connection)
    response.begin()
    return f"{response.status} {response.read().decode()}"
if os.fork() == 0:
    connection.connect(sys.argv[1])
    if sys.argv[3:]:  # it is looked at while it lives
        assert respond("none").startswith(sys.argv[3])
    os._exit(0)
assert os.wait()[1] == 0
print(respond(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("deciders", "first"), [("terminal", ()), ("terminal", ("403",)), ("no_agent", ()), ("no_agent", ("404",))]
)
def test_it_answers_on_a_connection_of_a_process_that_is_gone(
    serve: StartServe, deciders: str, first: Sequence[str]
) -> None:
    served = serve(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__DECIDERS=deciders)
    pending = Pending(served)
    command = [sys.executable, "-c", THROUGH_A_CHILD, str(served.socket), pending.id, *first]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("403 "), done.stdout
    assert "has ended" in done.stdout
    assert pending.answer == {}, "it still waits for the user"


# The leader of a terminal's session starts a tool that asks by its hook. What that has started is refused while the
# tool lives, and tries again on the same connection as its orphan.
LEFT_BEHIND = """
import http.client, json, os, socket, subprocess, sys, time
path, out, hook = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
def wait_for(is_there):
    while not is_there():
        time.sleep(0.01)
def attack(tool):
    wait_for(lambda: os.path.exists(out + ".id"))
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    route = "/permissions/%s/respond" % open(out + ".id").read()
    def respond():
        connection.request("POST", route, '{"allowed": true}', {"content-type": "application/json"})
        answer = connection.getresponse()
        return ["respond", answer.status, answer.read().decode()]
    found = [respond()]
    os.rename(out + ".id", out + ".tried")
    wait_for(lambda: os.getppid() != tool)
    found.append(respond())
    open(out + ".part", "w").write(json.dumps(found))
    os.rename(out + ".part", out)
if os.fork() == 0:
    given = {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "rm -rf /"}}
    asking = subprocess.Popen(hook, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    asking.stdin.write(json.dumps({**given, "session_id": "s1"}))
    asking.stdin.close()
    tool = os.getpid()
    if os.fork() == 0:
        attack(tool)
        os._exit(0)
    wait_for(lambda: os.path.exists(out + ".tried"))
    os._exit(0)
os.wait()
time.sleep(300)
"""


def test_what_a_tool_has_left_behind_answers_on_its_connection(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    hook = json.dumps([*PROGRAM, "hook", "claude-code"])
    terminal = Terminal([sys.executable, "-S", "-c", LEFT_BEHIND, str(served.socket), str(out), hook])
    try:
        (tmp_path / "part").write_text(waiting(served), "utf-8")
        (tmp_path / "part").rename(f"{out}.id")
        terminal.wait_for(out.exists)
    finally:
        terminal.close()
    assert [status for _, status, _ in outcome(out)] == [403, 403], outcome(out)


# Signed, and hung up at once: when the proxy looks, no process holds the other end.
HANGS_UP = """
import json, socket, sys, time
from ccproxy_tui.core.control.key import HEADER, address_text, find_key
from ccproxy_tui.core.system.paths import Paths
port, body = int(sys.argv[1]), b'{"allowed": true}'
target = f"/permissions/{sys.argv[2]}/respond"
key = find_key(Paths.of_user(), port)
signed = key.sign("POST", target, body, address_text("127.0.0.1", port), time.time())
head = f"POST {target} HTTP/1.1\\r\\nhost: 127.0.0.1:{port}\\r\\ncontent-type: application/json\\r\\n"
head += f"{HEADER}: {signed}\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
with socket.create_connection(("127.0.0.1", port)) as connection:
    connection.sendall(head.encode() + body)
"""


def test_it_answers_over_tcp_and_hangs_up(serve: StartServe) -> None:
    served = serve(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__DECIDERS="no_agent")
    pending = Pending(served)
    for _ in range(20):
        command = [sys.executable, "-c", HANGS_UP, str(served.port), pending.id]
        subprocess.run(command, env={**os.environ, "CCPROXY_AGENT": "1"}, check=True)
    assert waiting(served) == pending.id, "it still waits for the user"
    assert pending.answer == {}


def test_its_rule_in_your_settings_file_comes_with_your_next_change(serve: StartServe) -> None:
    """What it writes there counts no sooner than with the next start, which is yours."""
    served = serve(PERMISSIONS__WITHOUT_FRONT_END="deny", PERMISSIONS__DECIDERS="any")
    config = Paths.of_user().config / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('[[permissions.rules]]\nrule = "Bash(make deploy)"\n')
    transport = httpx.HTTPTransport(uds=str(served.socket))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=20) as client:
        answer = client.post("/control/settings/permissions.timeout_seconds", json={"value": "77"})
        assert answer.json()["effect"] == "in effect now"
        now = {one["key"]: one["value"] for one in client.get("/control/settings").json()}
    assert now["permissions.timeout_seconds"] in ("77", "77.0")
    assert now["permissions.rules"] == ""
    asked = {"tool_name": "Bash", "input": {"command": "make deploy"}}
    status, text = served.request("POST", "/permissions", asked)
    assert (status, json.loads(text)["allowed"]) == (200, False), text


def test_another_program_withdraws_what_a_tool_asks(served: Served) -> None:
    """By saying that the session has ended: the user would never have seen the card."""
    hook = [*PROGRAM, "hook", "claude-code"]
    terminal = Terminal([sys.executable, "-S", "-c", TOOL, json.dumps(hook), "null"])
    try:
        asked = waiting(served)
        for event in ("Stop", "UserPromptSubmit", "SessionEnd"):
            body = {"hook_event_name": event, "session_id": "s1"}
            assert served.request("POST", "/hooks/claude-code", body)[0] == 200
            subprocess.run(hook, input=json.dumps(body).encode(), check=True, start_new_session=True)
        assert waiting(served) == asked, "it waits"
    finally:
        terminal.close()
