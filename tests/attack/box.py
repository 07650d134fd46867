"""The pieces of an attack: the real program in a home of its own, a second user, and a server that collects loot."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "ccproxy_tui"]
NOBODY = 65534  # a uid with no rights on the victim's files
START_SECONDS = 20.0


@dataclass
class Served:
    """A running `ccproxy-tui serve`: its port, process, and everything that it printed so far."""

    process: subprocess.Popen[bytes]
    port: int
    socket: Path
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of one request over TCP, as the victim's own uid."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Served:
    """Start `serve` in `folder` on a free port, by the command `prefix` if any, and wait until it is registered."""
    log = folder.parent / f"{folder.name}-serve.log"
    env = {**os.environ, "SERVER__PORT": "0", **(environ or {})}
    runtime = Path(env["XDG_RUNTIME_DIR"]) / "ccproxy"
    before = set(runtime.glob("*.json"))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *PROGRAM, "serve", *arguments],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    deadline = time.monotonic() + START_SECONDS
    while True:
        fresh = [path for path in runtime.glob("*.json") if path not in before and path.stem.isdigit()]
        if fresh:
            port = int(fresh[0].stem)
            return Served(process, port, runtime / f"{port}.sock", log)
        assert process.poll() is None, f"serve ended with {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"serve did not start:\n{log.read_text()}"
        time.sleep(0.02)


def run(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, given: str = "") -> tuple[int, str]:
    """Exit status and output (both streams) of one command of the program."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        input=given.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


_PRELUDE = f"""
import encodings.idna, http.client, json, os, socket, struct, sys, time
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
def request(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    data = None if body is None else json.dumps(body).encode()
    connection.request(method, path, data, {{"content-type": "application/json", **(headers or {{}})}})
    answer = connection.getresponse()
    return answer.status, answer.read().decode("utf-8", "replace")
"""


def as_nobody(code: str, *, cwd: Path = Path("/")) -> str:
    """What `code` prints when another user runs it; `request(port, method, path, body, headers)` is there for it.

    The interpreter starts as root and gives its rights up, since the other user may not read the interpreter's folder.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PRELUDE + code], cwd=cwd, capture_output=True, timeout=40, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@dataclass
class Loot:
    """What reached the attacker's server: request lines, headers and bodies as text."""

    url: str
    requests: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.requests)


def collect(loot: Loot) -> ThreadingHTTPServer:
    """A server that keeps whatever it is sent, and answers with empty JSON."""

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            loot.requests.append(f"{self.command} {self.path}\n{self.headers}\n{body.decode('utf-8', 'replace')}")
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_DELETE = _take

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    loot.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
