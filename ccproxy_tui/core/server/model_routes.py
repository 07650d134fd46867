"""The model table as people read it."""

from __future__ import annotations

from ccproxy_tui.core.control.frames import ModelRoute
from ccproxy_tui.core.model_map import Rule, find_candidates
from ccproxy_tui.core.server.hub import Hub


def routes_of(hub: Hub, name: str) -> list[ModelRoute]:
    """The ways of a model's name; without a name, the table's rules in their order."""
    table = hub.settings.models.table()
    if not name:
        return [_of_rule(rule) for rule in table]
    home = hub.prefixes.get("", "")
    paths = {"": "", **{provider: prefix for prefix, provider in hub.prefixes.items() if prefix}}
    return [
        ModelRoute(f"{paths[provider]}/v1", one.provider, one.model, one.rule or "no rule", certain=place == 0)
        for provider in paths
        for place, one in enumerate(find_candidates(name, provider, table, home))
    ]


def _of_rule(rule: Rule) -> ModelRoute:
    more = f"then {', '.join(rule.fallbacks)}" if rule.fallbacks else ""
    return ModelRoute(f"{rule.kind} {rule.match}", rule.provider or "any", rule.target or "same name", more)
