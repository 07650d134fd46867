"""`doctor`: probe this machine's setup and print what is open and how to close it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ccproxy_tui.cli.errors import FAILURE, explain

if TYPE_CHECKING:
    from ccproxy_tui.core.control.instances import Instance
    from ccproxy_tui.core.probes import Finding
    from ccproxy_tui.core.settings import Loaded
    from ccproxy_tui.core.system.paths import Paths

Report = dict[str, list["Finding"]]


@click.command()
@click.option("--security", is_flag=True, help="Run the security probes (currently the only ones).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@explain
def doctor(ctx: click.Context, /, security: bool, as_json: bool) -> None:
    """Probe this machine's setup: what is open, and how to close it. Exits 1 when something is open."""
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.settings import load
    from ccproxy_tui.core.system.paths import Paths

    paths = Paths.of_user()
    loaded = load(flags=ctx.obj["flags"], config=ctx.obj["config"])
    report = _look(paths, loaded, instances.running(paths))
    if as_json:
        click.echo(json.dumps({area: [asdict(one) for one in found] for area, found in report.items()}, indent=2))
    else:
        _print(report)
    if any(one.level == "open" for found in report.values() for one in found):
        raise click.exceptions.Exit(FAILURE)


def _look(paths: Paths, loaded: Loaded, running: list[Instance]) -> Report:
    from ccproxy_tui.core.probes import Finding
    from ccproxy_tui.core.probes.files import probe_files
    from ccproxy_tui.core.probes.packages import probe_packages
    from ccproxy_tui.core.probes.process import probe_process
    from ccproxy_tui.core.probes.proxy import probe_proxy
    from ccproxy_tui.core.probes.settings import probe_settings
    from ccproxy_tui.core.probes.tools import probe_hooks
    from ccproxy_tui.providers.registry import GROUP

    home = paths.home
    credentials = [
        home / ".claude" / ".credentials.json",
        home / ".codex" / "auth.json",
        home / ".config" / "copilot" / "credentials.json",
    ]
    report: Report = {
        "Settings": probe_settings(loaded),
        "Files": probe_files(paths, credentials),
        "Tools": [
            *probe_hooks(home / ".claude" / "settings.json"),
            *probe_hooks(home / ".codex" / "hooks.json"),
        ],
    }
    report["Packages"] = probe_packages(GROUP)
    token = loaded.settings.security.auth_token
    for one in running:
        report[f"Proxy on port {one.port}"] = [
            *probe_process(one.pid),
            *probe_proxy(_reachable(one.host), one.port, token.get_secret_value() if token is not None else ""),
        ]
    if not running:
        report["Proxy"] = [Finding("not tried", "No proxy runs.", "Start one, then run this again.")]
    return {area: found for area, found in report.items() if found}


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared


def _print(report: Report) -> None:
    from ccproxy_tui.core.text.escape import escape_line

    for area, found in report.items():
        click.echo(area)
        for one in found:
            click.echo(escape_line(f"  {one.level:9} {one.text}"))
            if one.fix and one.level != "ok":
                click.echo(escape_line(f"  {'':9} -> {one.fix}"))
    count = sum(one.level == "open" for found in report.values() for one in found)
    click.echo(f"{count} open" if count else "Nothing open.")
