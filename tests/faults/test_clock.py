"""The wall clock of a running proxy jumps by a day, forward and back (libfaketime): nothing ends earlier or later."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.oauth import Headers
from ccproxy_tui.core.auth.pool import Pool
from ccproxy_tui.core.auth.refusal import Refusal
from ccproxy_tui.core.auth.renewal import ClaudeRenewal, TokenAnswer
from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import AskView, Frame, Watch
from ccproxy_tui.core.permissions.rule_book import Limits, RuleBook
from ccproxy_tui.core.permissions.rules import parse_rule
from ccproxy_tui.core.system.clock import Clock, SystemClock
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.screens.ui.mirror import Mirror
from tests.attack import box
from tests.conftest import write_claude_login
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import Reply, ScriptedUpstream, Wait, anthropic_stream, json_reply, sse_reply

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
DAY = 86_400.0
CHAT = {"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Shift:
    """The wall clock of programs that run with `environ` is where `jump` puts it; their other clocks run on."""

    path: Path

    @classmethod
    def new(cls, path: Path) -> Shift:
        if not FAKETIME.exists():
            if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
                pytest.fail("libfaketime is not installed: apt-get install libfaketime")
            pytest.skip("libfaketime (apt-get install libfaketime) moves the clock of a process")
        shift = cls(path)
        shift.jump(0)
        return shift

    @property
    def environ(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, days: int) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{days:+d}d\n")
        fresh.replace(self.path)


@dataclass
class Jumping:
    """A proxy whose wall clock jumps."""

    served: box.Served
    control: ControlClient
    client: httpx.AsyncClient
    shift: Shift


@pytest.fixture
async def proxy(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Jumping]:
    shift = Shift.new(tmp_path / "shift")
    write_claude_login()
    environ = {
        **shift.environ,
        "PROVIDERS__CLAUDE_API__BASE_URL": upstream.url,
        "PERMISSIONS__TIMEOUT_SECONDS": "60",
    }
    served = await asyncio.to_thread(box.start, Path.home(), environ=environ)
    control = ControlClient(socket=str(served.socket))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", timeout=30, trust_env=False) as client:
        yield Jumping(served, control, client, shift)
    await control.close()
    await asyncio.to_thread(served.stop)


def limited(headers: dict[str, str] | None = None) -> Reply:
    """A burst limit, with where the plan is: as Anthropic's, by the time of its own clock."""
    resets = str(int(time.time()) + 4 * 3600)
    windows = {
        "anthropic-ratelimit-unified-5h-utilization": "0.41",
        "anthropic-ratelimit-unified-5h-reset": resets,
        "date": formatdate(usegmt=True),
    }
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    return json_reply(body, 429, [*windows.items(), *(headers or {}).items()])


async def _follow(control: ControlClient, mirror: Mirror) -> None:
    """Be a front end."""
    async for frame in control.frames(Watch(answers=True)):
        mirror.apply(frame)


async def test_no_time_of_a_running_proxy_follows_its_wall_clock(proxy: Jumping, upstream: ScriptedUpstream) -> None:
    hold = asyncio.Event()
    events = anthropic_stream("slow")
    upstream.replies = [sse_reply(*events[:3], Wait(event=hold), *events[3:]), limited({"retry-after": "900"})]
    held = asyncio.create_task(proxy.client.post("/api/v1/messages", json=CHAT))
    await _until(lambda: len(upstream.seen) == 1)
    assert (await proxy.client.post("/api/v1/messages", json=CHAT)).status_code == 429
    mirror = Mirror()
    following = asyncio.create_task(_follow(proxy.control, mirror))
    await _until(lambda: bool(mirror.rows))
    waits = asyncio.create_task(
        proxy.client.post("/permissions", json={"tool_name": "Bash", "input": {"command": "x"}})
    )
    await _until(lambda: bool(mirror.asks))
    ask = mirror.asks[0]
    await proxy.control.add_rules(ask.id, ["Bash(git:*)"], action="allow", scope="user", hours=8)

    for days in (1, -1, -2, 0):
        proxy.shift.jump(days)
        account = (await proxy.control.status()).accounts[0]
        cooling = re.fullmatch(r"cooling (\d+)m.*", account.state)
        assert cooling is not None, account.state
        assert 10 <= int(cooling[1]) <= 15
        (window,) = account.windows
        wall = time.time() + days * DAY
        assert window.resets is not None
        assert 3.8 * 3600 < window.resets - wall < 4.1 * 3600, "shown by the wall clock as it is"
        (rule,) = await proxy.control.rules()
        assert rule.left is not None
        assert 7.9 * 3600 < rule.left <= 8 * 3600
        waiting = await _get(proxy, f"/permissions/{ask.id}")
        assert waiting["status"] == "pending"
        assert 20 < waiting["time_remaining"] <= 60
        card = await proxy.control.permission_card(ask.id, reveal=False)
        assert abs(card.left - mirror.left(ask)) < 10
        assert mirror.left(ask) == pytest.approx(waiting["time_remaining"], abs=10)
    proxy.shift.jump(1)
    await proxy.control.extend_permission(ask.id, 1.0)
    assert (await waits).json()["status"] == "expired"
    (row,) = await proxy.control.permission_history(1)
    assert 0.5 < row.seconds < 60
    hold.set()
    assert (await held).status_code == 200
    first = next(iter(mirror.rows))
    await _until(lambda: not mirror.rows[first].live)
    duration = mirror.rows[first].duration
    assert duration is not None
    assert 0 < duration < 120
    following.cancel()
    assert "Traceback" not in proxy.served.printed


