"""One owner of settings: nothing is lost, no key that needs a restart changes, and every answer is true."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ccproxy_tui.core.records.events import SettingsChanged
from ccproxy_tui.core.settings import SettingsError, load
from ccproxy_tui.core.settings.edit import set_values
from ccproxy_tui.core.settings.live import LiveSettings
from ccproxy_tui.core.settings.models import PermissionRule
from ccproxy_tui.core.settings.sources import KeyPath

AT_ONCE: list[KeyPath] = [
    ("server", "stall_seconds"),
    ("accounts", "hold_seconds"),
    ("codex", "max_output_tokens_fallback"),
]
LATER: list[KeyPath] = [("server", "drain_seconds"), ("server", "max_header_kb"), ("history", "days")]
FOREIGN: list[KeyPath] = [("claude", "sdk_session_pool", "max_sessions"), ("http", "max_connections")]
HAND: list[KeyPath] = [("http", "keepalive_expiry"), ("server", "idle_stop_hours"), ("server", "body_seconds")]
NUMBERS = st.integers(31, 60)
RULES = [PermissionRule(rule=f"Bash(make r{number}:*)") for number in range(8)]


def value_at(live: LiveSettings, key: KeyPath) -> Any:
    value: Any = live.current
    for part in key:
        value = getattr(value, part)
    return value


def in_file(path: Path, key: KeyPath) -> Any:
    value: Any = tomllib.loads(path.read_text())
    for part in key:
        value = value.get(part, {})
    return value or None


class Writers(RuleBasedStateMachine):
    """The running proxy, another program of ours, and an editor, all at one file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.Runner()
        self.path = Path(self.folder.name) / "config.toml"
        self.path.write_text("# mine\n[server]\nport = 1234  # kept\n")
        self.live = LiveSettings(load(environ={"HOME": self.folder.name}, config=self.path, cwd=Path(self.folder.name)))
        self.changes: list[KeyPath] = []
        self.live.subscribe(self._note)
        self.at_start = {key: value_at(self.live, key) for key in (*LATER, *FOREIGN, *HAND)}
        self.file: dict[KeyPath, int] = {}
        self.running = {key: value_at(self.live, key) for key in AT_ONCE}
        self.rules: list[PermissionRule] = []
        self.in_force: list[PermissionRule] = []

    def teardown(self) -> None:
        self.loop.close()
        self.folder.cleanup()

    def _note(self, changed: SettingsChanged) -> None:
        self.changes.append(changed.key)

    # --- changes, alone or at one time ---

    async def _set(self, key: KeyPath, number: int | None) -> None:
        same = number is not None and self.at_start.get(key) == number
        effect = await self.live.change(key, None if number is None else str(number))
        if number is None:
            self.file.pop(key, None)
        else:
            self.file[key] = number
        if key in AT_ONCE:
            self.running[key] = value_at(self.live, key)
            assert effect == "in effect now" or (number is None and "default" in effect)
            assert number is None or self.running[key] == number
        else:
            assert "after a restart" in effect or same or number is None

    async def _add(self, rule: PermissionRule) -> None:
        assert await self.live.change_rules(add=[rule]) is None

    async def _remove(self, rule: PermissionRule) -> None:
        await self.live.change_rules(remove=[rule])

    async def _elsewhere(self, key: KeyPath, number: int) -> None:
        await asyncio.to_thread(set_values, self.path, {key: number})
        self.file[key] = number

    @rule(
        numbers=st.lists(NUMBERS, min_size=8, max_size=8),
        which=st.sets(st.integers(0, 7), min_size=2),
        add=st.sets(st.sampled_from(range(8)), max_size=3),
    )
    def all_at_one_time(self, numbers: list[int], which: set[int], add: set[int]) -> None:
        keys = [*AT_ONCE, *LATER, *FOREIGN]
        work: list[Coroutine[Any, Any, None]] = []
        for place in sorted(which):
            one = self._elsewhere if keys[place] in FOREIGN else self._set
            work.append(one(keys[place], numbers[place]))
        new = [RULES[number] for number in sorted(add) if RULES[number] not in self.in_force]
        gone = [one for one in self.rules if one in self.in_force][:1]
        work += [*map(self._add, new), *map(self._remove, gone)]

        async def run() -> None:
            await asyncio.gather(*work)

        self.loop.run(run())
        self.rules = [one for one in self.rules if one not in gone] + [one for one in new if one not in self.rules]
        self.in_force = [one for one in self.in_force if one not in gone] + new

    @rule(place=st.integers(0, 5))
    def back_to_the_default(self, place: int) -> None:
        self.loop.run(self._set([*AT_ONCE, *LATER][place], None))

    @rule(key=st.sampled_from(HAND), number=NUMBERS)
    def by_hand(self, key: KeyPath, number: int) -> None:
        document = tomlkit.parse(self.path.read_text())
        table: Any = document
        for part in key[:-1]:
            table = table.setdefault(part, tomlkit.table())
        table[key[-1]] = number
        self.path.write_text(tomlkit.dumps(document))
        self.file[key] = number

    @rule(number=st.integers(0, 7))
    def a_rule_by_hand(self, number: int) -> None:
        if RULES[number] in self.rules:
            return
        set_values(self.path, {("permissions", "rules"): [one.model_dump() for one in (*self.rules, RULES[number])]})
        self.rules.append(RULES[number])

    @precondition(lambda self: self.path.read_text().strip())
    @rule(key=st.sampled_from([*AT_ONCE, *LATER]))
    def into_a_broken_file(self, key: KeyPath) -> None:
        before = self.path.read_text()
        self.path.write_text(before + "\n[broken")
        with pytest.raises(SettingsError):
            self.loop.run(self.live.change(key, "40"))
        with pytest.raises(SettingsError):
            self.loop.run(self.live.change_rules(add=[RULES[0]]))
        assert self.path.read_text() == before + "\n[broken"
        self.path.write_text(before)

    # --- what holds ---

    @invariant()
    def the_file_has_everything(self) -> None:
        for key in (*AT_ONCE, *LATER, *FOREIGN, *HAND):
            assert in_file(self.path, key) == self.file.get(key), key
        own = [PermissionRule.model_validate(one) for one in in_file(self.path, ("permissions", "rules")) or []]
        assert sorted(own, key=str) == sorted(self.rules, key=str)
        assert in_file(self.path, ("server", "port")) == 1234
        assert self.path.read_text().startswith("# mine\n")
        assert list(self.path.parent.iterdir()) == [self.path]

    @invariant()
    def what_runs_is_what_was_answered(self) -> None:
        assert {key: value_at(self.live, key) for key in self.running} == self.running
        assert {key: value_at(self.live, key) for key in self.at_start} == self.at_start
        assert sorted(self.live.current.permissions.rules, key=str) == sorted(self.in_force, key=str)

    @invariant()
    def what_a_restart_would_change_is_shown(self) -> None:
        entries = {tuple(one.key.split(".")): one for one in self.loop.run(self.live.entries())}
        for key in (*LATER, *FOREIGN, *HAND):
            number = self.file.get(key)
            differs = number is not None and number != self.at_start[key]
            assert entries[key].pending == (str(number) if differs else None), key
            assert entries[key].value != entries[key].pending


