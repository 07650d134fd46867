"""Small rooms: ids, files, clients, curl, bus, logging, body readers."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.records.bus import Bus
from ccproxy_tui.core.records.events import Event, Marked
from ccproxy_tui.core.system import logging as our_logging
from ccproxy_tui.core.system.files import replace_file
from ccproxy_tui.core.system.ids import new_id, short_id
from ccproxy_tui.core.system.logging import LogLine
from ccproxy_tui.core.system.paths import Paths, private_dir
from ccproxy_tui.core.system.supervisor import Tasks
from ccproxy_tui.core.text.curl import curl_command
from tests.fakes.clock import FakeClock


def test_ids_are_unique_sort_by_time_and_have_a_short_form(clock: FakeClock) -> None:
    first = [new_id(clock) for _ in range(100)]
    clock.advance(1)
    later = new_id(clock)
    assert len(set(first)) == 100
    assert all(one < later for one in first)
    assert len({short_id(one) for one in first}) > 90


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"user-agent": "claude-cli/2.1.197 (external, cli)"}, "claude-code"),
        ({"user-agent": "codex_exec/0.169.0 (Debian)"}, "codex"),
        ({"user-agent": "ai-sdk", "originator": "opencode"}, "opencode"),
        ({"user-agent": "Anthropic/Python 2.12.0"}, "anthropic-sdk"),
        ({"user-agent": "AsyncOpenAI/Python 3.54"}, "openai-sdk"),
        ({"user-agent": "MyTool/1.0"}, "mytool"),
        ({"user-agent": "\x1b[31mevil"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_tools_are_known_by_their_headers(headers: dict[str, str], name: str) -> None:
    assert client_name(headers) == name


@pytest.mark.parametrize("fail_at", ["os.fsync", "os.fchmod", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(fail_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("settings.toml")
    path.write_text("old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fail_at, fail)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, b"new")
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.resolve().iterdir() if entry.name.endswith(".tmp")] == []


def test_a_private_folder_is_closed_to_others_even_if_it_was_open(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    private_dir(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_xdg_folders_are_honoured_and_relative_ones_ignored(tmp_path: Path) -> None:
    environ = {"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"}
    paths = Paths.of_user(environ)
    assert paths.config == tmp_path / "ccproxy"
    assert paths.cache == Path("/h/.cache/ccproxy")


def test_a_curl_command_sends_the_same_body_and_holds_no_token(tmp_path: Path) -> None:
    body = json.dumps({"text": "it's $HOME `date` CCPROXY_BODY\nnext"})
    command = curl_command(
        "http://127.0.0.1:1/x?a=b&c=d",
        [("content-type", "application/json"), ("authorization", "[redacted]"), ("anthropic-version", "1")],
        body,
        needs_token=True,
        stream=True,
    )
    assert "redacted" not in command
    stand_in = tmp_path / "curl"
    stand_in.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done >args\ncat >body\n')
    stand_in.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CCPROXY_TOKEN": "secret"}
    subprocess.run(["sh", "-c", command], env=environ, check=True)
    assert Path("body").read_text() == body + "\n"
    arguments = Path("args").read_text().splitlines()
    assert "http://127.0.0.1:1/x?a=b&c=d" in arguments
    assert "authorization: Bearer secret" in arguments
    assert "-N" in arguments
    assert shlex.split(command.split("<<")[0])


def test_a_handler_that_raises_is_reported_and_left_out(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus(clock)
    seen: list[tuple[str, float]] = []
    broken: list[Event] = []

    def breaks(event: Event, at: float) -> None:
        broken.append(event)
        raise ValueError("not mine")

    def store(event: Event, at: float) -> None:
        assert isinstance(event, Marked)
        seen.append((event.name, at))
        if event.name == "1":
            raise ValueError("once")

    bus.handle(breaks)
    bus.handle(store, essential=True)
    for number in range(3):
        bus.publish(Marked("x", str(number)))
        clock.advance(1.0)
    began = seen[0][1]
    assert seen == [("0", began), ("1", began + 1), ("2", began + 2)]
    assert len(broken) == 1
    assert [record.getMessage() for record in caplog.records] == ["a handler of Marked failed"] * 2


async def test_tasks_are_owned_named_and_end_with_their_owner(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()

    async def fail() -> None:
        raise ValueError("boom")

    tasks.start(fail(), name="the failing one")
    waiting = tasks.start(asyncio.sleep(100), name="waiting")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert "the failing one failed: boom" in caplog.text
    await tasks.close()
    assert waiting.cancelled()
    assert len(tasks) == 0


async def test_kept_work_is_started_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.core.system.supervisor.BACKOFF_FIRST", 0.001)
    attempts = 0

    async def work() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise OSError("not yet")

    tasks = Tasks()
    await tasks.keep(work, name="work")
    assert attempts == 4


@pytest.fixture
def restored_logging():  # type: ignore[no-untyped-def]
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)


def test_log_lines_are_private_masked_and_can_not_act_on_a_terminal(restored_logging: None) -> None:
    lines: list[LogLine] = []
    path = Path("logs") / "x.log"
    our_logging.configure(level="INFO", style="plain", file=path, stderr=False, sink=lines.append)
    token = "sk-ant-oat01-abcdefghijklmnopqrst"
    logging.getLogger("test").warning("token %s and \x1b[2J\nforged line", token, extra={"exchange": "E1"})
    try:
        raise ValueError(f"with {token}")
    except ValueError:
        logging.getLogger("test").exception("failed")
    for handler in logging.getLogger().handlers:
        handler.flush()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert token not in text + repr(lines)
    assert "\x1b" not in text
    entries = [json.loads(line) for line in text.splitlines()]
    assert len(entries) == 2
    assert entries[0]["exchange"] == "E1"
    assert lines[0].message == "token [redacted] and \\x1b[2J\\nforged line"
    assert "Traceback" in lines[1].message
