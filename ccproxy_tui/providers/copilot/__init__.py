"""GitHub Copilot's API."""

from ccproxy_tui.providers.copilot.provider import Copilot

__all__ = ["Copilot"]
