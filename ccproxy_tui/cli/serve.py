"""`serve`: the proxy alone. Nothing here imports Textual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccproxy_tui.cli.errors import Failure, explain
from ccproxy_tui.cli.options import Flags, pop_flags, serve_options
from ccproxy_tui.core.text.escape import escape_line

if TYPE_CHECKING:
    from ccproxy_tui.core.provider import Provider
    from ccproxy_tui.core.server.serve import Leash
    from ccproxy_tui.core.settings import Settings


@click.command()
@serve_options
@click.option("--leash-ready", type=int, hidden=True)
@click.option("--leash-parent", type=int, hidden=True)
@click.option("--demo", is_flag=True, hidden=True)
@click.pass_context
@explain
def serve(
    ctx: click.Context,
    /,
    config: Path | None,
    leash_ready: int | None,
    leash_parent: int | None,
    demo: bool,
    **values: Any,
) -> None:
    """Run the proxy without screens (for services, containers and boxes without a terminal)."""
    from ccproxy_tui.core.server.serve import Leash

    flags = {**ctx.obj["flags"], **pop_flags(values)}
    leash = Leash(leash_ready, leash_parent)
    ctx.exit(run_proxy(flags, config or ctx.obj["config"], leash, demo=demo))


def run_proxy(flags: Flags, config: Path | None, leash: Leash, *, demo: bool) -> int:
    """Serve until stopped. The exit status."""
    from ccproxy_tui.core.server.serve import ProxyServer, StartError
    from ccproxy_tui.core.settings import SettingsError, load
    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.core.system.secrecy import hide_memory
    from ccproxy_tui.providers.registry import Context, load_providers

    hide_memory()
    clock = SystemClock()
    paths = Paths.of_user()

    def providers(settings: Callable[[], Settings]) -> Iterable[Provider]:
        return load_providers(Context(settings, clock, paths))

    try:
        loaded = load(flags=flags, config=config)
        server = ProxyServer(loaded, clock, paths, providers, leash=leash, demo=demo)
    except SettingsError as error:
        leash.say({"error": "\n".join(str(problem) for problem in error.problems)})
        raise
    except StartError as error:
        leash.say({"error": str(error), "other": error.other})
        raise Failure(str(error), error.code) from error
    return _run(server, paths.taken(), demo=demo)


def _run(server: Any, taken: str, *, demo: bool) -> int:
    import asyncio
    import sys

    from ccproxy_tui.core.system.logging import configure

    settings = server.hub.settings
    configure(
        level=settings.logging.level,
        style=settings.logging.format,
        file=settings.logging.file,
        stderr=True,
        sink=server.hub.store.add_log,
    )
    _warn(server, taken)
    if demo:
        from ccproxy_tui.providers.demo.clients import start_clients

        server.on_ready = start_clients
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            code: int = runner.run(server.run())
        except KeyboardInterrupt:
            code = 130
    sys.stderr.flush()
    return code


def _warn(server: Any, taken: str) -> None:
    import logging

    from ccproxy_tui.core.system.paths import readable

    loaded = server.hub.loaded
    for warning in (*loaded.ignored, *loaded.exposed, *loaded.warnings, *server.missing, *filter(None, [taken])):
        logging.getLogger("ccproxy_tui.settings").warning("%s", escape_line(str(warning)))
        server.hub.notices.append(readable(str(warning)))


def _loop_factory() -> Any:
    """uvloop where it installs; asyncio's own loop elsewhere."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
