"""What is kept of permission requests, in a real database."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec
import pytest

from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.permissions import Broker, Decision, Entry, PermissionRequest
from ccproxy_tui.core.permissions.preview import look_at
from ccproxy_tui.core.server.desk import audit_row
from ccproxy_tui.core.server.viewer import ask_view
from ccproxy_tui.core.storage import Audit
from tests.conftest import StartProxy, running_proxy, until
from tests.fakes.clock import FakeClock

SECRET = "sk-ant-api03-0123456789abcdefghij"


def row(name: str, asked: float = 1_790_000_000.0, **more: Any) -> AuditRow:
    fields: dict[str, Any] = dict.fromkeys(AuditRow.__struct_fields__, "x") | {"id": name, "asked": asked}
    return AuditRow(**fields | {"seconds": 1.0} | more)


async def test_rows_come_back_the_latest_first_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "data" / "history.duckdb"
    audit = Audit(path, 90, 1_790_000_000.0)
    for number in range(50):
        audit.note(row(f"p{number}", 1_790_000_000.0 + number, tool="'; DROP TABLE permissions --"))
    assert [one.id for one in await audit.recent(3)] == ["p49", "p48", "p47"]
    audit.note(row("odd", 1.0, message="\ud800"))
    assert len(await audit.recent(1000)) == 50, "what can't be written stops nothing"
    audit.close()
    assert await audit.recent(3) == [], "and nobody waits for a closed one"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    later = Audit(path, 90, 1_790_000_010.0 + 90 * 86_400)
    assert len(await later.recent(100)) == 40
    later.close()


async def test_a_database_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    columns = [name for name in AuditRow.__struct_fields__ if name not in ("decider", "original", "digest")]
    kinds = ", ".join(f'"{name}" {"DOUBLE" if name in ("asked", "seconds") else "VARCHAR"}' for name in columns)
    with duckdb.connect(str(path)) as database:
        database.execute(f"CREATE TABLE permissions ({kinds}, PRIMARY KEY (id))")
        values = [getattr(row("old"), name) for name in columns]
        database.execute(f"INSERT INTO permissions VALUES ({', '.join('?' * len(columns))})", values)
    audit = Audit(path, 90, 1_790_000_000.0)
    audit.note(row("new", 1_790_000_001.0, decider="pid 7", original="{}", digest="0a"))
    assert [(one.id, one.decider, one.original, one.digest) for one in await audit.recent(5)] == [
        ("new", "pid 7", "{}", "0a"),
        ("old", "", "", ""),
    ]
    audit.close()


async def test_a_damaged_database_is_put_aside_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "history.duckdb"
    damaged = b"this is no database" * 1000
    path.write_bytes(damaged)
    audit = Audit(path, 90, 0.0)
    audit.note(row("p1"))
    assert [one.id for one in await audit.recent(5)] == ["p1"]
    audit.close()
    assert audit.problem == ""
    [aside] = tmp_path.glob("history.duckdb.damaged-*")
    assert aside.read_bytes() == damaged
    assert f"was moved to {aside}" in caplog.text


ROWS = """
import asyncio, os, signal, sys, time
from pathlib import Path
from ccproxy_tui.core.storage import Audit
from ccproxy_tui.core.control.frames import AuditRow
name, end = sys.argv[1:]
fields = dict.fromkeys(AuditRow.__struct_fields__, "x")
audit = Audit(Path("history.duckdb"), 90, 1_790_000_000.0)
audit.start()
async def run():
    for number in range(20):
        audit.note(AuditRow(**fields | {"id": f"{name}{number}", "asked": 1_790_000_000.0 + number, "seconds": 1.0}))
        await asyncio.sleep(0.02)
