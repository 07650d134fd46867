"""`status` and `stop`: the proxies that run on this machine."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from ccproxy_tui.cli.attach import find_socket
from ccproxy_tui.cli.errors import NOT_RUNNING, Failure, explain

if TYPE_CHECKING:
    from ccproxy_tui.core.control.frames import Status
    from ccproxy_tui.core.control.instances import Instance
    from ccproxy_tui.core.control.protocol import Control

T = TypeVar("T")

ANSWER_SECONDS = 3.0  # for a proxy to answer; one that works does so in milliseconds
TERM_SECONDS = 10.0  # to end by itself after SIGTERM: its live streams have server.drain_seconds
KILL_SECONDS = 5.0
GONE_SECONDS = 610.0  # the longest server.drain_seconds, and a little
_POLL = 0.1


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--line", is_flag=True, help="Print one short line, for a tmux status line.")
@explain
def status(as_json: bool, line: bool) -> None:
    """Show the running proxy and its accounts. Exits 4 when no proxy runs."""
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.core.text.escape import escape_line

    paths = Paths.of_user()
    found, silent = asyncio.run(_ask_all(instances.running(paths)))
    if line:
        shown = [*map(_short, found), *(f":{instance.port} {reason}" for instance, reason in silent)]
        click.echo(escape_line(" ".join(shown)) or "ccproxy off")
    elif as_json:
        mute = [{"pid": one.pid, "host": one.host, "port": one.port, "problem": reason} for one, reason in silent]
        click.echo(json.dumps([*map(msgspec.to_builtins, found), *mute], indent=2))
    else:
        for one in found:
            _print(one)
    if silent:
        raise Failure("\n".join(f"{one.host}:{one.port}  pid {one.pid}  {reason}" for one, reason in silent))
    if not found:
        if not (as_json or line):
            click.echo(escape_line(instances.none_runs(paths)))
        raise click.exceptions.Exit(NOT_RUNNING)


async def _ask_all(running: list[Instance]) -> tuple[list[Status], list[tuple[Instance, str]]]:
    """Return the status of each proxy, all asked at once, and those that give none with the reason.

    One that ended since is in neither.
    """
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.control.protocol import ControlError, ControlLost

    async def ask(instance: Instance) -> Status | ControlError:
        try:
            return await _ask(instance.socket, lambda control: control.status())
        except ControlError as error:
            return error

    answers = await asyncio.gather(*map(ask, running))
    found = [answer for answer in answers if not isinstance(answer, ControlError)]
    silent = [
        (instance, "not answering" if isinstance(answer, ControlLost) else str(answer))
        for instance, answer in zip(running, answers, strict=True)
        if isinstance(answer, ControlError) and instances.accepts(instance.socket)
    ]
    return found, silent


async def _ask(socket: str, verb: Callable[[Control], Awaitable[T]]) -> T:
    """Return what a proxy answers within ANSWER_SECONDS. Raises ControlLost for one that stands still."""
    from ccproxy_tui.core.control.client import ControlClient
    from ccproxy_tui.core.control.protocol import ControlLost

    control = ControlClient(socket=socket)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await verb(control)
    except TimeoutError:
        raise ControlLost("The proxy does not respond.") from None
    finally:
        await control.close()


def _short(one: Status) -> str:
    return f":{one.port} {one.live} live{f' !{one.waiting}' if one.waiting else ''}"


def _print(one: Status) -> None:
    from ccproxy_tui.core.text.escape import escape_line

    click.echo(f"{one.host}:{one.port}  pid {one.pid}  v{one.version}  {one.live} live, {one.total} in all")
    if one.project:
        click.echo(escape_line(f"  {one.project}"))
    if one.history:
        click.echo(escape_line(f"  history: {one.history}"))
    for notice in one.notices:
        click.echo(escape_line(f"  warning: {notice}"))
    if one.waiting:
        click.echo(f"  {one.waiting} permission request{'s' * (one.waiting != 1)} waiting")
    for account in one.accounts:
        hint = f"  ({account.hint})" if account.hint else ""
        state = "its upstream does not respond" if account.unreachable is not None else account.state
        name = "  ".join(filter(None, (account.provider, account.label)))
        click.echo(escape_line(f"  {name}  {state}{hint}"))


@click.command()
@click.argument("target", required=False)
@click.option("--now", is_flag=True, help="Do not wait for live streams.")
@explain
def stop(target: str | None, now: bool) -> None:
    """Stop a running proxy, after its live streams (bounded by server.drain_seconds)."""
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.control.protocol import ControlLost
    from ccproxy_tui.core.system.paths import Paths

    paths = Paths.of_user()
    socket = find_socket(target, paths)
    try:
        asyncio.run(_ask(socket, lambda control: control.shutdown(drain=not now)))
    except ControlLost:
        if instances.accepts(socket):
            _end_by_signal(socket)
            return
        port = int(target) if target and target.isdecimal() else None
        raise Failure(instances.none_runs(paths, port), NOT_RUNNING) from None
    if not asyncio.run(_gone(socket, GONE_SECONDS)):
        raise Failure("The proxy did not stop in time; its live streams may need longer.")
    click.echo("stopped")


def _end_by_signal(socket: str) -> None:
    """End a proxy that does not answer: politely, then for good. Raises Failure when neither ends it."""
    import signal
    import time

    from ccproxy_tui.core.control import instances

    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        pid = instances.listener(socket)
        if pid is None:
            break
        click.echo(f"the proxy (pid {pid}) does not respond: sending {number.name}", err=True)
        if number == signal.SIGKILL:
            with suppress(OSError):  # without the note its host starts it again
                instances.note_kill(socket, pid, f"killed by `ccproxy-tui stop` at {time.strftime('%H:%M')}")
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # one that was stopped can end only when it goes on
        if asyncio.run(_gone(socket, seconds)):
            click.echo("stopped" if number == signal.SIGTERM else "killed")
            return
    raise Failure("The proxy does not respond, and could not be stopped.")


async def _gone(socket: str, seconds: float) -> bool:
    """Return whether nothing listens on the socket any more within that time."""
    from ccproxy_tui.core.control import instances

    for _ in range(int(seconds / _POLL)):
        if not instances.accepts(socket):
            return True
        await asyncio.sleep(_POLL)
    return False
