"""Which settings a project folder may set before it is trusted. Pure.

The list names what may be set and everything else waits, so that a setting that is added later is safe by default. A
key is on it when the worst value that a stranger can choose costs you nothing but looks: no address, no program, no
credential, no rule, no key of the keyboard, nothing that is sent or stored.
"""

from __future__ import annotations

import re
from typing import Any

from ccproxy_tui.core.settings.sources import KeyPath, Layer, Origin

HARMLESS: frozenset[KeyPath] = frozenset(
    {
        # Models are mapped to providers of the built-in list or of your own files: a provider that the project names
        # by an address waits with that address.
        ("models", "rules"),
        ("models", "defaults"),
        ("models", "limit_max_tokens"),
        ("models", "max_tokens"),
        ("models", "auto_cache"),
        ("ui", "theme"),
        ("ui", "symbols"),
        ("ui", "mouse"),
        ("ui", "frame_hz"),
        ("ui", "slow"),
        ("ui", "bell"),
        ("ui", "on_quit"),  # ui.keys is not here: it could swap the keys for allow and deny
        ("logging", "level"),
        ("server", "port"),
    }
)
_TABLES: frozenset[KeyPath] = frozenset({("models", "max_tokens")})  # whose keys are chosen by the file

_REPEATED = re.compile(r"[*+]|\{\d*,\d*\}")
_REPEATED_GROUP = re.compile(r"\)(?:[*+]|\{)")
_MOST_REPEATS = 3


def is_harmless(path: KeyPath, value: Any) -> bool:
    """Return whether a project file may set this setting to this value without trust."""
    if path not in HARMLESS and (len(path) != 3 or path[:-1] not in _TABLES):
        return False
    return path != ("models", "rules") or all(is_quick(rule) for rule in _patterns(value))


def _patterns(rules: Any) -> list[str]:
    items = rules if isinstance(rules, list) else []
    return [str(item.get("match")) for item in items if isinstance(item, dict) and item.get("kind") == "regex"]


def is_quick(pattern: str) -> bool:
    """Return whether a pattern is certain to be matched in little time.

    A repeated group, or many repetitions one after the other, can be made to take hours for a short model name.
    """
    return not _REPEATED_GROUP.search(pattern) and len(_REPEATED.findall(pattern)) <= _MOST_REPEATS


def split(layer: Layer) -> tuple[Layer, Layer]:
    """Return what a project file may set without trust, and the rest of it."""
    harmless, waiting = Layer(), Layer()
    for path, origin in layer.origins.items():
        found, value = _value_at(layer.values, path)
        if found:
            _set(harmless if is_harmless(path, value) else waiting, path, value, origin)
    return harmless, waiting


def without(layer: Layer, paths: set[KeyPath]) -> Layer:
    """Return the layer without these settings and all that lies below them."""
    kept = Layer()
    for path, origin in layer.origins.items():
        found, value = _value_at(layer.values, path)
        if found and not any(path[: len(gone)] == gone for gone in paths):
            _set(kept, path, value, origin)
    return kept


def values_of(layer: Layer) -> dict[KeyPath, Any]:
    """Return each setting of the layer with its value."""
    pairs = ((path, _value_at(layer.values, path)) for path in layer.origins)
    return {path: value for path, (found, value) in pairs if found}


def _value_at(values: Any, path: KeyPath) -> tuple[bool, Any]:
    """The value of a path, if it is still there: a later line of a file may have put a plain value over its table."""
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False, None
        values = values[part]
    return not isinstance(values, dict), values


def _set(layer: Layer, path: KeyPath, value: Any, origin: Origin) -> None:
    target = layer.values
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value
    layer.origins[path] = origin