asyncio.run(run())
print("noted", flush=True)
if end == "kill":
    time.sleep(1)  # what is older than a second is not lost
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
audit.close()
"""


def test_every_row_of_two_proxies_is_kept_also_of_a_killed_one(tmp_path: Path) -> None:
    """The database is held by another program at first; rows that are 20 ms old survive a kill at any time."""

    def proxy(name: str, end: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", ROWS, name, end], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    hold = "import duckdb, sys; base = duckdb.connect('history.duckdb'); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", hold], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    killed, first, second = proxy("k", "kill"), proxy("a", "close"), proxy("b", "close")
    killed.communicate(timeout=30)
    for one in (first, second):
        assert one.stdout is not None
        assert one.stdout.readline() == b"noted\n"
    holder.communicate(timeout=30)
    for one in (first, second):
        one.communicate(timeout=30)
    asyncio.run(_settled(tmp_path / "history.duckdb"))
    with duckdb.connect(str(tmp_path / "history.duckdb"), read_only=True) as database:
        found = {name for (name,) in database.execute("SELECT id FROM permissions").fetchall()}
    assert found >= {f"{name}{number}" for name in "ab" for number in range(20)}
    assert found >= {f"k{number}" for number in range(20)}
    assert list((tmp_path / "history.waiting").iterdir()) == []


async def test_what_no_proxy_has_left_is_not_taken_over(tmp_path: Path) -> None:
    waiting = tmp_path / "history.waiting"
    waiting.mkdir(mode=0o700)
    line = msgspec.json.encode(row("left")) + b"\n"
    (waiting / "1-a.jsonl").write_bytes(b'{"id": 5}\n\xff\xfe\n[[[[\n' + line + line[:40])
    os.mkfifo(waiting / "1-b.jsonl")
    (waiting / "1-c.jsonl").mkdir()
    (tmp_path / "elsewhere").write_bytes(msgspec.json.encode(row("linked")))
    (waiting / "1-d.jsonl").symlink_to(tmp_path / "elsewhere")
    with (waiting / "1-e.jsonl").open("wb") as huge:
        huge.truncate(1 << 40)
    if os.getuid() == 0:
        (waiting / "1-f.jsonl").write_bytes(msgspec.json.encode(row("planted")))
        os.chown(waiting / "1-f.jsonl", 65534, 65534)
    audit = Audit(tmp_path / "history.duckdb", 90, 1_790_000_000.0)
    audit.note(row("own", 1_790_000_001.0))
    assert [one.id for one in await audit.recent(10)] == ["own", "left"]
    assert audit.problem == ""
    audit.close()
    assert not (waiting / "1-a.jsonl").exists()
    (waiting / "1-e.jsonl").unlink()  # for the look for secrets after each test


async def _settled(path: Path) -> None:
    """The next proxy takes over what others have left."""
    audit = Audit(path, 90, 1_790_000_000.0)
    await audit.recent(1)
    audit.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if made.returncode:
        if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
            pytest.fail("a small disk needs the right to mount one")
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes what room there is."""
    path = folder / "full"
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return path


