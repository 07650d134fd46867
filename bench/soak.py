"""The real app under traffic for as long as is asked, keys pressed at random: does anything grow, fail or lie?

python -m bench.soak [--minutes 60] [--share 0.25] [--seed 1]

A minute is traffic (whole, cut, failed, refused and abandoned requests; relayed and converted; streams and JSON) beside
keys at random. Then the traffic pauses, and the screen must agree with the control API. Memory, descriptors, threads
and tasks of both processes are printed; the last line says how many answers were wrong, and how often the screen was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.relay import cpu, free_port
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.system.paths import Paths
from tests.fakes.upstream import Cut, Seen, Wait, anthropic_stream, json_reply, sse_reply
from tests.pty.terminal import Terminal, program
from tests.pty.test_truth import BUSY, SIZES, User, World, agree, terminal_ended

KEYS = [
    *"1234578",
    *"jjkkgG",
    "\r",
    "\r",
    "\x1b",
    "\x1b",
    "\x1b",
    "v",
    "v",
    "w",
    "?",
    "s",
    "[",
    "]",
    "/zz\r",
    "\x15",
    "t",
    "\t",
]
KEY_SECONDS = 2.0
WORDS = " ".join(f"word{number}" for number in range(40))
EVENTS = anthropic_stream(WORDS)
WHOLE = WORDS.replace(" ", "")
ENDS = ("whole", "whole", "whole", "whole", "whole", "slow", "cut", "failed", "refused", "left")
RELAYED, CONVERTED = "/api/v1/messages", "/api/v1/chat/completions"

# Runs in each of our processes (as `sitecustomize`): the number of tasks, in a file that is named after the process.
PROBE = """
import asyncio.tasks, os, threading, time
def probe():
    while True:
        time.sleep(5)
        try:
            count = sum(not task.done() for task in list(asyncio.tasks._all_tasks))
        except RuntimeError:
            continue
        with open(os.path.join(os.environ["SOAK_TASKS"], str(os.getpid())), "w") as file:
            file.write(str(count))
threading.Thread(target=probe, daemon=True).start()
"""


@dataclass
class Traffic:
    """Requests at a rate that keeps the proxy at its share of a core; each answer is checked."""

    world: World
    share: float
    rng: random.Random
    pause: float = 0.1
    sent: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def reply(self, seen: Seen) -> Any:
        end = ENDS[int(seen.json["model"].removeprefix("zz-")) % len(ENDS)]
        if end == "refused":
            return json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, 400)
        if not seen.json.get("stream"):
            return json_reply(
                {
                    "id": "msg_01",
                    "type": "message",
                    "role": "assistant",
                    "model": seen.json["model"],
                    "content": [{"type": "text", "text": WHOLE}],
                    "stop_reason": "end_turn",
                    "usage": {"input_tokens": 12, "output_tokens": 42},
                }
            )
        first, rest = EVENTS[:20], EVENTS[20:]
        pace = 0.2 if end == "slow" else 0.005
        steps: list[Any] = [step for event in first for step in (event, Wait(pace))]
        last: dict[str, list[Any]] = {"cut": [Cut], "failed": [BUSY], "left": [Wait(30)]}
        return sse_reply(*steps, *last.get(end, rest))

    async def run(self, seconds: float, pid: int) -> None:
        """Send for `seconds`, then wait for the last answer."""
        end = time.monotonic() + seconds
        before, since = cpu(pid), time.monotonic()
        while time.monotonic() < end:
            task = asyncio.ensure_future(self._one())
            self.running.add(task)
            task.add_done_callback(self.running.discard)
            await asyncio.sleep(self.pause)
            if (passed := time.monotonic() - since) > 5:
                used = (cpu(pid) - before) / passed
                self.pause = min(max(self.pause * max(used, 0.01) / self.share, 0.01), 1.0)
                before, since = cpu(pid), time.monotonic()
        await asyncio.gather(*self.running)

    async def _one(self) -> None:
        self.sent += 1
        number = self.sent
        end = ENDS[number % len(ENDS)]
        path = self.rng.choice([RELAYED, CONVERTED])
        stream = end not in ("whole", "refused") or self.rng.random() < 0.7
        body = {
            "model": f"zz-{number}",
            "stream": stream,
            "max_tokens": 99,
            "messages": [{"role": "user", "content": "hi"}],
        }
        try:
            found = await self._ask(path, body, leave=end == "left")
        except httpx.HTTPError as error:
            found = "cut" if isinstance(error, httpx.RemoteProtocolError) else type(error).__name__
        expected = {"slow": {"whole"}, "cut": {"cut", "failed"}, "left": {"left"}}.get(end, {end})
        if found not in expected:
            self.wrong[f"{end} on {path} (stream: {stream}) was {found}"] += 1

    async def _ask(self, path: str, body: dict[str, Any], *, leave: bool) -> str:
        data = b""
        async with self.world.client.stream("POST", path, json=body) as response:
            if response.status_code == 400:
                return "refused"
            async for chunk in response.aiter_raw():
                data += chunk
                if leave and b"word5" in data:
                    return "left"
        return _verdict(data, stream=body["stream"])


def _verdict(data: bytes, *, stream: bool) -> str:
    if not stream:
        return "whole" if WHOLE.encode() in data else f"answer {data[:200]!r}"
    text, ended = "", False
    for line in data.decode().splitlines():
        if not line.startswith("data:"):
            continue
        if (value := line[5:].strip()) == "[DONE]":
            ended = True
            continue
        event = json.loads(value)
        if "error" in event:
            return "failed"
        ended |= event.get("type") == "message_stop"
        delta = event.get("delta") or next((one.get("delta") for one in event.get("choices") or []), None) or {}
        text += delta.get("text") or delta.get("content") or ""
    return (
        "whole" if ended and text == WHOLE else f"{'an ended' if ended else 'an open'} stream of {len(text)} characters"
    )


def figures(pid: int, tasks: Path) -> tuple[float, int, int, int]:
    """Private memory in MB, descriptors, threads, tasks of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    counted = tasks / str(pid)
    return (
        private / 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        len(list(Path(f"/proc/{pid}/task").iterdir())),
        int(counted.read_text("ascii") or 0) if counted.exists() else 0,
    )


