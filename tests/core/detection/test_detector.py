"""Captures from tools that behave, and from those that do not. The real tools are in tests/e2e."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ccproxy_tui.core.detection import CLAUDE, CODEX, Detected, DetectionCache, Detector, Recipe
from ccproxy_tui.core.detection import detector as detector_module
from ccproxy_tui.core.detection.capture import Request
from ccproxy_tui.core.system.clock import SystemClock

CODEX_TOOL = """#!{python}
import json, os, sys, tomllib, urllib.request
if "--version" in sys.argv:
    print("codex-cli {version}")
    sys.exit()
if sys.argv[1:3] == ["debug", "models"]:
    listed = {{"slug": "gpt-x", "visibility": "list", "context_window": 1000, "priority": 2}}
    hidden = {{"slug": "gpt-hidden", "visibility": "hide"}}
    print(json.dumps({{"models": [listed, hidden, {{"slug": "gpt-best", "priority": 1}}]}}))
    sys.exit()
config = tomllib.load(open(os.environ["CODEX_HOME"] + "/config.toml", "rb"))
provider = config["model_providers"][config["model_provider"]]
{body}
"""
ASK = """
body = {{"model": "gpt-x", "input": [{{"type": "message", "role": "developer", "content": [
    {{"type": "input_text", "text": {instructions!r}}}]}}]}}
headers = {{"content-type": "application/json", "originator": "codex_exec", "authorization": "Bearer " +
    os.environ["CCPROXY_CAPTURE_KEY"], "session-id": "01a202f5-39c0-74e1-9e59-d9bd2b54e42f"}}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
request = urllib.request.Request(provider["base_url"] + "/responses", json.dumps(body).encode(), headers)
assert b"response.completed" in opener.open(request).read()
"""


def install(tmp_path: Path, body: str, *, version: str = "1.2.3", recipe: Recipe = CODEX) -> Detector:
    """A detector with that tool as the only one on its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    tool = folder / recipe.tool
    tool.write_text(CODEX_TOOL.format(python=sys.executable, version=version, body=body))
    tool.chmod(0o755)
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return Detector(recipe, DetectionCache(tmp_path / "cache"), SystemClock(), tmp_path / "home", environ)


def ask(instructions: str = "You are Codex.") -> str:
    return ASK.format(instructions=instructions)


async def test_a_capture_holds_what_is_the_tools_and_nothing_of_the_run(tmp_path: Path) -> None:
    detector = install(tmp_path, ask())
    detected = await detector.detect()
    assert detected is not None
    assert (detected.version, detected.text, detected.shape, detected.model) == (
        "1.2.3",
        "You are Codex.",
        "developer",
        "gpt-x",
    )
    headers = dict(detected.headers)
    assert (headers["originator"], headers["authorization"], headers["session-id"]) == ("codex_exec", "", "")
    assert "host" not in headers
    assert [(one.id, one.context) for one in detected.models] == [("gpt-best", 0), ("gpt-x", 1000)]
    assert detector.view().state == "captured"
    saved = tmp_path / "cache" / "codex_headers_1.2.3.json"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert b"capture-only" not in saved.read_bytes()


async def test_the_cache_serves_until_the_version_changes(tmp_path: Path) -> None:
    await install(tmp_path, ask()).detect()
    again = install(tmp_path, "raise SystemExit('must not be asked')")
    assert (await again.detect()) is not None
    assert again.view().state == "from the cache"
    newer = install(tmp_path, ask("You are newer."), version="1.3.0")
    assert newer.view().state == "from the cache, not checked"
    detected = await newer.detect()
    assert detected is not None
    assert detected.text == "You are newer."
    view = newer.view()
    assert (view.before_version, view.before) == ("1.2.3", "You are Codex.")
    broken = install(tmp_path, "", version="1.4.0")
    assert await broken.detect() == detected, "the last capture stays"
    view = broken.view()
    assert view.state == "stale: 1.3.0 was captured, 1.4.0 is installed"
    assert view.problem == "codex sent no request"


async def test_a_capture_of_the_same_version_can_be_compared_with_the_one_before(tmp_path: Path) -> None:
    await install(tmp_path, ask("old")).detect()
    detector = install(tmp_path, ask("new"))
    await detector.detect(anew=True)
    view = detector.view()
    assert (view.instructions, view.before) == ("new", "old")
    assert detector.clear() == 2
    assert list((tmp_path / "cache").iterdir()) == []
    assert detector.view().state == "nothing captured"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("import time; time.sleep(60)", "did not end within"),
        ("print('x' * 10_000_000); sys.stderr.write('y' * 10_000_000)", "sent no request"),
        (
            "urllib.request.urlopen(urllib.request.Request(provider['base_url'] + '/responses', b'rubbish'))",
            "sent something that is not JSON",
        ),
        ("os.kill(os.getpid(), 9)", "sent no request"),
    ],
)
async def test_tools_that_misbehave_are_said_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, problem: str
) -> None:
    monkeypatch.setattr(detector_module, "CAPTURE_SECONDS", 1.5)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    detector = install(tmp_path, body)
    assert await detector.detect() is None
    assert problem in detector.problem


