"""One renewal among all programs, beside requests, and no login lost: real files, locks, processes and full disks."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.auth import owner_lock
from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.oauth import Headers
from ccproxy_tui.core.auth.renewal import ClaudeRenewal, TokenAnswer
from ccproxy_tui.core.errors import NoCredentials
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import until, write_claude_login

LONG_AGO = 1_600_000_000_000


def soon() -> int:
    """In milliseconds: a token that lives and is due for renewal."""
    return int(time.time() * 1000) + 60_000


def credentials() -> Path:
    return Path.home() / ".claude" / ".credentials.json"


def written() -> dict[str, Any]:
    oauth: dict[str, Any] = json.loads(credentials().read_text())["claudeAiOauth"]
    return oauth


class TokenEndpoint:
    """Answers renewals when it is let to; `asked` has the refresh tokens that were spent."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.status = 200
        self.wait = 0.0
        self.during: list[Any] = []  # called while a renewal is on its way

    async def __call__(self, method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        self.asked.append(json.loads(body)["refresh_token"])
        for call in self.during:
            call()
        await self.open.wait()
        if self.status != 200:
            return TokenAnswer(self.status, json.dumps({"error": "invalid_grant"}).encode(), self.wait)
        number = len(self.asked)
        fresh = {"access_token": f"fresh-{number}", "refresh_token": f"refresh-{number}", "expires_in": 28_800}
        return TokenAnswer(200, json.dumps(fresh).encode())


@pytest.fixture
async def endpoint() -> TokenEndpoint:
    return TokenEndpoint()


def account_on(endpoint: TokenEndpoint) -> Account:
    paths, clock = Paths.of_user(), SystemClock()
    renewal = ClaudeRenewal(endpoint, lambda: "http://127.0.0.1/token", lambda: "id", clock)
    return Account("claude", "Claude", ClaudeFile(paths, clock), renewal, clock, paths.state / "logins", "Log in.")


# --- beside requests ---


async def test_a_living_token_is_served_while_its_renewal_hangs(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=soon(), accessToken="living")
    endpoint.open.clear()
    account = account_on(endpoint)
    async with asyncio.timeout(2):
        served = [(await account.credential()).secret for _ in range(20)]
    await until(lambda: len(endpoint.asked) == 1)
    assert served == ["living"] * 20
    endpoint.open.set()
    await account.settle(5)
    assert (await account.credential()).secret == "fresh-1"
    assert len(endpoint.asked) == 1


async def test_one_failure_is_shared_by_everyone_who_waits(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    endpoint.status = 503
    endpoint.open.clear()
    account = account_on(endpoint)
    waiting = [asyncio.ensure_future(account.credential()) for _ in range(20)]
    await until(lambda: len(endpoint.asked) == 1)
    endpoint.open.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {NoCredentials}
    with pytest.raises(NoCredentials, match="503"):
        await account.credential()
    assert len(endpoint.asked) == 1, "it pauses after a failure, also when nothing else is left"


async def test_another_login_in_the_file_ends_the_pause(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    endpoint.status = 400
    account = account_on(endpoint)
    with pytest.raises(NoCredentials):
        await account.credential()
    endpoint.status = 200
    write_claude_login(expiresAt=LONG_AGO, refreshToken="another")
    await asyncio.sleep(0.3)  # the file is looked at four times a second at most
    assert (await account.credential()).secret == "fresh-2"
    assert endpoint.asked[-1] == "another"


async def test_who_waits_may_leave_and_the_new_token_is_kept(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    endpoint.open.clear()
    account = account_on(endpoint)
    waiting = asyncio.ensure_future(account.credential())
    await until(lambda: len(endpoint.asked) == 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    endpoint.open.set()
    await account.settle(5)
    assert written()["accessToken"] == "fresh-1"


# --- among programs ---


async def test_the_owners_locks_are_held_while_a_token_is_asked_for(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    folders = owner_lock.lock_folders(credentials())
    endpoint.during.append(lambda: seen.extend(folder.is_dir() for folder in folders))
    seen: list[bool] = []
    await account_on(endpoint).credential()
    assert seen == [True, True]
    assert not any(folder.exists() for folder in folders)


async def test_a_linked_configuration_folder_is_locked_where_claude_code_locks_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / ".claude"
    link.symlink_to(tmp_path / "real")
    folders = owner_lock.lock_folders(link / ".credentials.json")
    assert folders == [link / ".oauth_refresh.lock", tmp_path / "real.lock"]


OWNER = """
import json, os, sys, time
from pathlib import Path
config = Path(sys.argv[1])
lock = config / ".oauth_refresh.lock"
lock.mkdir()
(config.parent / ".claude.lock").mkdir()
print("held", flush=True)
until = time.time() + 1.0
while time.time() < until:
    os.utime(lock)
    time.sleep(0.05)
document = json.loads((config / ".credentials.json").read_text())
document["claudeAiOauth"] |= {"accessToken": "owners", "expiresAt": int(time.time() * 1000) + 3_600_000}
(config / ".credentials.json").write_text(json.dumps(document))
(config.parent / ".claude.lock").rmdir()
lock.rmdir()
"""


async def test_what_the_owner_renews_under_its_lock_is_adopted(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    arguments = [sys.executable, "-c", OWNER, str(credentials().parent)]
    owner = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    await owner.stdout.readline()
    assert (await account_on(endpoint).credential()).secret == "owners"
    assert endpoint.asked == []
    assert await owner.wait() == 0


async def test_the_lock_of_a_program_that_died_is_removed(
    endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_lock, "TOUCH", -0.9)  # a tenth of a second of watching is enough here
    write_claude_login(expiresAt=LONG_AGO)
    for folder in owner_lock.lock_folders(credentials()):
        folder.mkdir()
        os.utime(folder, (time.time() - 120, time.time() - 120))
    assert (await account_on(endpoint).credential()).secret == "fresh-1"


def lock_of_an_owner(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an owner's first lock beside a login that has ended. Half a second of watching is enough here."""
    monkeypatch.setattr(owner_lock, "TOUCH", -0.5)
    write_claude_login(expiresAt=LONG_AGO)
    folder = owner_lock.lock_folders(credentials())[0]
    folder.mkdir()
    return folder


async def test_an_owner_whose_clock_is_wrong_keeps_its_lock(
    endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lock_of_an_owner(monkeypatch)
    waiting = asyncio.ensure_future(account_on(endpoint).credential())
    for second in range(20):  # it sets the times again and again, a day ago
        os.utime(folder, (time.time() - 86_400 + second, time.time() - 86_400 + second))
        await asyncio.sleep(0.05)
    assert (endpoint.asked, folder.is_dir()) == ([], True)
    folder.rmdir()
    assert (await waiting).secret == "fresh-1"


async def test_an_owner_that_was_paused_together_with_us_keeps_its_lock(
    endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container is, for minutes: it sets the times again after the pause, but later than our first look."""
    folder = lock_of_an_owner(monkeypatch)
    os.utime(folder, (time.time() - 120, time.time() - 120))
    waiting = asyncio.ensure_future(account_on(endpoint).credential())
    await asyncio.sleep(0.3)
    time.sleep(1.5)  # nothing of this process runs, as while it is stopped
    await asyncio.sleep(0.3)
    os.utime(folder)
    await asyncio.sleep(1.0)
    assert (endpoint.asked, folder.is_dir()) == ([], True)
    folder.rmdir()
    assert (await waiting).secret == "fresh-1"


async def test_a_token_that_another_program_used_up_is_waited_for(endpoint: TokenEndpoint) -> None:
    """A program that takes no lock has our successor, and writes it a moment after our own attempt was refused."""
    write_claude_login(expiresAt=LONG_AGO)
    endpoint.status = 400
    account = account_on(endpoint)
    waiting = asyncio.ensure_future(account.credential())
    await until(lambda: len(endpoint.asked) == 1)
    await asyncio.sleep(0.3)
    write_claude_login(accessToken="theirs", refreshToken="theirs-too")
    assert (await waiting).secret == "theirs"


async def test_other_keys_that_change_on_the_way_stay(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)

    def change() -> None:
        document = json.loads(credentials().read_text())
        credentials().write_text(json.dumps({**document, "mcpOAuth": {"new": "login"}}))

    endpoint.during.append(change)
    await account_on(endpoint).credential()
    document = json.loads(credentials().read_text())
    assert document["mcpOAuth"] == {"new": "login"}
    assert document["claudeAiOauth"]["accessToken"] == "fresh-1"


@pytest.mark.parametrize("ended", [True, False])
async def test_a_login_that_the_user_made_on_the_way_stays(endpoint: TokenEndpoint, *, ended: bool) -> None:
    """Whatever the times in it: another clock may have made them."""
    write_claude_login(expiresAt=LONG_AGO)
    expires = LONG_AGO + 1 if ended else soon()
    endpoint.during.append(lambda: write_claude_login(accessToken="theirs", refreshToken="too", expiresAt=expires))
    assert (await account_on(endpoint).credential()).secret == "theirs"
    assert written()["accessToken"] == "theirs"


async def test_a_login_that_was_taken_out_on_the_way_stays_out(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    endpoint.during.append(lambda: credentials().write_text('{"mcpOAuth": {}}'))
    with pytest.raises(NoCredentials):
        await account_on(endpoint).credential()
    assert json.loads(credentials().read_text()) == {"mcpOAuth": {}}


async def test_a_newer_login_that_came_on_the_way_is_not_overwritten(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    later = int(time.time() * 1000) + 10 * 86_400_000
    endpoint.during.append(lambda: write_claude_login(accessToken="theirs", expiresAt=later))
    assert (await account_on(endpoint).credential()).secret == "theirs"
    assert written()["accessToken"] == "theirs"


# --- kept ---


def mount(folder: Path, kilobytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=True)
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
            raise
        pytest.skip("a small disk needs the right to mount one")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """The configuration folder of Claude Code on a disk of 32 KB, which `fill` fills."""
    folder = credentials().parent
    mount(folder, 32)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    return filler


async def test_what_a_full_disk_cannot_take_is_kept_and_put_back(endpoint: TokenEndpoint, small_disk: Path) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    filler = fill(small_disk)
    account = account_on(endpoint)
    assert (await account.credential()).secret == "fresh-1"
    assert written()["expiresAt"] == LONG_AGO
    after_a_restart = account_on(endpoint)
    assert (await after_a_restart.credential()).secret == "fresh-1"
    assert endpoint.asked == [written()["refreshToken"]]
    filler.unlink()
    await after_a_restart.keep_fresh()
    assert (written()["accessToken"], written()["refreshToken"]) == ("fresh-1", "refresh-1")
    assert not list((Paths.of_user().state / "logins" / "kept").iterdir())


async def test_what_one_proxy_keeps_the_others_use(endpoint: TokenEndpoint, small_disk: Path) -> None:
    """A refresh token counts once, also for a proxy that looked before another one kept its successor aside."""
    write_claude_login(expiresAt=soon(), accessToken="living")
    fill(small_disk)
    one, other = account_on(endpoint), account_on(endpoint)
    for account in (one, other):
        endpoint.status = 503
        assert (await account.credential()).secret == "living"
        await account.settle(5)
    endpoint.status = 200
    spent = len(endpoint.asked)
    await one.renew_now()
    await asyncio.sleep(0.3)  # a file is looked at four times a second at most
    await other.renew_now()
    assert endpoint.asked[spent:] == [written()["refreshToken"], f"refresh-{spent + 1}"]


async def test_what_is_kept_counts_whatever_the_times_in_it(endpoint: TokenEndpoint, small_disk: Path) -> None:
    """The clock was ahead when the file was written: its token seems to live for longer than the one after it."""
    write_claude_login(expiresAt=int(time.time() * 1000) + 7 * 86_400_000, accessToken="refused")
    fill(small_disk)
    account = account_on(endpoint)
    assert (await account.credential(stale="refused")).secret == "fresh-1"
    assert (await account.credential()).secret == "fresh-1"
    assert (await account_on(endpoint).credential()).secret == "fresh-1"
    assert len(endpoint.asked) == 1


async def test_there_is_no_wait_for_the_next_renewal_to_put_it_back(endpoint: TokenEndpoint, small_disk: Path) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    filler = fill(small_disk)
    account = account_on(endpoint)
    await account.credential()
    await account.settle(5)
    after_a_restart = account_on(endpoint)
    await after_a_restart.keep_fresh()
    filler.unlink()
    await until(lambda: written()["accessToken"] == "fresh-1", seconds=15)


async def test_no_token_is_spent_whose_successor_cannot_be_kept_anywhere(
    endpoint: TokenEndpoint, small_disk: Path
) -> None:
    write_claude_login(expiresAt=soon(), accessToken="living")
    fill(small_disk)
    (Paths.of_user().state / "logins").mkdir(parents=True)
    (Paths.of_user().state / "logins" / "kept").write_text("a file in the folder's place")
    account = account_on(endpoint)
    assert (await account.credential()).secret == "living"
    await account.settle(5)
    assert endpoint.asked == []
    assert "No space left" in account.detail().problem
    write_claude_login_in_place(expiresAt=LONG_AGO)
    await asyncio.sleep(0.3)
    with pytest.raises(NoCredentials, match="could not be kept"):
        await account_on(endpoint).credential()
    assert endpoint.asked == []


def write_claude_login_in_place(**changes: Any) -> None:
    document = json.loads(credentials().read_text())
    document["claudeAiOauth"] |= changes
    credentials().write_text(json.dumps(document))


@pytest.mark.parametrize(("expires", "served"), [(2_106_000_000_001, "left-behind"), (LONG_AGO - 1, "fresh-1")])
async def test_what_a_killed_writer_left_behind_is_taken_up_when_it_is_newer(
    endpoint: TokenEndpoint, expires: int, served: str
) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    document = json.loads(credentials().read_text())
    document["claudeAiOauth"] |= {"accessToken": "left-behind", "expiresAt": expires}
    left = credentials().with_name("..credentials.json.0123456789ab.tmp")
    left.write_text(json.dumps(document))
    assert (await account_on(endpoint).credential()).secret == served
    assert not left.exists()


async def test_what_a_killed_writer_left_behind_is_taken_up_before_a_renewal_is_due(endpoint: TokenEndpoint) -> None:
    """The file's owner would renew with a refresh token that is spent."""
    write_claude_login(expiresAt=soon())
    document = json.loads(credentials().read_text())
    document["claudeAiOauth"] |= {"accessToken": "left-behind", "expiresAt": soon() + 28_800_000}
    left = credentials().with_name("..credentials.json.0123456789ab.tmp")
    left.write_text(json.dumps(document))
    await account_on(endpoint).keep_fresh()
    assert (written()["accessToken"], left.exists(), endpoint.asked) == ("left-behind", False, [])


def leave(login: dict[str, Any]) -> Path:
    """Leave a document with a login that seems newer, as a killed writer does."""
    left = credentials().with_name("..credentials.json.0123456789ab.tmp")
    newer = {"accessToken": "left-behind", "refreshToken": "r", "expiresAt": soon() + 28_800_000}
    left.write_text(json.dumps({"claudeAiOauth": {**login, **newer}, "mcpOAuth": "before"}))
    return left


@pytest.mark.parametrize(("after", "served"), [("the login of the file", "left-behind"), ("another one", "fresh-1")])
async def test_what_a_killed_writer_left_behind_counts_whatever_the_times_in_it(
    endpoint: TokenEndpoint, after: str, served: str
) -> None:
    """The clock was wrong when the file was written, or when what was left was."""
    write_claude_login(expiresAt=LONG_AGO)
    account = account_on(endpoint)
    current = account._file.read()
    assert current is not None
    left = leave(written())
    if after == "the login of the file":
        write_claude_login_in_place(expiresAt=soon() + 7 * 86_400_000)
        left = left.rename(left.with_suffix(f".{current.mark}.tmp"))
    else:
        left = left.rename(left.with_suffix(f".{'0' * 32}.tmp"))
    assert (await account.credential(stale=current.secret)).secret == served
    assert not left.exists()


async def test_what_is_taken_up_changes_no_other_keys(endpoint: TokenEndpoint) -> None:
    """Their owner has written them since the kill."""
    write_claude_login(expiresAt=LONG_AGO)
    left = leave(written())
    document = json.loads(credentials().read_text())
    credentials().write_text(json.dumps({**document, "mcpOAuth": "after"}))
    assert (await account_on(endpoint).credential()).secret == "left-behind"
    assert json.loads(credentials().read_text())["mcpOAuth"] == "after"
    assert not left.exists()


async def test_what_was_left_behind_is_no_login_of_a_user_who_has_logged_out(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    left = leave(written())
    account = account_on(endpoint)
    await account.log_out()
    assert not left.exists()
    leave({})
    account._file.recover(str(credentials()))  # as by a renewal that waited for its locks
    assert "claudeAiOauth" not in json.loads(credentials().read_text())
    assert not left.exists()


async def test_what_was_left_behind_does_not_replace_a_login_without_an_end(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=None)
    left = leave(written())
    await account_on(endpoint).keep_fresh()
    assert ("accessToken" in written(), written().get("accessToken") != "left-behind", left.exists()) == (
        True,
        True,
        False,
    )


async def test_a_link_that_looks_like_a_leftover_is_not_followed(endpoint: TokenEndpoint) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    left = leave(written())
    elsewhere = left.rename(left.with_name("elsewhere"))
    left.symlink_to(elsewhere)
    assert (await account_on(endpoint).credential()).secret == "fresh-1"
    assert not credentials().is_symlink()
    assert elsewhere.exists()


async def test_what_was_left_behind_is_taken_up_though_the_disk_is_full_now(
    endpoint: TokenEndpoint, small_disk: Path
) -> None:
    write_claude_login(expiresAt=soon())
    left = leave(written())
    document = json.loads(credentials().read_text())
    credentials().write_text(json.dumps({**document, "mcpOAuth": "before"}))
    fill(small_disk)
    await account_on(endpoint).keep_fresh()
    assert (written()["accessToken"], left.exists(), endpoint.asked) == ("left-behind", False, [])


async def test_what_a_killed_writer_left_beside_a_kept_login_is_taken_up(
    endpoint: TokenEndpoint, small_disk: Path
) -> None:
    write_claude_login(expiresAt=LONG_AGO)
    filler = fill(small_disk)
    account = account_on(endpoint)
    await account.credential()
    await account.settle(5)
    (kept,) = (Paths.of_user().state / "logins" / "kept").iterdir()
    kept.rename(kept.with_name(f".{kept.name}.0123456789ab.tmp"))
    (kept.parent / f".{kept.name}.ba9876543210.tmp").write_bytes(b"{\xff")  # killed while it reserved space
    other = account_on(endpoint)
    assert ((await other.credential()).secret, len(endpoint.asked)) == ("fresh-1", 1)
    filler.unlink()
    await until(lambda: written()["accessToken"] == "fresh-1", seconds=15)
    await other.settle(5)
    assert list(kept.parent.iterdir()) == []
