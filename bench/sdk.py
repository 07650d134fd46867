"""SDK mode against calling the SDK directly, interleaved in one run: cold, a session's next turn, and the warm pool.

`python -m bench.sdk [--rounds N]`. The model is a scripted one on loopback that answers at once. Times in
milliseconds: to the first word of the model's text, and to the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

Timing = tuple[float, float]
MODEL = "claude-sonnet-5"


async def direct(client: Any) -> Timing:
    """One turn of the SDK's own client, with partial messages."""
    started, first = time.perf_counter(), 0.0
    await client.query("hi")
    async for message in client.receive_response():
        event = getattr(message, "event", None) or {}
        if not first and event.get("type") == "content_block_delta":
            first = time.perf_counter()
    return first - started, time.perf_counter() - started


async def through(client: httpx.AsyncClient, path: str) -> Timing:
    body = {"model": MODEL, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    started, first = time.perf_counter(), 0.0
    async with client.stream("POST", path, json=body) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes():
            if not first and b"text_delta" in chunk:
                first = time.perf_counter()
    return first - started, time.perf_counter() - started


def options(folder: str) -> Any:
    from claude_agent_sdk import ClaudeAgentOptions

    preset: Any = {"type": "preset", "preset": "claude_code"}
    return ClaudeAgentOptions(model=MODEL, cwd=folder, include_partial_messages=True, system_prompt=preset)


async def cold_direct(folder: str) -> Timing:
    from claude_agent_sdk import ClaudeSDKClient

    started = time.perf_counter()
    async with ClaudeSDKClient(options(folder)) as client:
        before = time.perf_counter() - started
        first, whole = await direct(client)
    return before + first, before + whole


async def first_turn(folder: str) -> Timing:
    """Of a client that was connected before: what a pool can save at most."""
    from claude_agent_sdk import ClaudeSDKClient

    async with ClaudeSDKClient(options(folder)) as client:
        await asyncio.sleep(1)
        return await direct(client)


async def measure(rounds: int, cases: dict[str, Callable[[int], Awaitable[Timing]]]) -> None:
    found: dict[str, list[Timing]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            found[name].append(await case(number))
            await asyncio.sleep(1.5)  # the pool fills itself meanwhile
    for name, timings in found.items():
        firsts, wholes = zip(*timings, strict=True)
        print(f"{name:<32} first word {_words(firsts)}   whole {_words(wholes)}")


def _words(values: Sequence[float]) -> str:
    return f"{statistics.median(values) * 1000:6.0f} (max {max(values) * 1000:4.0f})"


async def proxied(url: str, folder: str) -> AsyncIterator[str]:
    """A proxy process of its own; the address, until the caller is done."""
    environ = {
        **os.environ,
        "SERVER__PORT": "0",
        "CLAUDE__CODE_OPTIONS__CWD": folder,
        "CLAUDE__CODE_OPTIONS__MODEL": MODEL,
        "CLAUDE__SDK_POOL__ENABLED": "true",
        "CLAUDE__SDK_POOL__SIZE": "2",
        "CLAUDE__DETECTION": "false",
        "CODEX__DETECTION": "false",
        "XDG_RUNTIME_DIR": folder,
        "ANTHROPIC_BASE_URL": url,
    }
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ccproxy_tui", "serve", env=environ, stdout=-3, stderr=-3
    )
    try:
        from ccproxy_tui.core.control import instances
        from ccproxy_tui.core.system.paths import Paths

        os.environ["XDG_RUNTIME_DIR"] = folder
        while not (found := instances.running(Paths.of_user())):
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{found[0].port}"
    finally:
        process.terminate()
        await process.wait()


async def main(rounds: int) -> None:
    from claude_agent_sdk import ClaudeSDKClient

    from tests.fakes.streams import message_events
    from tests.fakes.upstream import ScriptedUpstream, sse_reply

    upstream = ScriptedUpstream()
    await upstream.start()
    events = message_events({"type": "text", "text": "Hello there."}, model=MODEL)
    upstream.default = lambda seen: sse_reply(*events)
    os.environ |= {
        "ANTHROPIC_BASE_URL": upstream.url,
        "ANTHROPIC_API_KEY": "any-word-that-is-long-enough",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        folder = str(Path(home, "work"))
        Path(folder).mkdir()
        async with ClaudeSDKClient(options(folder)) as warm:
            await direct(warm)
            async for address in proxied(upstream.url, folder):
                async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as client:
                    await through(client, "/sdk/warm/v1/messages")
                    await asyncio.sleep(3)
                    await measure(
                        rounds,
                        {
                            "cold, the SDK itself": lambda _: cold_direct(folder),
                            "cold, a new session": lambda number: through(client, f"/sdk/s{number}/v1/messages"),
                            "warm, the SDK itself": lambda _: direct(warm),
                            "warm, a session's next turn": lambda _: through(client, "/sdk/warm/v1/messages"),
                            "connected, the SDK's first turn": lambda _: first_turn(folder),
                            "connected, from the pool": lambda _: through(client, "/sdk/v1/messages"),
                        },
                    )
                    memory = (await client.get("/sdk/status")).json()["memory_per_agent"]
                    print("memory of the agents (MB, PSS):", [round(one / 1e6) for one in memory])
    await upstream.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=8)
    asyncio.run(main(parser.parse_args().rounds))
