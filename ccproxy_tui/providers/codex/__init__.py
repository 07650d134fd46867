"""ChatGPT's Codex backend."""

from ccproxy_tui.providers.codex.provider import Codex

__all__ = ["Codex"]
