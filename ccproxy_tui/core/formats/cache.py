"""Cache marks, in the spelling of every dialect."""

from __future__ import annotations

from ccproxy_tui.core.formats.misfit import Object, maybe_object
from ccproxy_tui.core.formats.request import Cache

# Anthropic's own, what clients of the Chat dialect send for Claude models, and OpenAI's.
_SPELLINGS = ("cache_control", "copilot_cache_control", "prompt_cache_breakpoint")
_LONG = ("1h", "12h", "24h")


def read_cache(values: Object) -> Cache | None:
    """The cache mark on a block, part, tool or message. Raises Misfit when it is not an object."""
    for spelling in _SPELLINGS:
        if spelling in values and (mark := maybe_object(values, spelling)) is not None:
            return Cache("1h") if mark.get("ttl") in _LONG else Cache()
    return None
