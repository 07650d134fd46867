"""Packages that add code to the proxy: a provider of another package runs with its rights."""

from __future__ import annotations

from importlib.metadata import entry_points

from ccproxy_tui.core.probes.finding import Finding

_OWN = "ccproxy-tui"


def probe_packages(group: str) -> list[Finding]:
    """Return what other installed packages add at the entry points of `group`."""
    found = [
        Finding("note", f"The package {point.dist.name} adds the provider {point.name}: it sees all logins.")
        for point in entry_points(group=group)
        if point.dist is not None and point.dist.name != _OWN
    ]
    return found or [Finding("ok", "No other package adds a provider.")]
