"""How long from a permission request to its card, and from the key to the asker, under load.

python -m bench.asks [--streams 100] [--asks 20]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
import urllib.request

from bench.relay import free_port
from bench.ui import run_streams
from bench.work import quantile
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.pty.terminal import Terminal, program


class Asker(threading.Thread):
    """Asks once, and notes when the answer came."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        body = {"tool_name": "Bash", "input": {"command": f"echo question-{number}"}}
        self._request = urllib.request.Request(
            f"http://127.0.0.1:{port}/permissions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        self.answered = 0.0

    def run(self) -> None:
        urllib.request.urlopen(self._request, timeout=60).read()
        self.answered = time.monotonic()


def wait_for(terminal: Terminal, words: str) -> float:
    """Seconds until these words are on screen."""
    begun = time.monotonic()
    while words not in terminal.text and time.monotonic() - begun < 10:
        terminal.read(0.003)
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--asks", type=int, default=20)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        environ = {"HOME": home, "XDG_RUNTIME_DIR": home, "TERM": "xterm-256color", "UI__THEME": "dark"}
        os.environ.update(environ)
        state = os.path.join(home, ".local/state/ccproxy")
        os.makedirs(state)
        with open(os.path.join(state, "screens.json"), "w", encoding="utf-8") as file:
            file.write('{"welcomed": true}')
        terminal = Terminal(program("--port", str(port), "--on-hangup", "stop"))
        terminal.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
        terminal.wait_for("No requests yet")
        run_streams(port, options.streams)
        wait_for(terminal, f"{options.streams} live")
        terminal.send("2")
        wait_for(terminal, "[2 Approvals]")
        shown, heard = [], []
        for number in range(options.asks):
            asker = Asker(port, number)
            asker.start()
            shown.append(wait_for(terminal, f"question-{number}"))
            time.sleep(1.0)  # the card arms
            pressed = time.monotonic()
            terminal.send("a")
            asker.join(10)
            heard.append(asker.answered - pressed)
        terminal.close()
        ended = time.monotonic() + 10
        while instances.on_port(Paths.of_user(), port) is not None and time.monotonic() < ended:
            time.sleep(0.05)  # the proxy writes into its home until then
    for name, taken in (("request to card", shown), ("key to asker", heard)):
        print(f"{name:<16} p50 {statistics.median(taken) * 1000:.0f} ms, p95 {quantile(taken, 0.95) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
