"""Which tool is asking: a short name from its headers."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

# Beginnings of User-Agent headers as the tools send them (observed), and the name that lists show.
_AGENTS: tuple[tuple[str, str], ...] = (
    ("claude-cli/", "claude-code"),
    ("claude-code/", "claude-code"),
    ("codex_exec/", "codex"),
    ("codex_cli_rs/", "codex"),
    ("codex-tui/", "codex"),
    ("codex_", "codex"),
    ("opencode/", "opencode"),
    ("aider/", "aider"),
    ("litellm/", "aider"),
    ("anthropic/python", "anthropic-sdk"),
    ("asyncanthropic/python", "anthropic-sdk"),
    ("anthropic/js", "anthropic-sdk"),
    ("openai/python", "openai-sdk"),
    ("asyncopenai/python", "openai-sdk"),
    ("openai/js", "openai-sdk"),
    ("zed/", "zed"),
    ("python-httpx/", "httpx"),
    ("python-requests/", "requests"),
    ("curl/", "curl"),
)
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,23}")


def client_name(headers: Mapping[str, str]) -> str:
    """The tool's name. `headers` has lower-case keys. Unknown tools go by the product of their User-Agent."""
    if headers.get("originator", "").startswith(("codex", "opencode")):
        return "opencode" if headers["originator"].startswith("opencode") else "codex"
    return _by_agent(headers.get("user-agent", ""))


@functools.lru_cache(maxsize=256)
def _by_agent(agent: str) -> str:
    lower = agent.lower()
    for start, name in _AGENTS:
        if lower.startswith(start):
            return name
    match = _PRODUCT.match(agent)
    return match.group().lower() if match else "unknown"