@pytest.mark.parametrize("when", ["at start", "later"])
async def test_rows_of_a_full_disk_are_counted_and_kept_when_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    monkeypatch.setattr("ccproxy_tui.core.storage.audit._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("ccproxy_tui.core.storage.audit._MOST_IN_MEMORY", 30)
    caplog.set_level("WARNING")
    audit = Audit(small_disk / "data" / "history.duckdb", 90, 1_790_000_000.0)
    if when == "later":
        audit.note(row("before"))
        assert len(await audit.recent(5)) == 1
    full = fill(small_disk)
    for number in range(40):
        audit.note(row(f"p{number}", 1_790_000_000.0 + number, input="x" * 5000))
    await until(lambda: "No space left" in audit.problem)
    shown = await audit.recent(100)
    assert shown[0].id == "p39"
    full.unlink()
    await until(lambda: "No space left" not in audit.problem and "wait" not in audit.problem)
    found = {one.id for one in await audit.recent(100)} - {"before"}
    assert found >= {f"p{number}" for number in range(10, 40)}
    lost = 40 - len(found)
    assert audit.problem == (f"{lost} rows are lost" if lost else "")
    assert lost == (10 if when == "at start" else lost)
    assert len([one for one in caplog.records if "are not kept" in one.message]) == 1
    assert len([one for one in caplog.records if "kept again" in one.message]) == 1
    audit.close()


async def test_each_request_and_its_answer_are_kept(start_proxy: StartProxy) -> None:
    environ = {"HISTORY__ENABLED": "true", "PERMISSIONS__WITHOUT_FRONT_END": "wait"}
    async with running_proxy(**environ) as proxy:
        check = {"tool_name": "Bash", "input": {"command": f"curl -H {SECRET}"}, "session_id": "s1", "cwd": "/repo"}

        async def ask() -> httpx.Response:
            return await proxy.client.post("/mcp/permission/check", json=check)

        asking = asyncio.create_task(ask())
        await until(lambda: len(proxy.hub.broker.pending) == 1)
        control = proxy.control()
        await control.answer_permission(proxy.hub.broker.pending[0].id, allowed=False, message="not so")
        await asking
        leaving = asyncio.create_task(ask())
        await until(lambda: len(proxy.hub.broker.pending) == 1)
        leaving.cancel()
        await until(lambda: proxy.hub.broker.pending == [])
        gone, denied = await control.permission_history(10)
        assert (gone.status, gone.by) == ("cancelled", "its client")
        assert (denied.tool, denied.status, denied.message) == ("Bash", "denied", "not so")
        assert f"pid {os.getpid()}, " in denied.decider, "the process that decided"
        assert (denied.session, denied.cwd, denied.source) == ("s1", "/repo", "rest")
        assert "curl -H" in denied.input
        assert SECRET not in denied.input
        await control.close()
    found = list(Path.home().rglob("history.duckdb"))
    with duckdb.connect(str(found[0]), read_only=True) as database:
        assert database.execute("SELECT status FROM permissions ORDER BY asked").fetchall() == [
            ("denied",),
            ("cancelled",),
        ]


def test_an_edited_request_is_kept_as_it_was_decided_with_the_original_beside_it() -> None:
    request = PermissionRequest("Bash\ud800", {"command": f"echo {SECRET}"}, "rest")
    entry = Entry("1", request, 0.0, 0.0, 60.0, look=look_at(request))
    asked = audit_row(entry)
    assert asked.tool == "Bash\\ud800", "a database takes it"
    assert SECRET not in asked.input
    assert asked.digest == hashlib.sha256(msgspec.json.encode(request.input)).hexdigest(), "of the unmasked input"
    entry.decision = Decision(allowed=True, by="you", input={"command": "ls"})
    kept = audit_row(entry)
    assert (kept.input, kept.original) == ('{"command":"ls"}', asked.input)
    assert kept.digest == hashlib.sha256(b'{"command":"ls"}').hexdigest()
    assert json.loads(ask_view(entry, Broker(FakeClock())).edited) == {"command": "ls"}


async def test_hits_and_what_a_rule_would_have_allowed_outlive_the_proxy() -> None:
    rule = [{"rule": "Bash(ls:*)"}]
    environ = {
        "HISTORY__ENABLED": "true",
        "PERMISSIONS__WITHOUT_FRONT_END": "wait",
        "PERMISSIONS__RULES": json.dumps(rule),
    }

    def check(command: str) -> dict[str, Any]:
        return {"tool_name": "Bash", "input": {"command": command}, "session_id": "s1", "cwd": "/repo"}

    async with running_proxy(**environ) as proxy:
        for command in ("ls a", "ls b", "ls" + f" {'c' * 60}" * 80):
            await proxy.client.post("/mcp/permission/check", json=check(command))
    async with running_proxy(**environ) as proxy:
        control = proxy.control()
        [view] = await control.rules()
        assert (view.hits, view.last > 0) == (3, True)
        asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=check("ls a && git diff")))
        await until(lambda: len(proxy.hub.broker.pending) == 1)
        proposal = await control.propose_rules(proxy.hub.broker.pending[0].id)
        assert (proposal.rules, proposal.fits, proposal.of) == (["Bash(ls:*)", "Bash(git diff:*)"], 2, 3)
        await control.close()
        asking.cancel()
