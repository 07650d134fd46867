"""SDK mode: Claude Code's own agent, run by this proxy, behind every dialect."""

from ccproxy_tui.providers.claude_sdk.provider import ClaudeSdk

__all__ = ["ClaudeSdk"]
