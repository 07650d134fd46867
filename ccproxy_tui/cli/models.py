"""`models`: the model table, and what becomes of a model's name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ccproxy_tui.cli.errors import explain
from ccproxy_tui.cli.options import load_settings
from ccproxy_tui.core.text.escape import escape_line

if TYPE_CHECKING:
    from ccproxy_tui.core.model_map import Rule


@click.command()
@click.argument("names", nargs=-1)
@click.option("--via", metavar="PROVIDER", help="Route as on this provider's own path.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@explain
def models(ctx: click.Context, /, names: tuple[str, ...], via: str | None, as_json: bool) -> None:
    """Print the model table, or which provider and model serve NAMES (on the bare /v1, or --via a provider)."""
    table = load_settings(**ctx.obj).settings.models.table()
    found = _resolve(names, via, table) if names else [_row(rule) for rule in table]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif names:
        for one in found:
            line = f"{one['asked']} -> {one['provider']} {one['model']}  ({one['rule'] or 'no rule'})"
            click.echo(escape_line(line))
    else:
        _print_table(found)


def _resolve(names: tuple[str, ...], via: str | None, table: Sequence[Rule]) -> list[dict[str, str]]:
    """One row for each way to serve a name, in the order in which they are tried."""
    from ccproxy_tui.core.model_map import find_candidates

    return [
        {"asked": name, "provider": one.provider, "model": one.model, "rule": one.rule}
        for name in names
        for one in find_candidates(name, via or "", table, "claude_api")
    ]


def _row(rule: Rule) -> dict[str, str]:
    return {
        "kind": rule.kind,
        "match": rule.match,
        "provider": rule.provider or "any",
        "target": rule.target or "same",
        "fallbacks": ", ".join(rule.fallbacks),
    }


def _print_table(rows: list[dict[str, str]]) -> None:
    columns = ("kind", "match", "provider", "target", "fallbacks")
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) if rows else len(name) for name in columns}
    for row in [{name: name for name in columns}, *rows]:
        click.echo(escape_line("  ".join(row[name].ljust(widths[name]) for name in columns).rstrip()))
