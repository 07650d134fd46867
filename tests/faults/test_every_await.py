"""Whatever await fails or is cancelled: no login is lost, no lock is left, what is in force is what the file has."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from ccproxy_tui.core.auth import renewer
from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.file_lock import LockTimeout
from ccproxy_tui.core.auth.renewal import ClaudeRenewal, Headers, RenewalFailed, TokenAnswer
from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.errors import InvalidRequest, NoCredentials
from ccproxy_tui.core.permissions.rules import parse_rule
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.rule_routes import _RuleApi
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.settings.live import LiveSettings
from ccproxy_tui.core.settings.models import PermissionRule
from ccproxy_tui.core.settings.sources import KeyPath
from ccproxy_tui.core.storage import Audit
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import Paths
from tests.faults.at_every_await import runs

LONG_AGO = 1


class Vendor:
    """A token endpoint whose refresh tokens count once. An answer may be lost on its way to us."""

    def __init__(self) -> None:
        self.spent: list[str] = []
        self.lost = False

    async def __call__(self, method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        await asyncio.sleep(0)
        token = json.loads(body)["refresh_token"]
        self.spent.append(token)
        try:
            await asyncio.sleep(0)
        except BaseException:
            self.lost = True
            raise
        if self.spent.count(token) > 1:
            return TokenAnswer(400, b'{"error": "invalid_grant"}')
        number = len(self.spent)
        renewed = {"access_token": f"fresh-{number}", "refresh_token": f"refresh-{number}", "expires_in": 28_800}
        return TokenAnswer(200, json.dumps(renewed).encode())


def account_of(vendor: Vendor) -> Account:
    paths, clock = Paths.of_user(), SystemClock()

    async def ask(method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        try:
            return await vendor(method, url, headers, body)
        except OSError as error:  # as `make_ask` has it
            raise RenewalFailed(str(error)) from error

    renewal = ClaudeRenewal(ask, lambda: "", lambda: "", clock)
    return Account("claude", "Claude", ClaudeFile(paths, clock), renewal, clock, paths.state / "logins", "Log in.")


def credentials() -> Path:
    return Path.home() / ".claude" / ".credentials.json"


def write_login(**login: Any) -> None:
    credentials().parent.mkdir(exist_ok=True)
    oauth = {"accessToken": "old", "refreshToken": "refresh-0", "expiresAt": LONG_AGO, "scopes": [], "kept": [1]}
    credentials().write_text(json.dumps({"claudeAiOauth": {**oauth, **login}, "mcpOAuth": "other"}))


def left_behind() -> list[str]:
    """The locks and temporary files that are there when nothing runs."""
    names = [path.name for path in Path.home().rglob("*")]
    return [name for name in names if name.endswith(".tmp") or name in (".claude.lock", ".oauth_refresh.lock")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewer, "_ADOPT_SECONDS", 0.01)
    monkeypatch.setattr(renewer, "_PUT_BACK", 0.01)
    monkeypatch.setattr("ccproxy_tui.core.system.files.os.fsync", lambda _: None)


def test_no_login_is_lost_by_a_renewal() -> None:
    vendor = Vendor()

    def prepare() -> None:
        shutil.rmtree(Paths.of_user().state, ignore_errors=True)
        write_login()
        vendor.__init__()  # type: ignore[misc]

    async def operation() -> str:
        account = account_of(vendor)
        requests = [asyncio.ensure_future(account.credential()) for _ in range(2)]
        await asyncio.gather(*requests, return_exceptions=True)
        await account.settle(5)
        return (await account.credential()).secret

    lost: list[object] = []
    for outcome in runs(prepare, operation, NoCredentials, ends=True):
        assert left_behind() == [], outcome
        assert len(vendor.spent) <= 1 or vendor.lost, f"{outcome}: spent twice"
        found = json.loads(credentials().read_text())
        assert (found["mcpOAuth"], found["claudeAiOauth"]["kept"]) == ("other", [1]), outcome
        if vendor.lost:
            lost += [outcome] if not outcome.lasting else []
            continue
        asked = len(vendor.spent)
        assert asyncio.run(account_of(vendor).credential()).secret == "fresh-1", f"{outcome}: lost"
        assert asked == 0 or len(vendor.spent) == asked, f"{outcome}: spent again"
    assert len(lost) == 2, f"not only when the wait for the answer itself went wrong: {list(map(str, lost))}"


def test_a_login_that_waits_for_its_file_is_put_back_or_still_waits() -> None:
    vendor = Vendor()

    def prepare() -> None:
        shutil.rmtree(Paths.of_user().state, ignore_errors=True)
        write_login()
        vendor.__init__()  # type: ignore[misc]
        credentials().parent.chmod(0o500)
        asyncio.run(renew_without_room())
        credentials().parent.chmod(0o700)

    async def renew_without_room() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ClaudeFile, "reserve", _no_room)
            assert (await account_of(vendor).credential()).secret == "fresh-1"

    for outcome in runs(prepare, lambda: account_of(vendor).keep_fresh()):
        assert left_behind() == [], outcome
        waits = list((Paths.of_user().state / "logins" / "kept").iterdir())
        token = json.loads(credentials().read_text())["claudeAiOauth"]["accessToken"]
        assert (token, len(waits)) in (("fresh-1", 0), ("old", 1)), outcome
        assert asyncio.run(account_of(vendor).credential()).secret == "fresh-1", outcome
        assert vendor.spent == ["refresh-0"], outcome


def _no_room(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_login_is_saved_and_taken_out_whole_or_not_at_all() -> None:
    account = account_of(Vendor())
    after = {"claudeAiOauth": {"accessToken": "new", "refreshToken": "s"}, "mcpOAuth": "other"}

    for change in (lambda: account.log_in(lambda _: after), account.log_out):
        taken_out = {"mcpOAuth": "other"}
        wanted = taken_out if change == account.log_out else after
        for outcome in runs(write_login, change, LockTimeout):
            found = json.loads(credentials().read_text())
            assert (found == wanted) is (outcome.error is None), outcome
            assert found == wanted or found["claudeAiOauth"]["accessToken"] == "old", outcome
            assert left_behind() == [], outcome


# --- settings and rules ---

RULE = PermissionRule(rule="Bash(ls:*)")
HOLD: KeyPath = ("accounts", "hold_seconds")


def test_what_is_in_force_is_what_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    made: list[LiveSettings] = []

    def prepare() -> None:
        path.write_text("[accounts]\nhold_seconds = 10\n")
        made.append(LiveSettings(load(config=path)))

    async def operation() -> str:
        changing = asyncio.ensure_future(made[-1].change(HOLD, "40"))
        await made[-1].change_rules(add=[RULE])
        return await changing

    for outcome in runs(prepare, operation):
        current, after = made[-1].current, load(config=path).settings
        assert current.permissions.rules == after.permissions.rules, outcome
        later = "after a restart" in str(outcome.said)
        assert later or current.accounts.hold_seconds == after.accounts.hold_seconds, outcome


def test_a_rule_is_taken_out_and_brought_back_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    rule = parse_rule(RULE.rule, "allow")
    made: list[_RuleApi] = []

    def prepare() -> None:
        path.write_text('[[permissions.rules]]\nrule = "Bash(ls:*)"\n')
        hub = Hub(load(config=path), SystemClock(), None)  # type: ignore[arg-type]
        hub.rules.lend([rule], 8)
        made.append(_RuleApi(hub))

    def state() -> tuple[int, int, int]:
        """How often the rule is there: lent, kept, and in the file."""
        hub = made[-1]._hub
        return (
            len(hub.rules.temporary()),
            len(hub.settings.permissions.rules),
            len(load(config=path).settings.permissions.rules),
        )

    async def take_out() -> None:
        await made[-1].remove(_request({"rule": RULE.rule}))

    async def bring_back() -> None:
        await made[-1].undo(_request({}))

    def prepare_undo() -> None:
        prepare()
        asyncio.run(take_out())

    for outcome in runs(prepare, take_out, InvalidRequest):
        assert state() in ((1, 1, 1), (0, 0, 0)), outcome
        if state() == (0, 0, 0):
            asyncio.run(bring_back())
            assert state() == (1, 1, 1), outcome
    for outcome in runs(prepare_undo, bring_back, InvalidRequest):
        assert state() in ((1, 1, 1), (0, 0, 0)), outcome
        if state() == (0, 0, 0):
            asyncio.run(bring_back())
            assert state() == (1, 1, 1), outcome


def _request(body: dict[str, str]) -> Request:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [], "path_params": {}}, receive)


# --- history ---


def test_a_look_at_the_history_that_ends_early_costs_no_row(tmp_path: Path) -> None:
    made: list[Audit] = []
    empty = dict.fromkeys(AuditRow.__struct_fields__, "")

    def prepare() -> None:
        path = tmp_path / f"{len(made)}" / "history.duckdb"
        made.append(Audit(path, 90, 0.0))
        made[-1].note(AuditRow(**{**empty, "id": "one", "asked": 1.0, "seconds": 1.0}))

    async def operation() -> tuple[int, int]:
        rows, hits = await asyncio.gather(made[-1].recent(10), made[-1].hits())
        return len(rows), len(hits)

    for outcome in runs(prepare, operation):
        assert [row.id for row in asyncio.run(made[-1].recent(10))] == ["one"], outcome
        made[-1].close()
        assert made[-1].problem == "", outcome
