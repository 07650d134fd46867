"""The relay against a direct connection, nginx where it is installed, and any peer given by URL, in one run.

    python -m bench.relay [--rounds 3] [--peer NAME=URL ...] [--only NAME,...] [--json FILE]

Every target gets the same work in each round, in another order each time; the table gives medians and the ratio to the
direct connection. CPU is that of the target's process tree. Only figures of one run may be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
MESSAGES = {"model": "claude-test-1", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
BIG = {"role": "user", "content": "x" * 200_000}

# name -> (request body, load options, what to report)
SCENARIOS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "first byte, 1 client": ({"stream": True, "bench": {"events": 200}}, {"clients": 1, "times": 300}, "first"),
    "first byte, 100 clients": ({"stream": True, "bench": {"events": 200}}, {"clients": 100, "times": 6}, "first"),
    "small JSON, 10 clients": ({}, {"clients": 10, "times": 400}, "requests"),
    "200 KB requests, 10 clients": ({"messages": [BIG]}, {"clients": 10, "times": 60}, "requests"),
    "events, 8 streams": ({"stream": True, "bench": {"events": 200_000}}, {"clients": 8, "times": 1}, "events"),
    "100 x 50 tokens/s": (
        {"stream": True, "bench": {"events": 250, "pace": 0.02}},
        {"clients": 100, "times": 1},
        "late",
    ),
    "500 x 50 tokens/s": (
        {"stream": True, "bench": {"events": 250, "pace": 0.02}},
        {"clients": 500, "times": 1},
        "late",
    ),
}


@dataclass
class Target:
    """Something to send work to; `pid` is its root process, for CPU and memory."""

    name: str
    url: str
    pid: int = 0
    results: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents.setdefault(int(text[text.rindex(")") + 2 :].split()[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += parents.get(one, [])
    return found


def cpu(pid: int) -> float:
    """CPU seconds of a process tree so far."""
    total = 0
    for one in tree(pid) if pid else []:
        try:
            text = Path(f"/proc/{one}/stat").read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory(pid: int) -> float:
    """Resident megabytes of a process tree."""
    pages = 0
    for one in tree(pid) if pid else []:
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_for(url: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.02)


def start_ours(home: Path, upstream: int) -> tuple[Target, subprocess.Popen[bytes]]:
    credentials = home / ".claude" / ".credentials.json"
    credentials.parent.mkdir()
    credentials.write_text(json.dumps({"claudeAiOauth": {"accessToken": "bench", "expiresAt": 2106000000000}}))
    port = free_port()
    environ = {
        **os.environ,
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PROVIDERS__CLAUDE_API__BASE_URL": f"http://127.0.0.1:{upstream}",
        "LOGGING__LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "ccproxy_tui", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environ, start_new_session=True)
    wait_for(f"http://127.0.0.1:{port}/health/live")
    return Target("ccproxy-tui", f"http://127.0.0.1:{port}/api/v1/messages", process.pid), process


def start_nginx(folder: Path, upstream: int) -> tuple[Target, subprocess.Popen[bytes]] | None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        return None
    port = free_port()
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;"
        "events { worker_connections 8192; } http { access_log off; client_max_body_size 100m;"
        f"client_body_buffer_size 1m; keepalive_requests 1000000; {paths}"
        f"upstream up {{ server 127.0.0.1:{upstream}; keepalive 1000; }}"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://up; proxy_http_version 1.1;"
        'proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; } } }'
    )
    process = subprocess.Popen(
        [nginx, "-c", str(folder / "nginx.conf")], start_new_session=True, stderr=subprocess.DEVNULL
    )
    time.sleep(0.5)
    return Target("nginx", f"http://127.0.0.1:{port}/v1/messages", process.pid), process


def measure(target: Target, scenario: str) -> None:
    body, options, _ = SCENARIOS[scenario]
    arguments = {"body": {**MESSAGES, **body}, "timed": "pace" in body.get("bench", {}), **options}
    before = cpu(target.pid)
    done = subprocess.run(
        [sys.executable, "-m", "bench.work", "load", target.url],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    result["cpu"] = cpu(target.pid) - before
    assert result["whole"] == options["clients"] * options["times"], f"{target.name}: an answer was not whole"
    target.results.setdefault(scenario, []).append(result)


def report(targets: list[Target], scenario: str) -> None:
    _, options, kind = SCENARIOS[scenario]
    requests = options["clients"] * options["times"]
    print(f"\n{scenario}")
    base: dict[str, float] = {}
    for target in targets:
        rounds = target.results[scenario]

        def median(key: str, rounds: list[dict[str, float]] = rounds) -> float:
            return statistics.median(result[key] for result in rounds)

        line = f"  {target.name:14}"
        if kind in ("first", "late"):
            first, last = median(f"{kind}50") * 1000, median(f"{kind}99") * 1000
            base.setdefault("50", first)
            base.setdefault("99", last)
            line += f" p50 {first:8.2f} ms (+{first - base['50']:.2f})   p99 {last:8.2f} ms (+{last - base['99']:.2f})"
        else:
            rate = (requests if kind == "requests" else median("events")) / median("seconds")
            base.setdefault("rate", rate)
            line += f" {rate:12,.0f} {kind}/s   {rate / base['rate']:.3f} of direct"
        if target.pid:
            unit, count = (
                ("1k requests", requests / 1e3)
                if kind in ("first", "requests")
                else ("1M events", median("events") / 1e6)
            )
            line += f"   {median('cpu') / count:.2f} CPU-s per {unit}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL", help="must send to --upstream-port")
    parser.add_argument("--upstream-port", type=int, default=0, help="where the fake upstream listens (default: any)")
    parser.add_argument("--only", default="", help="parts of scenario names, comma-separated")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scenarios = [
        name for name in SCENARIOS if not options.only or any(part in name for part in options.only.split(","))
    ]
    processes: list[subprocess.Popen[Any]] = []
    with tempfile.TemporaryDirectory() as name:
        try:
            run(options, scenarios, Path(name), processes)
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(10)


def run(
    options: argparse.Namespace, scenarios: list[str], folder: Path, processes: list[subprocess.Popen[Any]]
) -> None:
    port = options.upstream_port or free_port()
    command = [sys.executable, "-m", "bench.work", "upstream", str(port)]
    upstream = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    processes.append(upstream)
    assert upstream.stdout is not None
    upstream.stdout.readline()
    targets = [Target("direct", f"http://127.0.0.1:{port}/v1/messages")]
    for started in (start_nginx(folder, port), start_ours(folder, port)):
        if started is not None:
            targets.append(started[0])
            processes.append(started[1])
    targets += [Target(*peer.split("=", 1)) for peer in options.peer]
    ours = next(target for target in targets if target.name == "ccproxy-tui")
    print(f"{os.cpu_count()} cores, {options.rounds} rounds; memory of ccproxy-tui at rest {memory(ours.pid):.0f} MB")
    for scenario in scenarios:
        for number in range(options.rounds):
            for target in targets[number % len(targets) :] + targets[: number % len(targets)]:
                measure(target, scenario)
        report(targets, scenario)
    print(f"\nmemory of ccproxy-tui afterwards {memory(ours.pid):.0f} MB")
    if options.json:
        options.json.write_text(json.dumps({target.name: target.results for target in targets}, indent=1))


if __name__ == "__main__":
    main()
