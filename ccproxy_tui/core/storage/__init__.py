"""What is kept on disk for later: in DuckDB, by one thread, never on a request's path."""

from ccproxy_tui.core.storage.audit import Audit

__all__ = ["Audit"]
