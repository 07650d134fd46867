"""`trust`: read what a project folder wants to set, and let it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccproxy_tui.cli.errors import FAILURE, USAGE, Failure, explain
from ccproxy_tui.core.text.escape import escape_line

if TYPE_CHECKING:
    from ccproxy_tui.core.settings import Ignored
    from ccproxy_tui.core.settings.offer import Offer
    from ccproxy_tui.core.settings.trust import TrustStore


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--yes", "-y", is_flag=True, help="Trust what is shown, without confirmation (for scripts).")
@click.option("--list", "as_list", is_flag=True, help="List what is trusted.")
@click.option("--revoke", is_flag=True, help="Stop trusting PATH and everything below it.")
@click.pass_context
@explain
def trust(ctx: click.Context, /, path: Path | None, yes: bool, as_list: bool, revoke: bool) -> None:
    """Show what the files of a folder would set, and trust them with exactly this content.

    PATH is a folder or one of its files; without it, this folder. Settings of a project folder that are more than looks
    (addresses, programs, credentials, rules, ...) have no effect before, nor after the file changes.
    """
    from ccproxy_tui.core.settings.trust import TrustStore
    from ccproxy_tui.core.system.paths import Paths

    store = TrustStore(Paths.of_user())
    target = _without_link(path or Path.cwd())
    if as_list:
        _list(store)
    elif revoke:
        _revoke(store, target)
    elif not os.path.lexists(target):
        raise Failure(f"There is no {path}.", USAGE)
    else:
        ctx.exit(_offer(ctx, store, target, yes=yes))


def _without_link(path: Path) -> Path:
    """The real folder and the name in it: files are trusted where they are found, not where a link leads."""
    absolute = path.expanduser().absolute()
    if absolute.is_dir():
        return Path(os.path.realpath(absolute))
    return Path(os.path.realpath(absolute.parent)) / absolute.name


def _list(store: TrustStore) -> None:
    from datetime import UTC, datetime

    records = store.records()
    for path, record in records.items():
        day = datetime.fromtimestamp(record.since, UTC)
        click.echo(escape_line(f"{path}  since {day:%Y-%m-%d}  sha256 {record.sha256[:16]}"))
    if not records:
        click.echo("No project file is trusted.")


def _revoke(store: TrustStore, path: Path) -> None:
    try:
        gone = store.revoke(path)
    except OSError as error:
        raise Failure(f"{store.path} can't be written: {error}.") from error
    for name in gone:
        click.echo(escape_line(f"no longer trusted: {name}"))
    if gone:
        click.echo("A running proxy keeps their settings until you restart it.")
    else:
        raise Failure(f"Nothing of {path} is trusted. `ccproxy-tui trust --list` shows what is.")


def _offer(ctx: click.Context, store: TrustStore, path: Path, *, yes: bool) -> int:
    offers, ignored = _found(ctx, store, path)
    for one in ignored:
        click.echo(escape_line(str(one)), err=True)
    for offer in offers:
        _show(offer)
    if not offers:
        click.echo("There is nothing to trust.")
        return FAILURE if ignored else 0
    _refuse_agents()
    if not yes and not _agreed(len(offers)):
        return FAILURE
    return _accept(store, offers)


def _found(ctx: click.Context, store: TrustStore, path: Path) -> tuple[list[Offer], list[Ignored]]:
    """What can be trusted, and what can't be."""
    from ccproxy_tui.core.settings import NOT_TRUSTED, Ignored, load
    from ccproxy_tui.core.settings.files import Refused
    from ccproxy_tui.core.settings.offer import offers_of
    from ccproxy_tui.core.settings.trust import TRUST_VARIABLE
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.providers.claude_sdk.folder import offer_of_folder

    path = _folder_of_agents(path)
    folder = path if path.is_dir() else path.parent
    environ = {name: value for name, value in os.environ.items() if name not in (TRUST_VARIABLE, "CONFIG_FILE")}
    loaded = load(flags=ctx.obj["flags"], environ=environ, cwd=folder)
    offers = offers_of(loaded, store)
    ignored = [one for one in loaded.ignored if one.reason != NOT_TRUSTED]
    if path != folder:
        return [offer for offer in offers if offer.path == path], [one for one in ignored if one.path == path]
    try:
        agents = offer_of_folder(folder, Paths.of_user(), environ, store)
    except Refused as problem:
        ignored.append(Ignored(folder / ".claude", str(problem)))
        agents = None
    return [*offers, *([agents] if agents is not None else [])], ignored


def _folder_of_agents(path: Path) -> Path:
    """The folder, for what agents read in it: that is trusted as a whole."""
    if path.name in (".claude", ".mcp.json"):
        return path.parent
    return path.parent.parent if path.parent.name == ".claude" else path


def _show(offer: Offer) -> None:
    was = "trusted before with another content" if offer.known else "not trusted"
    click.echo(escape_line(f"{offer.path}  ({offer.note or was})"))
    for change in offer.changes:
        click.echo(f"  {escape_line(str(change))}")


def _refuse_agents() -> None:
    """Raises Failure in an agent of a proxy of yours: it could have written the files itself."""
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.ancestry import AGENT_MARK, line_of
    from ccproxy_tui.core.system.paths import Paths

    proxies = {one.pid for one in instances.answering(Paths.of_user())}
    if AGENT_MARK in os.environ or any(one.pid in proxies for one in line_of(os.getpid())[1:]):
        raise Failure("Nothing was changed: this was run by an agent of a proxy. Run it in a terminal of your own.")


def _agreed(number: int) -> bool:
    if not sys.stdin.isatty():
        click.echo(
            "Nothing was changed: there is no terminal to confirm in. Use --yes to trust what is shown.", err=True
        )
        return False
    return click.confirm(f"Trust {'this' if number == 1 else 'these'}?", default=False)


def _accept(store: TrustStore, offers: list[Offer]) -> int:
    from ccproxy_tui.core.system.clock import SystemClock

    try:
        for offer in offers:
            offer.accept(store, SystemClock().now())
            click.echo(escape_line(f"trusted {offer.path}"))
    except OSError as error:
        raise Failure(f"{store.path} can't be written: {error}.") from error
    click.echo("A running proxy applies it when you restart it.")
    return 0
