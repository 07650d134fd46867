"""What screens that were left leave behind: the memory of the screens' process after visits of each, under traffic.

python -m bench.visits [--visits 120] [--only split]

The first visits warm up: modules, and caches that have a bound. From then on memory is flat, which here means
that the visits after it leave less than 40 KB each behind (a screen that stays takes 300 to 800).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from bench.relay import free_port
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.pty.terminal import Terminal, program

WARM_VISITS = 20
KEPT_KB = 40  # by a visit
KEPT_ROWS = 500  # exchanges that the screens remember
PACE = 0.05  # seconds between two short exchanges
# By what they are called: keys there, a text of it, keys back.
SCREENS = {
    "split": ("v", "next pane", "\x1b"),
    "inspector": ("\r", "1 Timeline", "\x1b"),
    "approvals": ("2", "[2 Approvals]", "1"),
    "accounts": ("3", "[3 Accounts]", "1"),
    "pool": ("4", "[4 Pool]", "1"),
    "codex": ("5", "[5 Codex]", "1"),
    "logs": ("7", "[7 Logs]", "1"),
    "settings": ("8", "[8 Settings]", "1"),
    "help": ("?", "newest first", "\x1b"),
}


def private(pid: int) -> float:
    """Kilobytes that only this process has."""
    found = re.search(r"^Private_Dirty: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def exchange(port: int, instruction: str) -> None:
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": f"demo: {instruction}"}]})
    head = "POST /demo/v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json"
    with suppress(OSError):  # the proxy ends first
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        while await reader.read(65536):
            pass
        writer.close()


async def traffic(port: int) -> None:
    """Some long streams, and short ones all the time."""
    running = {asyncio.create_task(exchange(port, "tokens=200000, pace=50, wait=0.1")) for _ in range(6)}
    while True:
        running = {task for task in running if not task.done()}
        running.add(asyncio.create_task(exchange(port, "tokens=20, pace=100, wait=0.1")))
        await asyncio.sleep(PACE)


def visit(terminal: Terminal, there: str, shown: str, back: str) -> None:
    terminal.send(there)
    terminal.wait_for(shown)
    terminal.quiet(0.1)
    terminal.send(back)
    if back == "\x1b":
        terminal.quiet(0.2)  # an escape is only one when nothing follows it
    terminal.wait_for(lambda: "[1 Streams]" in terminal.text and shown not in terminal.text)


def measure(name: str, terminal: Terminal, visits: int) -> bool:
    marks = sorted({0, 10, WARM_VISITS, visits // 2, visits})
    found: dict[int, float] = {}
    for number in range(visits + 1):
        if number:
            visit(terminal, *SCREENS[name])
        if number in marks:
            terminal.quiet(3)  # what was left is freed a second later
            found[number] = private(terminal.pid)
    kept = (found[visits] - found[WARM_VISITS]) / (visits - WARM_VISITS)
    flat = kept < KEPT_KB
    figures = "  ".join(f"{number}: {found[number] / 1000:.1f}" for number in marks)
    print(f"{name:10} MB after visits  {figures}   {kept:6.1f} KB a visit  {'flat' if flat else 'GROWS'}", flush=True)
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=120)
    parser.add_argument("--only", choices=SCREENS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, XDG_RUNTIME_DIR=home, TERM="xterm-256color", COLORTERM="truecolor")
        os.environ["PROVIDERS__DEMO__ASKS"] = "false"
        state = os.path.join(home, ".local/state/ccproxy")
        os.makedirs(state)
        Path(state, "screens.json").write_text('{"welcomed": true}')
        port = free_port()
        terminal = Terminal(program("--port", str(port), "--on-hangup", "stop"))
        try:
            terminal.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
            terminal.wait_for("No requests yet")
            threading.Thread(target=lambda: asyncio.run(traffic(port)), daemon=True).start()
            terminal.quiet(KEPT_ROWS * PACE * 1.5)
            names = [options.only] if options.only else list(SCREENS)
            flat = [measure(name, terminal, options.visits) for name in names]
            return 0 if all(flat) else 1
        finally:
            terminal.close()


if __name__ == "__main__":
    raise SystemExit(main())