async def test_a_tool_that_hangs_after_it_has_asked_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_module, "CAPTURE_SECONDS", 2.0)
    pids = tmp_path / "pids"
    child = "import subprocess, time\n" + "child = subprocess.Popen(['sleep', '60'])\n"
    note = f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(60)\n"
    detector = install(tmp_path, ask() + child + note)
    detected = await detector.detect()
    assert detected is not None
    for pid in pids.read_text().split():
        deadline = time.monotonic() + 3
        while is_alive(int(pid)):
            assert time.monotonic() < deadline, f"{pid} is left behind"
            await asyncio.sleep(0.01)


RUNNER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from ccproxy_tui.core.detection.capture import run_bounded
asyncio.run(run_bounded(["/bin/sh", "-c", "sleep 60 & echo $$ $! > {pids}; wait"], os.environ, Path("/"), 60))
"""


async def test_a_tool_and_its_children_end_when_the_proxy_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = RUNNER.format(root=str(Path(__file__).parents[3]), pids=pids)
    runner = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    deadline = time.monotonic() + 20
    while not pids.exists() or len(pids.read_text().split()) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    runner.kill()
    await runner.wait()
    for pid in pids.read_text().split():
        while is_alive(int(pid)):
            assert time.monotonic() < deadline, f"{pid} is left behind"
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_nothing_but_our_server_can_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = """
try:
    urllib.request.urlopen("http://example.org/", timeout=5)
except urllib.error.HTTPError as error:
    open(os.environ["HOME"] + "/../reached", "w").write(str(error.code))
"""
    detector = install(tmp_path, ask() + "import urllib.error\n" + outside)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert await detector.detect() is not None
    assert (tmp_path / "reached").read_text() == "403"


@pytest.mark.parametrize("printed", ["", "no version here", "\x1b[31m\x00\xff"])
async def test_a_tool_without_a_version_is_not_asked(tmp_path: Path, printed: str) -> None:
    detector = install(tmp_path, ask())
    tool = tmp_path / "bin" / "codex"
    tool.write_text(f"#!{sys.executable}\nprint({printed!r})\n")
    assert await detector.detect() is None
    assert detector.problem == "codex --version printed no version"


async def test_no_tool_at_all(tmp_path: Path) -> None:
    detector = Detector(CLAUDE, DetectionCache(tmp_path), SystemClock(), tmp_path, {"PATH": str(tmp_path)})
    assert await detector.detect() is None
    assert detector.problem == "claude is not installed (or not on the PATH)"


def test_broken_and_foreign_cache_files_are_passed_over(tmp_path: Path) -> None:
    cache = DetectionCache(tmp_path)
    good = Detected("codex", "1.0.0", 5.0, instructions=["x"])
    cache.save(good)
    seed = '{"codex_version":"0.21.0","headers":{},"instructions":{},"cached_at":"x"}'
    for name, content in {"0.1": "{", "0.2": "", "0.3": seed, "0.4": "[]", "0.5": "\x00"}.items():
        (tmp_path / f"codex_headers_{name}.json").write_text(content)
    (tmp_path / "codex_headers_dir.json").mkdir()
    assert cache.load("codex") == [good]


async def test_a_full_cache_folder_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, mode: int | None = None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ccproxy_tui.core.detection.cache.replace_file", full)
    detector = install(tmp_path, ask())
    assert (await detector.detect()) is not None
    assert detector.view().state == "captured"


def test_a_section_that_names_the_run_is_left_out() -> None:
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=1"},
        {"type": "text", "text": "Intro.\n# Memory\nin ccproxy-detect-1/memory\n# Tone\nBe brief.\n"},
    ]
    body = json.dumps({"model": "m", "system": system}).encode()
    request = Request("POST", "/v1/messages?beta=true", [], body)
    detected = CLAUDE.detected([request], "2.0.0", "ccproxy-detect-1", 1.0)
    assert detected.instructions == ["Intro.\n# Tone\nBe brief.\n"]


async def test_without_room_for_a_temporary_folder_the_problem_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = install(tmp_path, ask())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert await detector.detect() is None
    assert "No such file or directory" in detector.view().problem


async def test_one_that_prints_without_end_is_ended_and_fills_no_disk(tmp_path: Path) -> None:
    detector = install(tmp_path, ask())
    (tmp_path / "bin" / "codex").write_text(
        f"#!{sys.executable}\nimport os\nwhile True: os.write(1, b'codex-cli 1.2.3 ' * 65536)\n"
    )
    assert await detector.detect() is None
    assert detector.problem == "codex printed more than 16 MB"


async def test_one_that_sends_without_end_is_not_kept(tmp_path: Path) -> None:
    body = f"""
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{{{}}}}))
sent = 0
for _ in range(20):
    try:
        opener.open(provider["base_url"] + "/responses", b" " * {4 * 2**20}).read()
        sent += 1
    except OSError:
        pass
open({str(tmp_path / "sent")!r}, "w").write(str(sent))
"""
    detector = install(tmp_path, body.replace("{{", "{").replace("}}", "}"))
    await detector.detect()
    assert (tmp_path / "sent").read_text() == "7", "32 MB of requests, heads included, in all"
