"""`attach`: the screens on a proxy that runs already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccproxy_tui.cli.errors import NOT_RUNNING, Failure, explain
from ccproxy_tui.cli.options import load_settings

if TYPE_CHECKING:
    from ccproxy_tui.core.system.paths import Paths


@click.command()
@click.argument("target", required=False)
@click.option("--plain", is_flag=True, help="Lines instead of screens.")
@click.pass_context
@explain
def attach(ctx: click.Context, /, target: str | None, plain: bool) -> None:
    """Open the screens on a running proxy.

    TARGET is a port or a control socket; without it, the one proxy that runs. Quitting never stops it.
    """
    from ccproxy_tui.cli.host import connect, proxy_maker, run_front_end
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.screens.ui.session import Hosted

    paths = Paths.of_user()
    loaded = load_settings(**ctx.obj)
    socket = find_socket(target, paths)
    flags = dict(ctx.obj["flags"])
    if (found := instances.at(socket)) is not None:
        flags["--port"] = (("server", "port"), found.port)  # where another one starts when the user wants it
    make = proxy_maker(flags, ctx.obj["config"], paths, demo=False)
    ctx.exit(run_front_end(Hosted(make, connect, other=socket), loaded, paths, plain=plain))


def find_socket(target: str | None, paths: Paths) -> str:
    """Return the control socket that `target` means.

    Raises Failure when there is none, or more than one, NotOurs when it is another user's.
    """
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import check_socket

    if target and not target.isdecimal():
        if not Path(target).is_socket():
            raise Failure(f"{target} is not a control socket. `ccproxy-tui status` lists what runs.", NOT_RUNNING)
        check_socket(Path(target))
        return target
    running = instances.running(paths)
    if target:
        running = [instance for instance in running if instance.port == int(target)]
    if not running:
        raise Failure(instances.none_runs(paths, int(target) if target else None), NOT_RUNNING)
    if len(running) > 1:
        ports = ", ".join(str(instance.port) for instance in running)
        raise Failure(f"Several proxies run; name one by its port: {ports}.")
    return running[0].socket
