"""Anthropic's API with the account of the Claude CLI, or with an API key."""

from ccproxy_tui.providers.claude_api.provider import ClaudeApi

__all__ = ["ClaudeApi"]
