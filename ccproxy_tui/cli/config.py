"""`config` and `generate-token`: settings from the command line."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ccproxy_tui.cli.errors import FAILURE, USAGE, Failure, explain
from ccproxy_tui.cli.options import load_settings
from ccproxy_tui.core.text.escape import escape_line


@click.group()
def config() -> None:
    """Show, check and write settings."""


@config.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--all", "everything", is_flag=True, help="Show defaults too.")
@click.pass_context
@explain
def show(ctx: click.Context, /, as_json: bool, everything: bool) -> None:
    """Print each setting with its value and where it came from. Secrets are masked."""
    from ccproxy_tui.core.settings import entries

    loaded = load_settings(**ctx.obj)
    found = entries(loaded.settings, loaded.origins)
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in found], indent=2))
        return
    shown = [entry for entry in found if everything or entry.origin != "default"]
    for entry in shown:
        click.echo(escape_line(f"{entry.key} = {entry.value or '(none)'}  # {entry.origin}"))
    if not shown:
        click.echo("Every setting has its default value. Use --all to show them.")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)


config.add_command(show, "list")


@config.command("path")
@click.pass_context
@explain
def path(ctx: click.Context, /) -> None:
    """Print the settings files in use, and where a change would be written."""
    loaded = load_settings(**ctx.obj)
    for file in loaded.files:
        click.echo(f"read   {file}")
    click.echo(f"write  {loaded.write_to}")


@config.command("init")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@explain
def init(output: Path | None, force: bool) -> None:
    """Write a settings file with every setting, commented out."""
    from ccproxy_tui.core.settings.edit import template
    from ccproxy_tui.core.system.files import replace_file
    from ccproxy_tui.core.system.paths import Paths

    target = output or Paths.of_user().config / "config.toml"
    if target.exists() and not force:
        raise Failure(f"{target} already exists. Use --force to replace it.")
    replace_file(target, template().encode(), mode=0o600)
    click.echo(f"wrote {target}")


@config.command("validate")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.pass_context
@explain
def validate(ctx: click.Context, /, file: Path | None) -> None:
    """Check the settings, or one file. Exits 1 for unknown keys, 2 for values that can't be used."""
    loaded = load_settings(ctx.obj["flags"], file or ctx.obj["config"])
    for warning in (*loaded.warnings, *loaded.exposed):
        click.echo(f"warning: {warning}", err=True)
    if loaded.warnings:
        raise click.exceptions.Exit(FAILURE)
    click.echo("ok: " + (", ".join(str(read) for read in loaded.files) or "no settings file, defaults"))


@config.command("schema")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of printing."
)
@explain
def schema(output: Path | None) -> None:
    """Print the JSON schema of the settings file."""
    from ccproxy_tui.core.settings.models import Settings

    text = json.dumps(Settings.model_json_schema(), indent=2)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", "utf-8")
        click.echo(f"wrote {output}")


@click.command("generate-token")
@click.option("--save", "--write", "save", is_flag=True, help="Write it to the settings file.")
@click.option("--config-file", "-c", type=click.Path(path_type=Path, dir_okay=False), help="File to write it to.")
@click.option("--force", is_flag=True, help="Replace a token that is set.")
@click.pass_context
@explain
def generate_token(ctx: click.Context, /, save: bool, config_file: Path | None, force: bool) -> None:
    """Generate a token that clients must send. Saving does not change the rest of the file."""
    token = secrets.token_urlsafe(32)
    if save:
        _save_token(ctx.obj, config_file, token, force=force)
    click.echo("# for the proxy")
    click.echo(f"export SECURITY__AUTH_TOKEN={token}")
    click.echo("# for clients")
    click.echo(f"export ANTHROPIC_AUTH_TOKEN={token}")
    click.echo(f"export OPENAI_API_KEY={token}")
    click.echo(f"export CCPROXY_TOKEN={token}  # in the lines of the welcome screen, and for what connect has set up")


config.add_command(generate_token)


def _save_token(defaults: dict[str, Any], config_file: Path | None, token: str, *, force: bool) -> None:
    from ccproxy_tui.core.settings import load
    from ccproxy_tui.core.settings.edit import set_values

    chosen = config_file or defaults["config"]
    target = chosen or load().write_to
    if target.exists() and not force:
        current = load(config=target, environ={}).settings.security.auth_token
        if current is not None:
            raise Failure(f"{target} already has a token. Use --force to replace it.", USAGE)
    try:
        set_values(target, {("security", "auth_token"): token})
    except OSError as error:
        raise Failure(f"{target} can't be written: {error.strerror}.") from error
    click.echo(f"# saved to {target}")
    prevails = load(config=defaults["config"]).prevailing(("security", "auth_token"))
    if config_file is None and prevails is not None:
        click.echo(f"# {escape_line(str(prevails))} still takes precedence here")
