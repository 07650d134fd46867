"""Flags that stand for settings, in the spellings of the two older programs as well."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from ccproxy_tui.core.settings import Loaded

F = TypeVar("F", bound=Callable[..., Any])
KeyPath = tuple[str, ...]
Flags = dict[str, tuple[KeyPath, Any]]


class Flag(NamedTuple):
    """One flag: its spellings (the first is shown), the setting it stands for, its help."""

    spellings: tuple[str, ...]
    path: KeyPath
    help: str
    value: Any = None  # for switches: what the switch means; None takes a value


_OPTIONS = ("claude", "code_options")


def _agent_flags() -> tuple[Flag, ...]:
    """The options of SDK mode, in the short spelling and in that of the older README."""
    helps = {
        "cwd": "Folder that agents work in.",
        "permission-mode": "Permission mode of agents.",
        "allowed-tools": "Tools that agents may use without a permission request (a,b).",
        "disallowed-tools": "Tools that agents do not have (a,b).",
        "max-turns": "Maximum number of model turns for one request.",
        "max-thinking-tokens": "Budget for thinking.",
        "append-system-prompt": "Text after Claude Code's own system prompt.",
        "permission-prompt-tool-name": "MCP tool that receives the permission requests of agents.",
    }
    return tuple(
        Flag((f"--{name}", f"--claude-code-options-{name}"), (*_OPTIONS, name.replace("-", "_")), words)
        for name, words in helps.items()
    )


FLAGS = (
    Flag(("--host", "-h"), ("server", "host"), "Address to listen on."),
    Flag(("--port", "-p"), ("server", "port"), "Port to listen on."),
    Flag(("--auth-token",), ("security", "auth_token"), "Token that clients must send."),
    Flag(("--log-level",), ("logging", "level"), "Lowest level that is logged."),
    Flag(("--log-file",), ("logging", "file"), "File for JSON log lines."),
    Flag(("--log-format",), ("logging", "format"), "Form of printed log lines."),
    Flag(("--bypass",), ("server", "bypass_mode"), "Answer everything from the built-in demo.", True),
    Flag(("--no-network-calls",), ("server", "network_calls"), "Make no requests besides those of clients.", "false"),
    Flag(("--on-hangup",), ("server", "on_hangup"), "keep or stop the proxy when its terminal closes."),
    Flag(("--claude-cli-path",), ("claude", "cli_path"), "The claude to use."),
    Flag(
        ("--sdk-message-mode", "--claude-sdk-message-mode"),
        ("claude", "sdk_message_mode"),
        "How SDK mode reports tool use.",
    ),
    Flag(("--sdk-enable-pool", "--sdk-pool"), ("claude", "sdk_pool", "enabled"), "Keep agents ready.", True),
    Flag(("--sdk-pool-size",), ("claude", "sdk_pool", "size"), "How many agents are kept ready."),
    Flag(
        ("--no-builtin-permissions",),
        ("claude", "builtin_permissions"),
        "Do not send permission requests of agents here.",
        "false",
    ),
    *_agent_flags(),
)


def _name(flag: Flag) -> str:
    return "flag_" + "_".join(flag.path)


def serve_options(command: F) -> F:
    """Add --config and every settings flag to a command."""
    for flag in reversed(FLAGS):
        command = click.option(
            *flag.spellings,
            _name(flag),
            help=flag.help,
            **({"is_flag": True, "default": None} if flag.value is not None else {"metavar": flag.path[-1].upper()}),
        )(command)
    command = click.option(
        "--trust-folder",
        is_flag=True,
        expose_value=False,
        callback=_trust_folder,
        help="Use all settings of this folder's files, this time only (see the command trust).",
    )(command)
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file to use instead of the default ones.",
    )(command)


def _trust_folder(_ctx: click.Context, _option: click.Parameter, chosen: bool) -> None:
    """In the environment, where every `load` of this process looks and the proxy that it starts does."""
    if chosen:
        from ccproxy_tui.core.settings.trust import TRUST_VARIABLE

        os.environ[TRUST_VARIABLE] = "1"


def load_settings(flags: Flags, config: Path | None) -> Loaded:
    """Load the settings as every command does, and write to standard error what of the folder's files is not used."""
    from ccproxy_tui.core.settings import load
    from ccproxy_tui.core.text.escape import escape_line

    loaded = load(flags=flags, config=config)
    for ignored in loaded.ignored:
        click.echo(f"note: {escape_line(str(ignored))}", err=True)
    return loaded


def pop_flags(values: dict[str, Any]) -> Flags:
    """Take the settings flags out of a command's parameters: flag as shown -> (setting, value)."""
    flags: Flags = {}
    for flag in FLAGS:
        value = values.pop(_name(flag), None)
        if value is not None and value is not False:
            flags[flag.spellings[0]] = (flag.path, flag.value if flag.value is not None else value)
    return flags
