"""What the system would give away of a running proxy's memory (Linux)."""

from __future__ import annotations

import sys
from pathlib import Path

from ccproxy_tui.core.probes.finding import Finding


def probe_process(pid: int) -> list[Finding]:
    """Return whether the process `pid` would leave its memory, and so your logins, in a core file."""
    if sys.platform != "linux":
        return [Finding("not tried", "Core files: this system does not say.", "Linux has /proc.")]
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError as error:
        return [Finding("not tried", f"Core files of pid {pid}: {error.strerror}.", "Run this as its user.")]
    line = next((one for one in limits.splitlines() if one.startswith("Max core file size")), "")
    if line.split()[4:6] == ["0", "0"]:
        return [Finding("ok", f"The proxy (pid {pid}) writes no core file.")]
    return [
        Finding("open", f"The proxy (pid {pid}) would write its memory to a core file.", "Restart it; ulimit -c 0.")
    ]