Writers.TestCase.settings = settings(max_examples=10, stateful_step_count=10, deadline=None)
test_interleaved_writers = Writers.TestCase


SETS = """
import sys
from pathlib import Path
from ccproxy_tui.core.settings.edit import set_values
for number in range(31, 31 + int(sys.argv[2])):
    set_values(Path(sys.argv[1]), {("http", "max_connections"): number, ("models", "max_tokens"): {"m": number}})
    print(number, flush=True)
"""


async def test_another_process_and_the_proxy_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    live = LiveSettings(load(config=path))
    other = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SETS), str(path), "20"], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    added = []
    while other.poll() is None:
        added.append(PermissionRule(rule=f"Bash(make r{len(added)}:*)"))
        await live.change_rules(add=[added[-1]])
        assert await live.change(("server", "stall_seconds"), str(len(added))) == "in effect now"
    other.stdout.close()
    fresh = load(config=path).settings
    assert other.returncode == 0
    assert (fresh.permissions.rules, fresh.server.stall_seconds) == (added, len(added))
    assert (fresh.http.max_connections, fresh.models.max_tokens) == (50, {"m": 50})


async def test_what_an_editor_saves_in_the_time_of_a_change_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no lock, so it can come between our look and our write."""
    path = tmp_path / "config.toml"
    path.write_text("[server]\nport = 1\n")
    live = LiveSettings(load(config=path))
    real, saved = os.fsync, []

    def fsync(descriptor: int) -> None:
        if not saved:
            saved.append(path.write_text("[server]\nport = 2\n"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert await live.change(("server", "stall_seconds"), "21") == "in effect now"
    assert load(config=path).settings.server.port == 2
    assert load(config=path).settings.server.stall_seconds == 21
    assert live.current.server.port == 1


async def test_a_setting_that_the_next_start_can_not_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    live = LiveSettings(load(config=path))
    os.environ["SERVER__PORT"] = "no port"
    try:
        effect = await live.change(("server", "stall_seconds"), "21")
        assert effect.startswith("written; takes effect after a restart, once this is fixed: server.port (env")
        assert (await live.entries())[0].pending is None
    finally:
        del os.environ["SERVER__PORT"]


async def test_settings_are_seen_and_changed_while_their_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = tmp_path / "config.toml", tmp_path / "gone"
    path.write_text("")
    folder.mkdir()
    live = LiveSettings(load(config=path))
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert (await live.entries())[0].pending is None
    assert (await live.change(("server", "stall_seconds"), "21")).startswith("written; takes effect after a restart")


@pytest.mark.parametrize("text", ["http://me:********@host:3128", "http://[redacted]@host:3128"])
async def test_a_mask_is_not_written_over_the_secret_that_it_hides(tmp_path: Path, text: str) -> None:
    """The Settings screen offers what it shows as the text to start from."""
    path = tmp_path / "config.toml"
    path.write_text(before := '[http]\nproxy = "http://me:secret-word@host:3128"\n')
    live = LiveSettings(load(config=path))
    with pytest.raises(SettingsError, match="masked"):
        await live.change(("http", "proxy"), text)
    assert path.read_text() == before


@pytest.mark.parametrize("key", ["models.max_tokens.m", "claude.code_options.env.A", "providers.compatible.x.api_key"])
async def test_a_part_of_a_table_is_refused_in_words(tmp_path: Path, key: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    with pytest.raises(SettingsError, match="changed in the file"):
        await LiveSettings(load(config=path)).change(tuple(key.split(".")), "5")


@pytest.mark.parametrize(
    "text",
    [
        "permissions = 1\n",
        '[permissions]\nrules = "abc"\n',
        "[permissions]\nrules = [{rule = 5}]\n",
        '[permissions]\nrules = [{rule = "Bash("}]\n',
        "[[permissions]]\nrules = []\n",
    ],
)
async def test_a_file_that_was_broken_by_hand_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    live = LiveSettings(load(config=path))
    path.write_text(text)
    with pytest.raises(SettingsError, match="permissions"):
        await live.change_rules(add=RULES[:1])
    with pytest.raises(SettingsError, match="permissions"):
        await live.change(("permissions", "timeout_seconds"), "21")
    assert path.read_text() == text
    assert live.current.permissions.rules == []


async def test_a_file_that_never_ends_is_no_settings_file(tmp_path: Path) -> None:
    """A FIFO took its place. To read it would wait for ever, and every later change with it."""
    path = tmp_path / "config.toml"
    path.write_text("")
    live = LiveSettings(load(config=path))
    path.unlink()
    os.mkfifo(path)
    async with asyncio.timeout(10):
        with pytest.raises(OSError, match="not a regular file"):
            await live.change(("server", "stall_seconds"), "21")
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_a_folder_that_can_not_be_listed_takes_changes() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o711)
        folder = Path(name) / "settings"
        folder.mkdir(mode=0o300)
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            set_values(folder / "config.toml", {("server", "stall_seconds"): 21})
        finally:
            os.seteuid(0)
        assert load(config=folder / "config.toml").settings.server.stall_seconds == 21
