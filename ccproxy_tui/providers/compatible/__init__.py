"""Any server that speaks one of the three dialects, with a key or without."""

from ccproxy_tui.providers.compatible.provider import Compatible, make_compatible

__all__ = ["Compatible", "make_compatible"]
