"""Questions whether a tool may run, from every source, and one queue for the person who answers them."""

from ccproxy_tui.core.permissions.broker import AlreadyAnswered, Broker, Entry
from ccproxy_tui.core.permissions.request import Decision, PermissionRequest, Source

__all__ = ["AlreadyAnswered", "Broker", "Decision", "Entry", "PermissionRequest", "Source"]
