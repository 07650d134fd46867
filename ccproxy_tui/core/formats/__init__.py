"""The wire dialects and the conversion between them. Pure: bytes and values in, bytes and values out."""

from ccproxy_tui.core.formats.names import FORMATS, Format

__all__ = ["FORMATS", "Format"]
