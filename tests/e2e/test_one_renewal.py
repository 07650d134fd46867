"""The real Claude Code beside three proxies on one login that has ended: one renewal, and everyone stays logged in."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.conftest import running_proxy, write_claude_login
from tests.e2e.clients import find
from tests.fakes.vendor import Family, Vendor

ROUNDS = int(os.environ.get("CCPROXY_TEST_ROUNDS", "4"))
REQUEST = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60 + 25 * ROUNDS)]


async def claude_code(vendor: Vendor, home: Path) -> str:
    """One turn of the real CLI with the login of `home`; what it printed."""
    environ = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "HTTPS_PROXY": vendor.url,
        "NODE_EXTRA_CA_CERTS": str(vendor.ca),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    process = await asyncio.create_subprocess_exec(
        *(find("claude"), "-p", "hi"),
        env=environ,
        cwd=home,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    return printed.decode()


async def until_it_renews(folder: Path) -> None:
    """Wait until the CLI has made its lock."""
    async with asyncio.timeout(30):
        while not (folder / ".oauth_refresh.lock").is_dir():
            await asyncio.sleep(0.005)


async def test_one_renewal_among_claude_code_and_three_proxies(tmp_path: Path) -> None:
    home = Path.home()
    vendor = Vendor(tmp_path, Family("sk-ant-ort01-none"))
    await vendor.start()
    settings = {
        "PROVIDERS__CLAUDE_API__BASE_URL": vendor.url,
        "PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": f"{vendor.url}/token",
    }
    async with running_proxy(**settings) as one, running_proxy(**settings) as two, running_proxy(**settings) as three:
        for number in range(ROUNDS):
            family = vendor.family = Family(f"sk-ant-ort01-round-{number}", seconds=0.5 * (number % 3))
            path = write_claude_login(expiresAt=1_600_000_000_000, accessToken="old", refreshToken=family.refresh)
            cli = asyncio.ensure_future(claude_code(vendor, home))
            if number % 2:  # they come while it renews; else they are first, and it comes while they do
                await until_it_renews(path.parent)
            answers = await asyncio.gather(
                *(proxy.client.post("/api/v1/messages", json=REQUEST) for proxy in (one, two, three) * 5)
            )
            assert {answer.status_code for answer in answers} == {200}, answers[0].text
            assert "hello" in await cli
            assert (family.renewals, family.dead) == (1, "")
    await vendor.stop()
