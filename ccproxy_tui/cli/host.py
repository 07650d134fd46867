"""Host mode: start the proxy as a child (or find the one that runs) and open the screens on it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ccproxy_tui.cli.errors import Failure
from ccproxy_tui.cli.options import Flags, load_settings
from ccproxy_tui.core.limits import STOP_MARGIN

if TYPE_CHECKING:
    from ccproxy_tui.core.control.protocol import Control
    from ccproxy_tui.core.hosting import ProxyProcess
    from ccproxy_tui.core.settings import Loaded
    from ccproxy_tui.core.settings.offer import Offer
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.screens.ui.session import Source

DEMO_SECONDS = 20.0
START_AGAIN = -1  # in place of an exit status: the settings were trusted, and count from the next start on


def run_host(flags: Flags, config: Path | None, *, plain: bool, demo: bool = False) -> int:
    """The screens, or plain lines where there can be none. The exit status."""
    while (code := _run_once(flags, config, plain=plain, demo=demo)) == START_AGAIN:
        pass
    return code


def _run_once(flags: Flags, config: Path | None, *, plain: bool, demo: bool) -> int:
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import Paths

    paths = Paths.of_user()
    loaded = load_settings(flags, config)
    port = loaded.settings.server.port
    running = instances.on_port(paths, port) if port and not demo else None
    if running is None or running.ending:
        return run_hosted(flags, config, loaded, paths, plain=plain, demo=demo)
    from ccproxy_tui.screens.ui.session import Hosted

    source = Hosted(proxy_maker(flags, config, paths, demo=False), connect, other=running.socket)
    notice = f"a proxy was already running on port {port} (process {running.pid}); attached to it"
    return run_front_end(source, loaded, paths, plain=plain, notice=notice, offers=True)


def run_hosted(flags: Flags, config: Path | None, loaded: Loaded, paths: Paths, *, plain: bool, demo: bool) -> int:
    """Spawn the proxy first: it starts while the screens are still being imported."""
    import signal

    make = proxy_maker(flags, config, paths, demo=demo)
    first = make()
    signal.signal(signal.SIGTERM, _end_early)  # until there is a loop that handles it
    first.spawn()
    try:
        from ccproxy_tui.screens.ui.session import Hosted

        source = Hosted(make, connect, first)
        return run_front_end(source, loaded, paths, plain=plain, demo=demo, offers=not demo)
    except BaseException:  # Ctrl+C and SIGTERM, too: the process that was spawned must not outlive its terminal
        if not first.started:
            first.abandon()
        raise


def _end_early(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def proxy_maker(flags: Flags, config: Path | None, paths: Paths, *, demo: bool) -> Callable[[], ProxyProcess]:
    """Makes child processes. Flags travel in the environment, where a process list does not show a token."""
    from ccproxy_tui.core.hosting import ProxyProcess
    from ccproxy_tui.core.settings.sources import OVERRIDES_VARIABLE

    environ = dict(os.environ)
    if flags:
        environ[OVERRIDES_VARIABLE] = json.dumps({flag: [list(path), value] for flag, (path, value) in flags.items()})
    arguments = ["serve", *(["--config", str(config)] if config else []), *(["--demo"] if demo else [])]
    return lambda: ProxyProcess(arguments, environ, paths)


def connect(socket: str) -> Control:
    """A control connection; httpx is imported only now, in the thread that asked."""
    from ccproxy_tui.core.control.client import ControlClient

    return ControlClient(socket=socket)


def run_front_end(
    source: Source,
    loaded: Loaded,
    paths: Paths,
    *,
    plain: bool,
    demo: bool = False,
    notice: str = "",
    offers: bool = False,
) -> int:
    """Screens when the terminal can show them, plain lines otherwise.

    With `offers` the screens ask about files of the project folder; START_AGAIN comes back when they were trusted.
    The proxy looks at the executable and the parents of whoever decides, so this process stays readable for it.
    """
    from ccproxy_tui.core.settings.offer import offers_of
    from ccproxy_tui.core.settings.trust import TrustStore
    from ccproxy_tui.core.system.secrecy import write_no_core
    from ccproxy_tui.screens.ui.terminal import is_dumb

    write_no_core()
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    if plain or not tty or is_dumb(os.environ):
        return _run_plain(source, loaded, notice, seconds=DEMO_SECONDS if demo and not tty else None, tty=tty)
    waiting = offers_of(loaded, TrustStore(paths)) if offers else []
    return _run_screens(source, loaded, paths, waiting, demo=demo, notice=notice)


def _run_plain(source: Source, loaded: Loaded, notice: str, *, seconds: float | None, tty: bool) -> int:
    import asyncio
    import signal

    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.screens.ui.plain import HELP, PlainFrontEnd
    from ccproxy_tui.screens.ui.signals import EndSignals

    def write(text: str) -> None:
        click.echo(text, nl=False)

    async def run() -> int:
        front = PlainFrontEnd(source, write, SystemClock().now)
        signals = EndSignals(front.end, source.abandon)
        signals.install()
        if notice:
            front.line(notice)
        if tty:
            front.line(HELP)
        await front.run(seconds=seconds, commands=tty)
        signals.over()
        await _let_go(source, front.outcome, loaded)
        return front.exit_code

    code = asyncio.run(run())
    if code == 128 + signal.SIGPIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered has no reader
    return code


def _run_screens(source: Source, loaded: Loaded, paths: Paths, offers: list[Offer], *, demo: bool, notice: str) -> int:
    import asyncio
    import atexit
    import gc

    from ccproxy_tui.app import LOG_FILE, CCProxyApp
    from ccproxy_tui.core.settings.live import LiveSettings
    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.core.system.logging import configure
    from ccproxy_tui.screens.ui.signals import EndSignals
    from ccproxy_tui.screens.ui.terminal import restore_terminal

    ui = loaded.settings.ui
    configure(level=loaded.settings.logging.level, style="plain", file=paths.state / LOG_FILE, stderr=False)
    app = CCProxyApp(source, LiveSettings(loaded), SystemClock(), paths, is_demo=demo, notice=notice, offers=offers)
    atexit.register(restore_terminal)
    gc.freeze()  # a search for cycles, which the screens wait for, takes 60 ms with all modules, and 10 ms without

    async def run() -> str:
        signals = EndSignals(app.end_by, source.abandon)
        signals.install()
        outcome = await app.run_async(mouse=ui.mouse) or "stop"
        atexit.unregister(restore_terminal)  # Textual has put the terminal back
        if outcome == "stop" and source.owned and app.session.mirror.status.live:
            click.echo("stopping the proxy…", err=True)
        signals.over()
        await _let_go(source, outcome, loaded)
        return outcome

    outcome = asyncio.run(run())
    if app.session.state == "failed":
        raise Failure(app.session.problem, app.return_code or 1)
    if outcome == "trust":
        return START_AGAIN
    if outcome == "leave" and source.owned and not app.return_code:
        click.echo("the proxy is still running; `ccproxy-tui attach` opens its screens, `ccproxy-tui stop` stops it")
    return app.return_code or 0


async def _let_go(source: Source, outcome: str, loaded: Loaded) -> None:
    """Do with the proxy what was decided. A hang-up is left to the proxy's own setting."""
    if outcome in ("stop", "trust"):
        await source.stop(loaded.settings.server.drain_seconds + STOP_MARGIN)
    elif outcome == "leave":
        source.release()
