"""The built-in simulated provider: everything works on a machine with no login and no network."""

from ccproxy_tui.providers.demo.provider import Demo

__all__ = ["Demo"]
