"""Random keys, sizes, mouse and pastes, with traffic: the real app lives on, and tells the truth afterwards.

`make monkey` lets it run for 20 minutes (`CCPROXY_TEST_SOAK` in seconds), with another seed each time
(`CCPROXY_TEST_SEED` names one).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from ccproxy_tui.core.system.paths import Paths
from tests.fakes.upstream import Cut, Seen, Wait, anthropic_stream, json_reply, sse_reply
from tests.pty.terminal import Terminal, is_running
from tests.pty.test_terminal import Start, health, start, up
from tests.pty.test_truth import AGREE_SECONDS, World, list_lines, terminal_ended, world

__all__ = ["start", "world"]

SECONDS = float(os.environ.get("CCPROXY_TEST_SOAK", "20"))
SEED = int(os.environ.get("CCPROXY_TEST_SEED", time.time_ns() % 10_000 if "CCPROXY_TEST_SOAK" in os.environ else 1))
PACE = 0.04  # seconds between two actions, and between two exchanges
pytestmark = [pytest.mark.pty, pytest.mark.timeout(240 + 2 * SECONDS)]

# Not q and ctrl+q, which end it, and ctrl+z, which stops it: others try them.
KEYS = [
    *"jjjjkkkgG12345781111/nNrspvxyfzchltbow?-+=[] e:",
    *["\r", "\r", "\r", "\x1b", "\x1b", "\x1b", "\t", "\x1b[Z", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[5~"],
    *["\x1b[6~", "\x1b[H", "\x1b[F", "\x10", "\x0c", "\x07", "\x15", "\x7f", "\x1b[I", "\x1b[O", "\x1bOP", "\x1b1"],
]
SIZES = [(120, 36), (80, 24), (100, 28), (60, 15), (40, 10), (20, 5), (1, 1), (220, 60)]
PASTES = ["state:live", "zz", "\xff\xfe", "a\nb\nc", "\x1b[31m", "ä" * 300, "(((", "1" * 40]
EVENTS = anthropic_stream("one two three four five six seven eight")


def action(terminal: Terminal, rng: random.Random) -> None:
    kind = rng.random()
    if kind < 0.86:
        terminal.send(rng.choice(KEYS))
    elif kind < 0.92:
        button, press = rng.choice([0, 0, 2, 64, 65, 35]), rng.choice("Mm")
        terminal.send(f"\x1b[<{button};{rng.randint(1, 120)};{rng.randint(1, 36)}{press}")
    elif kind < 0.95:
        terminal.send(f"\x1b[200~{rng.choice(PASTES)}\x1b[201~")
    elif kind < 0.98:
        terminal.resize(*rng.choice(SIZES))
        terminal.kill(signal.SIGWINCH)
    else:
        terminal.send_bytes(rng.randbytes(rng.randint(1, 6)).replace(b"\x11", b"").replace(b"\x1a", b""))


async def traffic(world: World, rng: random.Random) -> None:
    """One exchange each PACE, some at a time, with the ways to end that there are."""

    def reply(seen: Seen) -> object:
        kind = rng.random()
        if kind < 0.15:
            return json_reply({"type": "error", "error": {"type": "x", "message": "no"}}, rng.choice([400, 429, 500]))
        if kind < 0.25:
            return sse_reply(*EVENTS[:5], Cut)
        pauses = [Wait(rng.random()) for _ in range(3)]
        return sse_reply(*EVENTS[:4], pauses[0], *EVENTS[4:6], pauses[1], EVENTS[6], pauses[2], *EVENTS[7:])

    world.upstream.default = reply
    under_way: set[asyncio.Task[None]] = set()
    number = 0
    while True:
        number += 1
        task = asyncio.ensure_future(world._ask(f"zz-{number}"))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        if rng.random() < 0.05:
            rng.choice(sorted(under_way, key=id)).cancel()
        await asyncio.sleep(PACE)
        while len(under_way) > 40:
            await asyncio.sleep(PACE)


def test_whatever_is_pressed_under_traffic_the_screens_live_and_are_right(start: Start, world: World) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    terminal, proxy, port = up(start)
    world.connect(port)
    work = asyncio.run_coroutine_threadsafe(traffic(world, random.Random(SEED)), world.loop)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        action(terminal, rng)
        terminal.skim(PACE)
        if is_stopped(terminal.pid):  # by `suspend` of the command palette: as a shell's `fg`
            terminal.kill(signal.SIGCONT)
        assert not terminal_ended(terminal), f"seed {SEED}\n" + terminal.output[-4000:].decode("utf-8", "replace")
    work.cancel()
    terminal.resize(120, 36)
    terminal.kill(signal.SIGWINCH)
    home(terminal)
    agree_on_counts(terminal, world)
    assert is_running(proxy)
    assert health(port) == "pass"
    log = Paths.of_user().state / "screens.log"
    assert not log.exists() or "Traceback" not in log.read_text(), f"seed {SEED}\n{log.read_text()[-6000:]}"


def is_stopped(pid: int) -> bool:
    return " T " in Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2][:4]


def agree_on_counts(terminal: Terminal, world: World) -> None:
    def agreed() -> bool:
        _, status = world.run(world.truth())
        return f"streams  {status.live} live, {status.total} in all" in terminal.text

    terminal.wait_for(agreed, seconds=AGREE_SECONDS)


def home(terminal: Terminal) -> None:
    """To the streams, unfiltered, whatever is open: out of inputs and dialogs first."""
    for _ in range(25):
        for key in ("\x1b", "\x1b", "\x1b", "1", "g"):
            terminal.send(key)
            terminal.quiet(0.3)  # an escape is only one when nothing follows it
        shown = "[1 Streams]" in terminal.text and list_lines(terminal) is not None and " in all" in terminal.text
        if shown and "filter:" not in terminal.text:
            return
