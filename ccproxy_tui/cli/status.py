"""`status` and `stop`: the proxies that run on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ccproxy_tui.cli.attach import find_socket, none_runs
from ccproxy_tui.cli.errors import NOT_RUNNING, Failure, explain

if TYPE_CHECKING:
    from ccproxy_tui.core.control import Control
    from ccproxy_tui.core.frames import Status
    from ccproxy_tui.core.instances import Instance


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--line", is_flag=True, help="Print one short line, for a tmux status line.")
@explain
def status(as_json: bool, line: bool) -> None:
    """Say what runs, and how it is. Exits 4 when nothing runs."""
    from ccproxy_tui.core import instances
    from ccproxy_tui.core.paths import Paths

    paths = Paths.of_user()
    found, silent = _ask_each(instances.running(paths))
    if line:
        click.echo(" ".join(_short(one) for one in found) or "ccproxy off")
    elif as_json:
        click.echo(json.dumps([msgspec.to_builtins(one) for one in found], indent=2))
    else:
        for one in found:
            _print(one)
    if silent:
        raise Failure("\n".join(silent))
    if not found:
        if not (as_json or line):
            click.echo(none_runs(paths))
        raise click.exceptions.Exit(NOT_RUNNING)


def _ask_each(running: list[Instance]) -> tuple[list[Status], list[str]]:
    """Return the status of each proxy, and a line for each that gives none. One that ended since is in neither."""
    from ccproxy_tui.core import instances
    from ccproxy_tui.core.control import ControlError

    found: list[Status] = []
    silent: list[str] = []
    for instance in running:
        try:
            found.append(_ask(instance.socket, lambda control: control.status()))
        except ControlError as error:
            if instances.accepts(instance.socket):
                silent.append(f"{instance.host}:{instance.port}, pid {instance.pid}: {error}")
    return found, silent


def _ask(socket: str, verb: Callable[[Control], Awaitable[Any]]) -> Any:
    from ccproxy_tui.core.control_client import ControlClient

    async def run() -> Any:
        control = ControlClient(socket=socket)
        try:
            return await verb(control)
        finally:
            await control.close()

    return asyncio.run(run())


def _short(one: Status) -> str:
    return f":{one.port} {one.live} live{f' !{one.waiting}' if one.waiting else ''}"


def _print(one: Status) -> None:
    from ccproxy_tui.core.escape import escape_line

    click.echo(f"{one.host}:{one.port}  pid {one.pid}  v{one.version}  {one.live} live, {one.total} in all")
    if one.project:
        click.echo(escape_line(f"  {one.project}"))
    if one.history:
        click.echo(escape_line(f"  history: {one.history}"))
    if one.waiting:
        click.echo(f"  {one.waiting} permission request{'s' * (one.waiting != 1)} waiting")
    for account in one.accounts:
        hint = f"  ({account.hint})" if account.hint else ""
        state = "its upstream does not answer" if account.unreachable is not None else account.state
        name = "  ".join(filter(None, (account.provider, account.label)))
        click.echo(escape_line(f"  {name}  {state}{hint}"))


@click.command()
@click.argument("target", required=False)
@click.option("--now", is_flag=True, help="Do not wait for live streams.")
@explain
def stop(target: str | None, now: bool) -> None:
    """Stop a running proxy, after its live streams (bounded by server.drain_seconds)."""
    from ccproxy_tui.core import instances
    from ccproxy_tui.core.control import ControlLost
    from ccproxy_tui.core.paths import Paths

    paths = Paths.of_user()
    socket = find_socket(target, paths)
    try:
        _ask(socket, lambda control: control.shutdown(drain=not now))
    except ControlLost:
        if instances.accepts(socket):
            raise
        raise Failure(none_runs(paths, target), NOT_RUNNING) from None
    if not asyncio.run(_gone(instances.accepts, socket)):
        raise Failure("The proxy did not stop in time; its live streams may take longer.")
    click.echo("stopped")


async def _gone(accepts: Callable[[str], bool], socket: str) -> bool:
    for _ in range(6100):
        if not accepts(socket):
            return True
        await asyncio.sleep(0.1)
    return False
