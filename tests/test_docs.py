"""The README says what is so: settings, commands, flags and keys."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ccproxy_tui.cli import _COMMANDS, cli
from ccproxy_tui.cli.options import FLAGS
from ccproxy_tui.core.settings import leaves
from ccproxy_tui.core.settings.models import Settings
from scripts.readme import END, START, settings_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_settings_table_is_the_one_the_models_make() -> None:
    table = README[README.index(START) + len(START) : README.index(END)]
    assert table.strip() == settings_table().strip(), "run scripts/readme.py"


def test_every_command_and_flag_is_named() -> None:
    for name in _COMMANDS:
        assert f"`{name}" in README or f"ccproxy-tui {name}" in README, name
    for flag in FLAGS:
        assert flag.spellings[0] in README, flag.spellings[0]


def test_every_command_loads_and_has_help() -> None:
    context = click.Context(cli)
    for name in _COMMANDS:
        command = cli.get_command(context, name)  # type: ignore[attr-defined]
        assert command is not None
        assert command.help


def test_the_change_log_has_an_entry_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in text


def test_every_setting_does_something() -> None:
    """Each is read somewhere; a name that nobody reads would be a promise that is not kept."""
    read = "\n".join(path.read_text() for path in (ROOT / "ccproxy_tui").rglob("*.py"))
    dead = [path for path, _ in leaves(Settings) if not re.search(rf"\.{path[-1]}\b", read)]
    assert dead == []
