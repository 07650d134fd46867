"""Files of a project folder: what they may set, whose they may be, and that nothing in them stops the program."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccproxy_tui.core.settings import Settings, leaves, load
from ccproxy_tui.core.settings.files import PROJECT_LIMIT
from ccproxy_tui.core.settings.models import Ui
from ccproxy_tui.core.settings.project import HARMLESS, is_quick
from ccproxy_tui.core.settings.seeds import MOVED
from ccproxy_tui.core.system.processes import find_program

KEYS = [path for path, _ in leaves(Settings)]
SPELLINGS = [*KEYS, *MOVED, ("claude",), ("server",), ("providers", "compatible", "x", "base_url"), ("nonsense", "x")]


def env(**values: str) -> dict[str, str]:
    return {"HOME": str(Path.home()), **values}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    (path / ".git").mkdir(parents=True)
    return path


def test_every_setting_of_the_screens_is_harmless_or_known_to_be_not() -> None:
    assert {path[1] for path in HARMLESS if path[0] == "ui"} | {"keys"} == set(Ui.model_fields)


def test_the_list_names_settings_that_exist() -> None:
    assert set(KEYS) >= HARMLESS


def plain(value: Any) -> Any:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def effective(loaded: Any) -> dict[tuple[str, ...], Any]:
    found = {}
    for path in KEYS:
        value: Any = loaded.settings
        for part in path:
            value = getattr(value, part)
        found[path] = plain(value)
    return found


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**31), 2**31)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.sampled_from(["true", "http://evil.example", "./tools/run", "0.0.0.0", "${HOME}", "allow", "*"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=6,
)
ASSIGNMENTS = st.lists(st.tuples(st.sampled_from(SPELLINGS), VALUES), min_size=1, max_size=6)


def as_toml(assignments: list[tuple[tuple[str, ...], Any]]) -> str:
    document: dict[str, Any] = {}
    for path, value in assignments:
        target = document
        for part in path[:-1]:
            target = target.setdefault(part, {}) if isinstance(target.get(part, {}), dict) else {}
        target[path[-1]] = value
    return tomlkit.dumps(document)


def as_dotenv(assignments: list[tuple[tuple[str, ...], Any]]) -> str:
    lines = []
    for path, value in assignments:
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"{'export ' * (len(lines) % 2)}{'__'.join(path).upper()}='{text.replace(chr(39), '')}'")
    return "\n".join(lines)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    toml=ASSIGNMENTS,
    dotenv=ASSIGNMENTS,
    junk=st.binary(max_size=40),
    where=st.sampled_from([".ccproxy.toml", "ccproxy.toml"]),
)
def test_whatever_the_files_say_nothing_but_the_list_changes(
    folder: Path, toml: list[Any], dotenv: list[Any], junk: bytes, where: str
) -> None:
    inner = folder / "sub"
    inner.mkdir(exist_ok=True)
    before = effective(load(environ=env(), cwd=folder.parent / "elsewhere"))
    (folder / where).write_text(as_toml(toml))
    (inner / ".env").write_text(as_dotenv(dotenv))
    (inner / ".ccproxy.toml").write_bytes(junk)
    try:
        after = effective(load(environ=env(), cwd=inner))
    finally:
        (folder / where).unlink()
    changed = {path for path in KEYS if after[path] != before[path]}
    assert changed <= HARMLESS


def test_harmless_settings_count_without_trust(folder: Path) -> None:
    (folder / ".ccproxy.toml").write_text(
        "\ufeff[ui]\r\ntheme = 'light'\r\n[models]\r\nmax_tokens = {'claude-4.5' = 9}\r\n"
        "[[models.rules]]\r\nmatch = 'gpt-(.+)'\r\nkind = 'regex'\r\ntarget = 'claude'\r\n"
    )
    (folder / ".env").write_text("export SERVER__LOG_LEVEL=debug\nserver__port = 7\nOTHER=${HOME}\n")
    loaded = load(environ=env(), cwd=folder)
    made = loaded.settings
    assert (made.ui.theme, made.logging.level, made.server.port) == ("light", "DEBUG", 7)
    assert (made.models.max_tokens, made.models.rules[0].target) == ({"claude-4.5": 9}, "claude")
    assert loaded.ignored == []


def test_a_value_that_is_not_allowed_is_left_out_and_said(folder: Path) -> None:
    (folder / ".ccproxy.toml").write_text(
        "[server]\nport = 'abc'\n[models]\nmax_tokens = {'a.b' = 'x'}\n[ui]\ntheme='light'\n"
    )
    loaded = load(environ=env(), cwd=folder)
    assert (loaded.settings.server.port, loaded.settings.ui.theme) == (8000, "light")
    assert set(loaded.ignored[0].keys) == {"server.port", "models.max_tokens.a.b"}


def test_dotenv_is_never_interpolated(folder: Path) -> None:
    (folder / ".env").write_text("UI__THEME=${SECRET_OF_MINE}\n")
    own = Path.home() / ".config" / "ccproxy"
    own.mkdir(parents=True)
    (own / ".env").write_text("HTTP__PROXY=http://${SECRET_OF_MINE}\n")
    loaded = load(environ=env(SECRET_OF_MINE="s3cret"), cwd=folder)
    assert "s3cret" not in repr(loaded.settings)


def test_the_users_own_dotenv_counts(folder: Path) -> None:
    own = Path.home() / ".config" / "ccproxy"
    own.mkdir(parents=True)
    (own / ".env").write_text("PROVIDERS__CLAUDE_API__BASE_URL=http://mine\n")
    (own / "config.toml").write_text("[providers.claude_api]\nbase_url = 'http://toml'\n")
    for cwd in (folder, own):
        assert load(environ=env(), cwd=cwd).settings.providers.claude_api.base_url == "http://mine"


@pytest.mark.parametrize(
    "content",
    [
        "[server\n",
        "\xff\xfe",
        "a = " + "[" * 60_000,
        ".".join(["a"] * 30_000) + " = 1",
        "x = 1\n" * PROJECT_LIMIT,
        "A=b" + " " * 60_000 + "x",
        "claude = 3\nserver = 'x'\nproviders = []\n",
        '"" = 1\n[""]\n"" = {}\n',
    ],
)
@pytest.mark.parametrize("name", [".ccproxy.toml", "ccproxy.toml", ".env"])
@pytest.mark.timeout(10)
def test_a_file_that_can_not_be_read_is_left_out(folder: Path, name: str, content: str) -> None:
    (folder / name).write_bytes(content.encode("latin-1"))
    before = effective(load(environ=env(), cwd=folder.parent))
    assert effective(load(environ=env(), cwd=folder)) == before


@pytest.mark.parametrize("name", [".ccproxy.toml", ".env"])
@pytest.mark.timeout(10)
def test_what_is_no_file_is_left_out(folder: Path, name: str) -> None:
    path = folder / name
    for make in (
        path.mkdir,
        lambda: os.mkfifo(path),
        lambda: path.symlink_to(path.name),
        lambda: path.symlink_to("/dev/zero"),
    ):
        make()
        loaded = load(environ=env(), cwd=folder)
        assert [one.path.name for one in loaded.ignored] == [name]
        path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("mode", [0o666, 0o646])
def test_a_file_that_others_can_write_is_left_out(folder: Path, mode: int) -> None:
    path = folder / ".ccproxy.toml"
    path.write_text("[ui]\ntheme = 'light'\n")
    path.chmod(mode)
    loaded = load(environ=env(), cwd=folder)
    assert loaded.settings.ui.theme == "auto"
    assert "can be written by other users" in str(loaded.ignored[0])


def test_a_folder_that_others_can_write_is_left_out(folder: Path) -> None:
    (folder / ".ccproxy.toml").write_text("[ui]\ntheme = 'light'\n")
    folder.chmod(0o777)
    assert load(environ=env(), cwd=folder).settings.ui.theme == "auto"
    inner = folder / "sub"
    inner.mkdir()
    assert load(environ=env(), cwd=inner).settings.ui.theme == "auto"


@pytest.mark.parametrize(
    ("pattern", "quick"),
    [
        (r"gpt-(.+)", True),
        (r"claude-([a-z]+)-(\d+)(-\d{8})?", True),
        (r"(a+)+b", False),
        (r"(a|aa)*b", False),
        (r"a*a*a*a*b", False),
        (r"(a{1,9}){1,9}", False),
        (r"a{2,}", True),
    ],
)
def test_a_pattern_that_can_take_hours_waits_for_trust(pattern: str, quick: bool) -> None:
    assert is_quick(pattern) == quick


def test_a_secret_that_others_can_read_is_said(folder: Path) -> None:
    own = Path.home() / ".config" / "ccproxy" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[security]\nauth_token = 'hush-hush-hush'\n")
    own.chmod(0o644)
    [problem] = load(environ=env(), cwd=folder).exposed
    assert "security.auth_token" in str(problem)
    assert "hush" not in str(problem)
    own.chmod(0o600)
    assert load(environ=env(), cwd=folder).exposed == []


def test_programs_are_not_looked_for_in_relative_folders_of_the_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "claude").write_text("#!/bin/sh\n")
    (folder / "claude").chmod(0o755)
    assert find_program("claude", ".::bin") is None
    assert find_program("claude", f".:{folder}") == str(folder / "claude")
