"""What Claude's models can do, as far as their names tell it."""

from __future__ import annotations

import re

from ccproxy_tui.core.formats.profile import ThinkingMode

# claude-opus-5-5, claude-sonnet-4-6-20260101, and the older claude-3-7-sonnet-20250219.
_NEW = re.compile(r"claude-[a-z]+-(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_OLD = re.compile(r"claude-(\d+)(?:[-.](\d{1,2}))?-")
_ADAPTIVE_FROM = (4, 6)
_THINKS_FROM = (3, 7)


def thinking_mode(model: str) -> ThinkingMode:
    """How a model is told to think. Unknown names are taken for new models."""
    match = _NEW.search(model) or _OLD.search(model)
    if match is None:
        return "adaptive"
    version = (int(match[1]), int(match[2] or 0))
    if version >= _ADAPTIVE_FROM:
        return "adaptive"
    return "budget" if version >= _THINKS_FROM else "none"
