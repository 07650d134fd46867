"""Usage objects of the three dialects, read into neutral figures and written from them.

Anthropic counts `input_tokens` without cached tokens; both OpenAI dialects count them in.
"""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.formats.names import Format


def read_usage(values: dict[str, Any], dialect: Format) -> Usage:
    """A dialect's usage object, in neutral figures. What it does not say stays None."""
    if dialect == "anthropic_messages":
        return Usage(
            input=_number(values, "input_tokens"),
            output=_number(values, "output_tokens"),
            cache_read=_number(values, "cache_read_input_tokens"),
            cache_write=_number(values, "cache_creation_input_tokens"),
            reasoning=_number(values, "output_tokens_details", "thinking_tokens"),
        )
    side = ("prompt", "completion") if dialect == "openai_chat" else ("input", "output")
    prompt = _number(values, f"{side[0]}_tokens")
    details = f"{side[0]}_tokens_details"
    read = _number(values, details, "cached_tokens")
    write = _number(values, details, "cache_write_tokens")
    return Usage(
        input=None if prompt is None else max(prompt - (read or 0) - (write or 0), 0),
        output=_number(values, f"{side[1]}_tokens"),
        cache_read=read,
        cache_write=write,
        reasoning=_number(values, f"{side[1]}_tokens_details", "reasoning_tokens"),
    )


def anthropic_usage(usage: Usage) -> dict[str, Any]:
    values: dict[str, Any] = {
        "input_tokens": usage.input or 0,
        "cache_creation_input_tokens": usage.cache_write or 0,
        "cache_read_input_tokens": usage.cache_read or 0,
        "output_tokens": usage.output or 0,
    }
    if usage.reasoning is not None:
        values["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return values


def chat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output or 0,
        "total_tokens": usage.prompt + (usage.output or 0),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
    }


def responses_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "output_tokens": usage.output or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + (usage.output or 0),
    }


def _number(values: dict[str, Any], *path: str) -> int | None:
    value: Any = values
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
