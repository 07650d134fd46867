"""`demo`: host mode on the built-in provider, with scripted clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ccproxy_tui.cli.errors import explain
from ccproxy_tui.cli.options import pop_flags, serve_options


@click.command()
@serve_options
@click.option("--plain", is_flag=True, help="Lines instead of screens.")
@click.pass_context
@explain
def demo(ctx: click.Context, /, config: Path | None, plain: bool, **values: Any) -> None:
    """Try everything on the built-in provider, with no login.

    Scripted clients send real requests through a real proxy; nothing leaves the machine. Without a terminal it prints
    lines for 20 seconds.
    """
    from ccproxy_tui.cli.host import run_host

    flags = {**ctx.obj["flags"], **pop_flags(values)}
    flags["demo"] = (("server", "bypass_mode"), True)
    ctx.exit(run_host(flags, config or ctx.obj["config"], plain=plain, demo=True))
