"""What the screens cost: bytes to the terminal, CPU, and key to paint, idle and with live streams.

python -m bench.ui [--streams 30] [--seconds 10] [--theme dark]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
import zlib

from bench.relay import cpu, free_port, memory
from bench.work import quantile
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.pty.terminal import Terminal, program

BODY = {
    "model": "claude-test-1",
    "stream": True,
    "messages": [{"role": "user", "content": "demo: tokens=20000, pace=50, wait=0.1"}],
}


async def stream(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(BODY).encode()
    head = (
        "POST /demo/v1/messages HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\ncontent-type: application/json\r\n"
    )
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    while await reader.read(65536):
        pass


def run_streams(port: int, count: int) -> None:
    async def run() -> None:
        await asyncio.gather(*(stream(port) for _ in range(count)))

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()


def collect(terminal: Terminal, seconds: float) -> bytes:
    start = len(terminal.output)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        terminal.read(0.05)
    return bytes(terminal.output[start:])


def key_to_paint(terminal: Terminal, presses: int) -> list[float]:
    """Seconds from a key to the cursor's mark on another line."""
    taken = []
    for number in range(presses):
        before = terminal.text
        place = next((i for i, line in enumerate(before.splitlines()) if line.lstrip("│").startswith(">")), -1)
        terminal.send("j" if number % 2 == 0 else "k")
        begun = time.monotonic()
        while time.monotonic() - begun < 2:
            terminal.read(0.005)
            now = next((i for i, line in enumerate(terminal.text.splitlines()) if line.lstrip("│").startswith(">")), -1)
            if now not in (place, -1):
                break
        taken.append(time.monotonic() - begun)
        time.sleep(0.07)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--theme", default="dark")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, XDG_RUNTIME_DIR=home, TERM="xterm-256color", COLORTERM="truecolor")
        os.environ["UI__THEME"] = options.theme
        state = os.path.join(home, ".local/state/ccproxy")
        os.makedirs(state)
        with open(os.path.join(state, "screens.json"), "w", encoding="utf-8") as file:
            file.write('{"welcomed": true}')
        port = free_port()
        terminal = Terminal(program("--port", str(port), "--on-hangup", "stop"))
        try:
            terminal.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
            terminal.wait_for("No requests yet")
            collect(terminal, 2)
            row("idle", terminal, options.seconds)
            run_streams(port, options.streams)
            terminal.wait_for(lambda: terminal.text.count("live") > min(options.streams, 10))
            collect(terminal, 3)
            row(f"{options.streams} live streams", terminal, options.seconds)
            taken = key_to_paint(terminal, 60)
            middle, late = statistics.median(taken) * 1000, quantile(taken, 0.95) * 1000
            print(f"key to paint, {options.streams} live: p50 {middle:.0f} ms, p95 {late:.0f} ms")
            print(f"memory: screens and proxy together {memory(terminal.pid):.0f} MB")
        finally:
            terminal.close()


def row(name: str, terminal: Terminal, seconds: float) -> None:
    proxy = next((one.pid for one in instances.running(Paths.of_user())), 0)
    before_all, before_proxy = cpu(terminal.pid), cpu(proxy)
    data = collect(terminal, seconds)
    proxy_cpu = cpu(proxy) - before_proxy
    screens_cpu = cpu(terminal.pid) - before_all - proxy_cpu
    raw, packed = len(data) / seconds / 1000, len(zlib.compress(data)) / seconds / 1000
    print(f"{name:18} {raw:7.2f} kB/s to the terminal ({packed:.2f} compressed)", end="   ")
    print(f"CPU screens {100 * screens_cpu / seconds:.1f} %, proxy {100 * proxy_cpu / seconds:.1f} %")


if __name__ == "__main__":
    main()
