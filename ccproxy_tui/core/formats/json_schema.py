"""Tool schemas, made acceptable to Anthropic: an object at the root, without unions there."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.report import Report

Schema = dict[str, Any]

_UNIONS = ("anyOf", "oneOf", "allOf")


def object_schema(schema: Schema | None, report: Report, field: str = "tools[].parameters") -> Schema:
    """`schema` with `type: object`, root unions merged into one object, `$schema` removed. Never changes its input."""
    result = {key: value for key, value in (schema or {}).items() if key != "$schema"}
    for union in _UNIONS:
        branches = result.pop(union, None)
        if isinstance(branches, list):
            report.changed(f"{field}.{union}", "unions at the root are merged into one object")
            _merge(result, [_resolved(branch, result) for branch in branches if isinstance(branch, dict)], union)
    if result.get("type") != "object":
        result = {**result, "type": "object"}
    result.setdefault("properties", {})
    return result


def _resolved(branch: Schema, root: Schema) -> Schema:
    """A branch that only points into the root's definitions, replaced by what it points to."""
    pointer = branch.get("$ref")
    if not isinstance(pointer, str) or not pointer.startswith("#/"):
        return branch
    found: Any = root
    for part in pointer[2:].split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _merge(root: Schema, branches: list[Schema], union: str) -> None:
    """Every branch's properties are allowed; required is what all branches require (any, for `allOf`)."""
    properties = dict(root.get("properties") or {})
    needed: list[list[str]] = []
    for branch in branches:
        given = branch.get("properties")
        for name, value in (given if isinstance(given, dict) else {}).items():
            properties.setdefault(name, value)
        required = branch.get("required")
        needed.append([name for name in required if isinstance(name, str)] if isinstance(required, list) else [])
    root["properties"] = properties
    if union == "allOf":
        common = [name for names in needed for name in names]
    else:
        common = [name for name in (needed[0] if needed else []) if all(name in names for names in needed)]
    already = root.get("required")
    required = list(dict.fromkeys([*(already if isinstance(already, list) else []), *common]))
    if required:
        root["required"] = required
