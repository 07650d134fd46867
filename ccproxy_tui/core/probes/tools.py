"""What client tools were set up to do with this proxy: hooks that anything on the port could answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ccproxy_tui.core.probes.finding import Finding


def probe_hooks(path: Path) -> list[Finding]:
    """Return whether the hooks in a tool's JSON settings at `path` verify who answers them."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # not set up, or not ours to judge
        return []
    hooks = list(_hooks(document.get("hooks") if isinstance(document, dict) else None))
    ours = [hook for hook in hooks if "/hooks/" in str(hook.get("url")) or "ccproxy-tui" in str(hook.get("command"))]
    if any(hook.get("type") == "http" for hook in ours):
        text = f"{path} asks over HTTP: any program that holds the port while the proxy is down can allow tool calls."
        return [Finding("open", text, "Run `ccproxy-tui connect` for that tool again.")]
    return [Finding("ok", f"The hooks in {path} verify who answers.")] if ours else []


def _hooks(table: Any) -> list[dict[str, Any]]:
    """Every hook of a `hooks` table: event -> groups -> hooks, as Claude Code and Codex write it."""
    events = table.values() if isinstance(table, dict) else []
    groups = [group for event in events if isinstance(event, list) for group in event if isinstance(group, dict)]
    listed = [group["hooks"] for group in groups if isinstance(group.get("hooks"), list)]
    return [hook for one in listed for hook in one if isinstance(hook, dict)]
