"""What is kept of permission requests, in a real database."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec
import pytest

from ccproxy_tui.core.frames import AuditRow
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


async def test_a_database_that_can_t_be_used_is_said_and_nothing_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "history.duckdb"
    path.write_bytes(b"this is no database" * 1000)
    audit = Audit(path, 90, 0.0)
    audit.note(row("p1"))
    assert await audit.recent(5) == []
    audit.close()
    assert "are not kept" in caplog.text
    assert audit.problem


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
        assert (gone.status, gone.by) == ("cancelled", "its asker")
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
