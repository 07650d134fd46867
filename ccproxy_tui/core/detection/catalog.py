"""Lists of Codex models with their limits, as the backend, the CLI's cache and the CLI itself give them.

`{"models": [{"slug", "display_name", "context_window", "supported_reasoning_levels": [{"effort"}], "visibility"}]}`.
Shape: observed with Codex CLI 0.169.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccproxy_tui.core.control.frames import ModelLimits


def read_catalog(document: Mapping[str, Any]) -> list[ModelLimits]:
    """The models that are shown to people, best first. What a list does not tell is 0."""
    models = document.get("models")
    listed = [
        one
        for one in (models if isinstance(models, list) else [])
        if isinstance(one, dict) and isinstance(one.get("slug"), str) and one.get("visibility") != "hide"
    ]
    return [_model(one) for one in sorted(listed, key=_priority)]


def _priority(one: Mapping[str, Any]) -> int:
    return _tokens(one.get("priority"))


def _model(one: Mapping[str, Any]) -> ModelLimits:
    levels = one.get("supported_reasoning_levels")
    efforts = [
        str(level.get("effort") if isinstance(level, dict) else level)
        for level in (levels if isinstance(levels, list) else [])
    ]
    return ModelLimits(
        str(one["slug"]),
        name=str(one.get("display_name") or ""),
        context=_tokens(one.get("context_window")),
        output=_tokens(one.get("max_output_tokens")),
        efforts=efforts,
    )


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