def press(terminal: Terminal, rng: random.Random, seconds: float) -> None:
    """Keys at random, and sizes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if rng.random() < 0.1:
            terminal.resize(*rng.choice(SIZES))
        else:
            terminal.send(rng.choice(KEYS))
        terminal.quiet(KEY_SECONDS * rng.random() * 2)
        del terminal.output[:-400_000]


def to_the_list(terminal: Terminal) -> None:
    terminal.resize(120, 36)
    for key in ("\x1b", "\x1b", "\x1b", "\x1b", "1", "\x1b", "g"):
        terminal.send(key)
        terminal.quiet(0.3)
    for _ in range(8):
        if not re.search(r"streams .* by \w", terminal.text):
            return
        terminal.send("s")  # the order that agrees with the control API is the one by age
        terminal.quiet(0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--share", type=float, default=0.25, help="of a core, for the proxy")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as home:
        soak(Path(home), rng, options.minutes, options.share)


def soak(home: Path, rng: random.Random, minutes: int, share: float) -> None:
    world = World()
    world.open()
    for folder in ("probe", "tasks", ".local/state/ccproxy"):
        (home / folder).mkdir(parents=True)
    (home / "probe/sitecustomize.py").write_text(PROBE)
    (home / ".local/state/ccproxy/screens.json").write_text('{"welcomed": true}')
    os.environ.update(
        HOME=str(home),
        XDG_RUNTIME_DIR=str(home),
        TERM="xterm-256color",
        PYTHONPATH=str(home / "probe"),
        SOAK_TASKS=str(home / "tasks"),
        PROVIDERS__CLAUDE_API__BASE_URL=world.upstream.url,
        PROVIDERS__CLAUDE_API__API_KEY="sk-ant-api03-of-a-test",
        HISTORY__ENABLED="true",
    )
    port = free_port()
    terminal = Terminal(program("--port", str(port), "--on-hangup", "stop"))
    terminal.wait_for(lambda: instances.on_port(Paths.of_user(), port) is not None)
    found = instances.on_port(Paths.of_user(), port)
    assert found is not None
    terminal.wait_for("No requests yet")
    world.connect(port)
    traffic = Traffic(world, share, rng)
    world.upstream.default = traffic.reply
    user = User(terminal, world, rng)
    rows: list[list[float]] = []
    lies: list[str] = []
    print("minute  requests  wrong  lies  cpu%   proxy MB fds threads tasks   screens MB fds threads tasks", flush=True)
    for minute in range(1, minutes + 1):
        used, begun = cpu(found.pid), time.monotonic()
        sending = asyncio.run_coroutine_threadsafe(traffic.run(45, found.pid), world.loop)
        press(terminal, rng, 45)
        while not sending.done():
            terminal.quiet(0.2)
        sending.result()
        busy = (cpu(found.pid) - used) / (time.monotonic() - begun)
        if terminal_ended(terminal):
            print("the screens ended:", terminal.output[-2000:].decode("utf-8", "replace"))
            break
        to_the_list(terminal)
        try:
            agree(user)
        except AssertionError as error:
            lies.append(str(error))
            print(error, flush=True)
        terminal.quiet(2)
        rows.append([*figures(found.pid, home / "tasks"), *figures(terminal.pid, home / "tasks")])
        wrong = sum(traffic.wrong.values())
        print(
            f"{minute:6}  {traffic.sent:8}  {wrong:5}  {len(lies):4}  {busy * 100:4.0f}", *shown(rows[-1]), flush=True
        )
    log = home / ".local/state/ccproxy"
    tracebacks = sum(file.read_text("utf-8", "replace").count("Traceback") for file in log.rglob("*.log*"))
    terminal.close()
    world.close()
    report(rows)
    print(f"{traffic.sent} requests, wrong: {dict(traffic.wrong) or 0}; lies: {len(lies)}; tracebacks: {tracebacks}")


def shown(row: list[float]) -> list[str]:
    return [
        f"{value:>{width}.{digits}f}"
        for value, (width, digits) in zip(row, [(9, 1), (4, 0), (7, 0), (5, 0)] * 2, strict=True)
    ]


def report(rows: list[list[float]]) -> None:
    """Say how much each figure grew from the second sixth of the time to the last."""
    part = len(rows) // 6
    if not part:
        return
    names = [f"{who} {what}" for who in ("proxy", "screens") for what in ("MB", "descriptors", "threads", "tasks")]
    for place, name in enumerate(names):
        before = statistics.median(row[place] for row in rows[part : 2 * part])
        after = statistics.median(row[place] for row in rows[-part:])
        print(f"{name:<20} {before:8.1f} -> {after:8.1f}")


if __name__ == "__main__":
    main()
