"""Whatever call fails: a file is old or new and whole, its mode stays, no secret lies about, no login is lost."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.auth import owner_lock, renewer
from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.file_lock import LockTimeout
from ccproxy_tui.core.auth.oauth import Headers
from ccproxy_tui.core.auth.renewal import ClaudeRenewal, TokenAnswer
from ccproxy_tui.core.client_token import client_token, client_token_file
from ccproxy_tui.core.connect import TARGETS
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.control.hook_proof import install_key, key_file, read_key
from ccproxy_tui.core.control.key import ControlKey, find_key, keep_key
from ccproxy_tui.core.detection.cache import DetectionCache
from ccproxy_tui.core.detection.record import Detected
from ccproxy_tui.core.errors import NoCredentials
from ccproxy_tui.core.settings import edit
from ccproxy_tui.core.settings.trust import TrustStore
from ccproxy_tui.core.storage.audit import _SELECT, Audit
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.files import replace_file
from ccproxy_tui.core.system.paths import Paths
from tests.faults.at_every_n import runs

NOW = 1_790_000_000.0
OLD, NEW = b'{"old": true}', b'{"new": "' + b"x" * 5000 + b'"}'


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that the kernel has: fsync is counted, and does nothing."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def fresh(folder: Path) -> Callable[[], None]:
    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)

    return prepare


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if ".tmp" in path.name or path.name.startswith(".hook.key."))


# --- files ---


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "files"
    path = folder / "settings.json"

    def prepare() -> None:
        fresh(folder)()
        path.write_bytes(OLD)
        path.chmod(mode)

    for outcome in runs(prepare, lambda: replace_file(path, NEW)):
        assert path.read_bytes() in (OLD, NEW), outcome
        assert stat.S_IMODE(path.stat().st_mode) == mode, outcome
        if not outcome.killed and not outcome.error:
            assert path.read_bytes() == NEW, outcome
        if outcome.mode == "once":
            assert leftovers(folder) == [], outcome
        replace_file(path, NEW)
        assert leftovers(folder) == [], f"{outcome}: never swept"


def test_settings_are_edited_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    path = folder / "config.toml"
    before = "# mine\n[server]\nport = 8001 # keep\n"

    def prepare() -> None:
        fresh(folder)()
        path.write_text(before)

    key = ("permissions", "timeout_seconds")
    for outcome in runs(prepare, lambda: edit.set_values(path, {key: 30.0})):
        text = path.read_text()
        assert text == before or ("timeout_seconds = 30" in text and text.startswith(before)), outcome
        if not outcome.killed and not outcome.error:
            assert text != before, outcome
        edit.set_values(path, {key: 40.0})
        assert leftovers(folder) == [], outcome


def test_a_tool_is_connected_and_let_go_whole_or_not_at_all(tmp_path: Path) -> None:
    from ccproxy_tui.cli.connect import _change
    from ccproxy_tui.cli.errors import Failure
    from ccproxy_tui.core.connect import Proxy

    home = Path.home()
    proxy = Proxy("http://127.0.0.1:8000")
    (target,) = TARGETS["claude-code"]
    path = home / target.path
    before = '{"model": "opus"}\n'
    for undo in (False, True):

        def prepare(*, undo: bool = undo) -> None:
            fresh(path.parent)()
            path.write_text(before)
            path.chmod(0o640)
            shutil.rmtree(Paths.of_user().state, ignore_errors=True)
            if undo:
                _change("claude-code", target, proxy, undo=False, dry_run=False)

        with_us = target.add(before, proxy)
        old, new = (with_us, before) if undo else (before, with_us)

        def operation(*, undo: bool = undo) -> bool:
            return _change("claude-code", target, proxy, undo=undo, dry_run=False)

        for outcome in runs(prepare, operation, Failure):
            assert path.read_text() == old or json.loads(path.read_text()) == json.loads(new), outcome
            assert stat.S_IMODE(path.stat().st_mode) == 0o640, outcome
            if not outcome.killed and not outcome.error:
                assert json.loads(path.read_text()) == json.loads(new), outcome
            _change("claude-code", target, proxy, undo=True, dry_run=False)
            assert json.loads(path.read_text()) == json.loads(before), f"{outcome}: undo brings back what was there"


def test_trust_is_given_and_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    paths = Paths.of_user()
    store = TrustStore(paths)
    other, one = Path("/repo/other.toml"), Path("/repo/.ccproxy.toml")

    def prepare() -> None:
        fresh(paths.data)()
        store.trust(other, "0" * 64, {}, 1.0)

    for outcome in runs(prepare, lambda: store.trust(one, "1" * 64, {}, 2.0)):
        assert store.trusts(other, "0" * 64), outcome
        if not outcome.killed:
            assert store.trusts(one, "1" * 64) is (not outcome.error), outcome
        store.trust(one, "1" * 64, {}, 3.0)
        assert leftovers(paths.data) == [], outcome
    for outcome in runs(prepare, lambda: store.revoke(other)):
        if not outcome.killed:
            assert store.trusts(other, "0" * 64) is bool(outcome.error), outcome


# --- keys and registrations ---


def test_the_key_of_hooks_is_whole_or_not_there(tmp_path: Path) -> None:
    paths = Paths.of_user()
    path = key_file(paths)
    for outcome in runs(fresh(paths.state), lambda: install_key(paths).hex()):
        assert read_key(path) is not None or not path.exists(), outcome
        if outcome.said is not None:
            assert read_key(path) == bytes.fromhex(outcome.said), outcome
        key = install_key(paths)
        assert read_key(path) == key, outcome
        assert leftovers(paths.state) == [], f"{outcome}: a key is never swept"


def test_the_token_of_clients_is_whole_or_not_there(tmp_path: Path) -> None:
    paths = Paths.of_user()
    for outcome in runs(fresh(paths.state), lambda: client_token(paths)):
        found = client_token_file(paths)
        if outcome.said is not None:
            assert found.read_text() == outcome.said, outcome
        assert not found.exists() or stat.S_IMODE(found.stat().st_mode) == 0o600, outcome
        assert client_token(paths) == found.read_text(), outcome
        assert not outcome.said or client_token(paths) == outcome.said, outcome
        if not found.exists():
            assert leftovers(paths.state) == [], outcome


def test_a_control_key_and_a_registration_are_whole_or_not_there(tmp_path: Path) -> None:
    paths = Paths.of_user()
    key = ControlKey(b"k" * 32)
    instance = instances.Instance(os.getpid(), "127.0.0.1", 8123, str(paths.runtime / "8123.sock"), "0", 1.0, False)

    def operation() -> None:
        keep_key(paths.runtime, 8123, key)
        instances.register(instance)

    for outcome in runs(fresh(paths.runtime), operation):
        assert find_key(paths, 8123) in (None, key), outcome
        assert all(one == instance for one in instances.registered(paths)), outcome
        if not outcome.killed and not outcome.error:
            assert find_key(paths, 8123) == key, outcome
            assert instances.registered(paths) == [instance], outcome
        operation()
        assert leftovers(paths.runtime) == [], outcome


# --- logins ---


class Vendor:
    """A token endpoint whose refresh tokens count once; what it has spent lies in a file, beyond all faults."""

    def __init__(self, ledger: Path) -> None:
        self.ledger, self._open = ledger, io.open

    async def __call__(self, method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        token = json.loads(body)["refresh_token"]
        with self._open(self.ledger, "a") as ledger:
            ledger.write(f"{token}\n")
        number = len(self.spent)
        if self.spent.count(token) > 1:
            return TokenAnswer(400, b'{"error": "invalid_grant"}')
        renewed = {"access_token": f"fresh-{number}", "refresh_token": f"refresh-{number}", "expires_in": 28_800}
        return TokenAnswer(200, json.dumps(renewed).encode())

    @property
    def spent(self) -> list[str]:
        if not self.ledger.exists():
            return []
        with self._open(self.ledger) as ledger:
            return ledger.read().split()


def account_of(vendor: Vendor) -> Account:
    paths, clock = Paths.of_user(), SystemClock()
    renewal = ClaudeRenewal(vendor, lambda: "", lambda: "", clock)
    return Account("claude", "Claude", ClaudeFile(paths, clock), renewal, clock, paths.state / "logins", "Log in.")


async def _renewed(vendor: Vendor) -> str:
    account = account_of(vendor)
    secret = (await account.credential()).secret
    await account.settle(5)
    return secret


def test_no_login_is_lost_by_a_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewer, "_ADOPT_SECONDS", 0.01)
    folder = Path.home() / ".claude"
    path = folder / ".credentials.json"
    vendor = Vendor(tmp_path / "ledger")
    oauth = {"accessToken": "old", "refreshToken": "refresh-0", "expiresAt": 1, "scopes": [], "kept": [1]}
    document = {"claudeAiOauth": oauth, "mcpOAuth": {"other": "login"}}

    def prepare() -> None:
        fresh(folder)()
        shutil.rmtree(Paths.of_user().state, ignore_errors=True)
        vendor.ledger.unlink(missing_ok=True)
        path.write_text(json.dumps(document))
        path.chmod(0o640)

    lost = 0
    for outcome in runs(prepare, lambda: _renewed(vendor), NoCredentials):
        found = json.loads(path.read_text())
        assert found["mcpOAuth"] == {"other": "login"}, outcome
        assert found["claudeAiOauth"]["accessToken"] in ("old", "fresh-1"), outcome
        assert found["claudeAiOauth"]["kept"] == [1], outcome
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, outcome
        spent = len(vendor.spent)
        assert spent <= 1, f"{outcome}: spent twice"
        if not outcome.killed:
            assert outcome.said == "fresh-1" if spent else outcome.error, outcome
        before = time.monotonic()
        try:
            with monkeypatch.context() as quick:
                quick.setattr(owner_lock, "STALE", 0.0)  # of the one that was killed, without a minute of waiting
                quick.setattr(owner_lock, "TOUCH", -0.95)
                secret = asyncio.run(_renewed(vendor))
        except NoCredentials:
            # Only what was in memory alone: nothing on any disk could take it, or it was killed with the answer.
            assert spent, outcome
            assert outcome.mode in ("from then on", "kill"), f"{outcome}: lost"
            lost += 1
            continue
        assert secret == "fresh-1", outcome
        assert time.monotonic() - before < 30, f"{outcome}: a lock is left"
        assert [name for name in leftovers(folder) if "credentials" in name] == [], f"{outcome}: never swept"
    assert lost < 12


def test_a_login_is_saved_and_taken_out_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = Path.home() / ".claude"
    path = folder / ".credentials.json"
    before = {"mcpOAuth": {"other": "login"}, "claudeAiOauth": {"accessToken": "old", "refreshToken": "r"}}
    after = {**before, "claudeAiOauth": {"accessToken": "new", "refreshToken": "s"}}
    account = account_of(Vendor(tmp_path / "ledger"))

    def prepare() -> None:
        fresh(folder)()
        path.write_text(json.dumps(before))

    async def log_in() -> str:
        return await account.log_in(lambda _: after)

    for outcome in runs(prepare, log_in, LockTimeout):
        found = json.loads(path.read_text())
        assert found in (before, after), outcome
        if not outcome.killed:
            assert (found == after) is (not outcome.error), outcome

    async def log_out() -> str:
        return await account.log_out()

    for outcome in runs(prepare, log_out, LockTimeout):
        found = json.loads(path.read_text())
        assert found in (before, {"mcpOAuth": {"other": "login"}}), outcome
        if not outcome.killed:
            assert ("claudeAiOauth" in found) is bool(outcome.error), outcome


def test_a_capture_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    cache = DetectionCache(tmp_path / "captures")

    def capture(version: str, captured: float) -> Detected:
        return Detected("codex", version, captured)

    def prepare() -> None:
        fresh(tmp_path / "captures")()
        cache.save(capture("1", 100.0))

    for outcome in runs(prepare, lambda: cache.save(capture("2", 200.0))):
        versions = [one.version for one in cache.load("codex")]
        assert versions in (["1"], ["2", "1"]), outcome
        if not outcome.killed and not outcome.error:
            assert versions == ["2", "1"], outcome
        cache.save(capture("2", 300.0))
        assert leftovers(tmp_path) == [], outcome


def test_a_capture_is_the_newest_though_the_clock_was_set_back(tmp_path: Path) -> None:
    cache = DetectionCache(tmp_path)
    for version in range(8):
        cache.save(Detected("codex", str(version), 1000.0 - version))
    assert [one.version for one in cache.load("codex")] == ["7", "6", "5", "4", "3"]


# --- history ---


def test_no_row_of_the_history_is_lost_in_silence(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    path = folder / "history.duckdb"
    empty = dict.fromkeys(AuditRow.__struct_fields__, "")
    rows = [AuditRow(**{**empty, "id": str(n), "asked": NOW + n, "seconds": 1.0}) for n in range(3)]

    def operation() -> str:
        """As its two threads do, in one: so that the n-th call is always the same one."""
        audit = Audit(path, 90, NOW)
        for row in rows:
            audit._unwritten.append(row)
            audit._write_down()
        audit._settle(None)
        return audit.problem

    for outcome in runs(fresh(folder), operation):
        later = Audit(path, 90, NOW)
        done: Future[Any] = Future()
        later._settle((_SELECT, [10], done))
        kept = {row[0] for row in done.result() or ()}
        assert later.problem == "", outcome
        assert outcome.killed or outcome.said or kept == {"0", "1", "2"}, outcome
        if outcome.mode == "once":
            assert kept == {"0", "1", "2"}, outcome