async def _get(proxy: Jumping, path: str) -> Any:
    transport = httpx.AsyncHTTPTransport(uds=str(proxy.served.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return (await client.get(path)).json()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


# --- a suspend, which a test can only play ---


async def _never(method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
    raise AssertionError(url)


def pool_of(clock: Clock) -> Pool:
    paths = Paths.of_user()
    renewal = ClaudeRenewal(_never, lambda: "", lambda: "", clock)
    return Pool([Account("claude", "Claude", ClaudeFile(paths, clock), renewal, clock, paths.state, "")], clock)


def test_a_cooldown_passes_while_the_machine_is_suspended(clock: FakeClock) -> None:
    write_claude_login()
    pool = pool_of(clock)
    account = pool.accounts[0]
    pool.note_refused(account, Refusal("too fast", 3600))
    clock.suspend(3000)
    assert account.view().state == "cooling 10m (too fast)"
    clock.suspend(700)
    assert pool.rest_of(account, "any") is None


async def test_a_request_on_hold_goes_on_after_a_suspend(clock: FakeClock) -> None:
    write_claude_login()
    pool = pool_of(clock)
    waiting = asyncio.create_task(pool.wait(3600))
    await asyncio.sleep(0)
    clock.suspend(4000)
    async with asyncio.timeout(20):
        await waiting


def test_a_temporary_rule_ends_in_a_suspend(clock: FakeClock) -> None:
    book = RuleBook(clock, list, lambda: Limits(1800, 28_800), lambda _: True)
    book.lend([parse_rule("Bash(git:*)", "allow")], 8)
    clock.suspend(9 * 3600)
    assert book.temporary() == []


def test_plan_windows_are_reckoned_by_the_providers_clock(clock: FakeClock) -> None:
    write_claude_login()
    account = pool_of(clock).accounts[0]
    theirs = clock.now() + 7 * DAY  # this machine's clock is a week behind
    headers = [
        ("anthropic-ratelimit-unified-5h-utilization", "1.0"),
        ("anthropic-ratelimit-unified-5h-reset", str(int(theirs) + 3600)),
        ("date", formatdate(theirs, usegmt=True)),
    ]
    account.note_answer(headers)
    (window,) = account.view().windows
    assert window.resets == pytest.approx(clock.now() + 3600, abs=1)
    clock.wall += DAY
    (window,) = account.view().windows
    assert window.resets == pytest.approx(clock.now() + 3600, abs=1)
    clock.advance(3601)
    assert account.view().windows == []


def test_a_moment_that_is_shown_stays_the_same_while_no_clock_jumps() -> None:
    write_claude_login()
    clock = SystemClock()
    account = pool_of(clock).accounts[0]
    resets = int(clock.now()) + 3600
    account.note_answer(
        [
            ("anthropic-ratelimit-unified-5h-utilization", "0.5"),
            ("anthropic-ratelimit-unified-5h-reset", str(resets)),
            ("date", formatdate(clock.now(), usegmt=True)),
        ]
    )
    assert {account.view().windows[0].resets for _ in range(50)} == {resets}


def test_a_mirror_counts_down_by_its_own_clock() -> None:
    now = [50.0]
    mirror = Mirror(lambda: now[0])
    ask = AskView("1", "Bash", "pending", expires=1e12, left=30.0)
    mirror.apply(Frame(asks=[ask], ask_ids=["1"]))
    now[0] += 10
    assert mirror.left(ask) == 20
    mirror.apply(Frame(asks=[], ask_ids=["1"]))
    assert mirror.left(ask) == 20
    now[0] += 60
    assert mirror.left(ask) == 0
