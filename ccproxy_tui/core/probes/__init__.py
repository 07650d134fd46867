"""What `ccproxy-tui doctor --security` looks at: settings, files, the process, the running proxy, connected tools."""

from ccproxy_tui.core.probes.finding import Finding, Level

__all__ = ["Finding", "Level"]
