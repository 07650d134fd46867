"""What the real tools send, captured by the real program; and every `codex` command of the command line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from ccproxy_tui.core.detection import CLAUDE, CODEX, DetectionCache, Detector, Recipe
from ccproxy_tui.core.system.clock import SystemClock
from tests.conftest import Proxy
from tests.e2e.clients import find
from tests.fakes.streams import response_events, said
from tests.fakes.upstream import ScriptedUpstream, json_reply, sse_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROGRAM = Path(sys.executable).with_name("ccproxy-tui")


def detector(recipe: Recipe, tmp_path: Path) -> Detector:
    binary = Path(find(recipe.tool))
    return Detector(recipe, DetectionCache(tmp_path), SystemClock(), Path.home(), os.environ, lambda: binary)


@pytest.mark.parametrize(
    ("recipe", "header", "word"),
    [(CODEX, ("originator", "codex_exec"), "Codex"), (CLAUDE, ("x-app", "cli"), "Claude")],
    ids=["codex", "claude"],
)
async def test_the_real_tools_are_captured_in_time_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, header: tuple[str, str], word: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    detected = await detector(recipe, tmp_path).detect()
    assert detected is not None
    assert header in detected.headers
    assert word in detected.text
    assert "x-anthropic-billing-header" not in detected.text
    assert "ccproxy-detect" not in detected.text
    if recipe is CODEX:
        assert len(detected.text) > 5000
        assert all(one.context > 0 for one in detected.models)
        assert detected.models
    assert left_in(str(tmp_path)) == set(), "a process is left behind"


def left_in(folder: str) -> set[str]:
    """Processes that were started for a capture below this folder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={folder}".encode() in path.read_bytes():
                found.add(path.parent.name)
        except OSError:
            continue
    return found


async def run(*arguments: str, **environ: str) -> tuple[int, str]:
    folder = Path(find("codex")).parent
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "codex",
        *arguments,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_cache_command() -> None:
    assert await run("cache") == (1, "error: Nothing has been captured from codex yet. Use --refresh to capture it.\n")
    status, out = await run("cache", "--refresh")
    assert (status, "originator: codex_exec" in out, "authorization: (left out)" in out) == (0, True, True)
    status, out = await run("cache", "--raw")
    raw = json.loads(out)
    assert (status, raw["shape"], raw["instructions"][:7]) == (0, "developer", "You are")
    status, out = await run("cache", "--refresh", "--tool", "claude", CLAUDE__CLI_PATH=find("claude"))
    assert (status, "claude-cli/" in out) == (0, True)
    assert await run("cache", "--clear") == (0, "1 files deleted.\n")


async def test_the_info_and_set_commands() -> None:
    await run("cache", "--refresh")
    status, out = await run("info")
    assert (status, "system_prompt_injection_mode   disabled" in out, "models from Codex CLI" in out) == (0, True, True)
    config = Path.home() / ".config" / "ccproxy" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("# mine\n[codex]\nverbose_logging = true  # so it is\n")
    assert await run("set") == (0, "No changes specified.\n")
    arguments = ("--system-prompt-injection-mode", "append", "--max-output-tokens-fallback", "4096")
    status, out = await run("set", *arguments, "--disable-dynamic-model-info", "--header-override-disabled")
    assert (status, "Updated Codex configuration" in out) == (0, True)
    written = config.read_text()
    assert written.startswith("# mine\n[codex]\nverbose_logging = true  # so it is\n")
    for bad in (("--max-output-tokens-fallback", "99999"), ("--system-prompt-injection-mode", "nope")):
        status, out = await run("set", *bad)
        assert (status, "codex." in out) == (2, True)
        assert config.read_text() == written
    status, out = await run("info", "--json")
    shown = json.loads(out)
    assert (status, shown["settings"]["max_output_tokens_fallback"]) == (0, 4096)
    assert shown["models_from"] == "built in"


@pytest.mark.usefixtures("other_logins")
async def test_the_test_command(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("it works")))
    for arguments in ((), ("--endpoint", "chat"), ("-e", "chat", "--stream"), ("--stream",)):
        status, out = await run("test", *arguments, SERVER__NETWORK_CALLS="false")
        assert (status, "200" in out, "it" in out) == (0, True, True), out
    upstream.default = lambda seen: json_reply({"detail": "no such thing"}, 400)
    status, out = await run("test", SERVER__NETWORK_CALLS="false")
    assert (status, "no such thing" in out) == (1, True)


async def test_the_test_command_without_a_proxy() -> None:
    status, out = await run("test")
    assert (status, "No proxy runs" in out) == (4, True)
