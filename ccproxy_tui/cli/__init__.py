"""The command line. Commands load when they are called, so that `--help` and `serve` stay quick."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from ccproxy_tui import __version__
from ccproxy_tui.cli.errors import explain
from ccproxy_tui.cli.options import pop_flags, serve_options

COMPLETION_VARIABLE = "_CCPROXY_TUI_COMPLETE"
PROGRAM = "ccproxy-tui"

# Name -> (module, attribute, one-line help). The help stands here so that listing commands imports none of them.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "serve": ("serve", "serve", "Run the proxy without screens."),
    "demo": ("demo", "demo", "Try everything on the built-in provider, with no login."),
    "attach": ("attach", "attach", "Open the screens on a running proxy."),
    "status": ("status", "status", "Show the running proxy and its accounts."),
    "stop": ("status", "stop", "Stop a running proxy."),
    "auth": ("auth", "auth", "Log in and out, and show accounts."),
    "codex": ("codex", "codex", "Show what the installed Codex sends, its settings and models; send a test."),
    "connect": ("connect", "connect", "Point a tool at this proxy, or undo it."),
    "ask": ("connect", "ask", "Ask for your approval at the terminal (exit status 0: allowed)."),
    "hook": ("connect", "hook", "Run as the blocking hook of a tool."),
    "permission-handler": ("connect", "permission_handler", "Decide on permission requests, line by line."),
    "models": ("models", "models", "Show the model table, and which provider serves a model."),
    "config": ("config", "config", "Show, check and write settings."),
    "trust": ("trust", "trust", "Show the settings in this folder's files, and trust them."),
    "doctor": ("doctor", "doctor", "Probe this setup: what is open, and how to close it."),
    "generate-token": ("config", "generate_token", "Generate a token that clients must send."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"ccproxy_tui.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in _COMMANDS.items()])


def _show_completion(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    click.echo(_completion_source(shell))
    ctx.exit()


def _install_completion(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    from ccproxy_tui.cli.completion import install

    click.echo(install(shell, _completion_source(shell)))
    ctx.exit()


def _completion_source(shell: str) -> str:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # the option's choices are click's own
    return found(cli, {}, PROGRAM, COMPLETION_VARIABLE).source()


_SHELLS = click.Choice(["bash", "zsh", "fish"])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"max_content_width": 100})
@serve_options
@click.option("--plain", is_flag=True, help="Lines instead of screens (for screen readers, pipes and TERM=dumb).")
@click.option(
    "--show-completion",
    type=_SHELLS,
    callback=_show_completion,
    expose_value=False,
    is_eager=True,
    help="Print the completion script of a shell.",
)
@click.option(
    "--install-completion",
    type=_SHELLS,
    callback=_install_completion,
    expose_value=False,
    is_eager=True,
    help="Install completion for a shell.",
)
@click.version_option(__version__, "--version", "-V", prog_name=PROGRAM)
@click.pass_context
@explain
def cli(ctx: click.Context, /, config: Path | None, plain: bool, **values: Any) -> None:
    """See and answer your coding agents: a local AI proxy and its screens.

    Without a command: start the proxy (or find the one that runs) and open the screens.
    """
    flags = pop_flags(values)
    ctx.obj = {"config": config, "flags": flags}
    if ctx.invoked_subcommand is None:
        from ccproxy_tui.cli.host import run_host

        ctx.exit(run_host(flags, config, plain=plain))
