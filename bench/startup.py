"""How long until the proxy accepts and until the screens have painted: `python -m bench.startup [--rounds 5]`."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.relay import free_port, memory
from tests.pty.terminal import Terminal, program


def environment(home: str) -> dict[str, str]:
    return {**os.environ, "HOME": home, "XDG_RUNTIME_DIR": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}


def accepting(home: str) -> tuple[float, float]:
    """Seconds from exec to the first answer of /health/live, and resident megabytes then."""
    port = free_port()
    begun = time.monotonic()
    process = subprocess.Popen(program("serve", "--port", str(port)), env=environment(home), stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=1).close()
            break
        except OSError:
            time.sleep(0.002)
    taken = time.monotonic() - begun
    size = memory(process.pid)
    process.terminate()
    process.wait(5)
    return taken, size


def painted(home: str) -> tuple[float, float, float]:
    """Seconds from exec to the first screen, to the proxy's address on it, and from `q` to the end."""
    begun = time.monotonic()
    terminal = Terminal(program("demo", "--port", str(free_port()), "--on-hangup", "stop"), environ=environment(home))
    terminal.wait_for(lambda: b"streams" in terminal.output)
    first = time.monotonic() - begun
    terminal.wait_for(lambda: b"127.0.0.1:" in terminal.output)
    connected = time.monotonic() - begun
    begun = time.monotonic()
    terminal.kill(signal.SIGTERM)
    terminal.wait_end()
    ended = time.monotonic() - begun
    terminal.close()
    return first, connected, ended


def bare_textual() -> float:
    """A Textual app with one label, for comparison."""
    code = "from textual.app import App\nfrom textual.widgets import Label\n"
    code += "class A(App):\n def compose(self): yield Label('streams')\nA().run()"
    begun = time.monotonic()
    terminal = Terminal([sys.executable, "-c", code])
    terminal.wait_for(lambda: b"streams" in terminal.output)
    taken = time.monotonic() - begun
    terminal.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = range(parser.parse_args().rounds)
    with tempfile.TemporaryDirectory() as home:
        Path(home, "x").touch()
        serve = [accepting(home) for _ in rounds]
        screens = [painted(home) for _ in rounds]
        bare = [bare_textual() for _ in rounds]
    bare_time = statistics.median(bare)
    rows = [
        ("serve accepts", statistics.median(one[0] for one in serve)),
        ("screens painted", statistics.median(one[0] for one in screens)),
        ("screens show the proxy", statistics.median(one[1] for one in screens)),
        ("SIGTERM to the end", statistics.median(one[2] for one in screens)),
        ("a bare Textual app painted", bare_time),
    ]
    for name, seconds in rows:
        print(f"{name:28} {seconds:6.2f} s   {seconds / bare_time:5.2f} of a bare Textual app")
    print(f"{'memory of serve':28} {statistics.median(one[1] for one in serve):6.0f} MB")


if __name__ == "__main__":
    main()
