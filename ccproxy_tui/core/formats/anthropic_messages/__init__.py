"""Anthropic Messages. Sources: https://docs.anthropic.com/en/api/messages and the typed models of the official SDK."""
