"""Tools and tool choice of a Responses request, in both directions."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.cache import read_cache
from ccproxy_tui.core.formats.misfit import (
    Misfit,
    Object,
    as_object,
    maybe_bool,
    maybe_list,
    maybe_object,
    maybe_string,
    maybe_strings,
    one_of,
    string,
)
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Request, Search, Tool, ToolChoice
from ccproxy_tui.core.formats.tool_names import INPUT_SCHEMA, ToolNames, describe


def parse_tools(tools: list[Any], report: Report) -> list[Tool]:
    parsed: list[Tool] = []
    for place, raw in enumerate(tools):
        try:
            parsed += _tool(as_object(raw), report)
        except Misfit as misfit:
            raise misfit.inside("tools", place) from None
    return parsed


def _tool(raw: Object, report: Report, namespace: str = "") -> list[Tool]:
    kind = string(raw, "type")
    description = maybe_string(raw, "description") or ""
    if kind == "function":
        if raw.get("defer_loading"):
            report.dropped("tools[].defer_loading", "all tools are given at once")
        schema = maybe_object(raw, "parameters")
        strict = maybe_bool(raw, "strict")
        return [Tool("function", string(raw, "name"), description, schema, strict, None, namespace, read_cache(raw))]
    if kind == "custom":
        form = maybe_object(raw, "format") or {}
        grammar = form if form.get("type") == "grammar" else None
        return [Tool("custom", string(raw, "name"), description, grammar=grammar, namespace=namespace)]
    if kind == "namespace":
        name = string(raw, "name")
        return [tool for inner in maybe_list(raw, "tools") for tool in _tool(as_object(inner), report, name)]
    if kind.startswith("web_search"):
        return [Tool("web_search", "web_search", search=_search(raw))]
    if kind == "tool_search":
        report.dropped("tools[] (tool_search)", "all tools are given at once instead")
        return []
    raise Misfit(f"The tool {kind[:60]!r} runs at OpenAI; this provider has no counterpart.", "type")


def _search(raw: Object) -> Search:
    filters = maybe_object(raw, "filters") or {}
    location = maybe_object(raw, "user_location")
    if location is not None:
        location = {key: value for key, value in location.items() if key != "type" and value is not None}
    size = maybe_string(raw, "search_context_size") or ""
    return Search(maybe_strings(filters, "allowed_domains"), [], location=location, context_size=size)


def parse_choice(body: Object) -> ToolChoice | None:
    value = body.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        return ToolChoice(one_of(body, "tool_choice", ("auto", "none", "required")) or "auto")
    choice = as_object(value, "tool_choice")
    try:
        kind = string(choice, "type")
        if kind == "allowed_tools":
            names = [maybe_string(as_object(raw), "name") or "" for raw in maybe_list(choice, "tools")]
            mode = one_of(choice, "mode", ("auto", "required"))
            return ToolChoice("required" if mode == "required" else "auto", [name for name in names if name])
        if kind.startswith("web_search"):
            return ToolChoice("required", ["web_search"])
        return ToolChoice("required", [string(choice, "name")])
    except Misfit as misfit:
        raise misfit.inside("tool_choice") from None


def render_tools(tools: list[Tool], names: ToolNames, profile: Profile, report: Report) -> list[Object]:
    if profile.max_tools is not None and len(tools) > profile.max_tools:
        raise Misfit(f"{profile.name} takes {profile.max_tools} tools at most, not {len(tools)}.", "tools")
    return [_rendered(tool, place, names, profile, report) for place, tool in enumerate(tools)]


def _rendered(tool: Tool, place: int, names: ToolNames, profile: Profile, report: Report) -> Object:
    if tool.kind == "web_search":
        return _web_search(tool, place, profile, report)
    raw: Object = {"type": "function", "name": names.wire(tool.name, tool.namespace)}
    if tool.kind == "custom" and profile.custom_tools:
        raw["type"] = "custom"
        raw["description"] = tool.description
        raw["format"] = {"type": "text"} if tool.grammar is None else {**tool.grammar, "type": "grammar"}
        return raw
    if description := describe(tool):
        raw["description"] = description
    if tool.kind == "custom":
        report.emulated("tools[] (custom)", "given as a function with one string; calls come back as custom ones")
        raw["parameters"] = INPUT_SCHEMA
    else:
        raw["parameters"] = tool.schema or {"type": "object", "properties": {}}
    raw["strict"] = tool.strict or False
    return raw


def _web_search(tool: Tool, place: int, profile: Profile, report: Report) -> Object:
    if not profile.web_search:
        raise Misfit(f"{profile.name} has no web search.", "tools", place)
    raw: Object = {"type": "web_search"}
    search = tool.search
    if search is None:
        return raw
    if search.blocked_domains:
        why = "OpenAI's web search can't block domains; it can only allow some."
        raise Misfit(why, "tools", place, "blocked_domains")
    if search.max_uses is not None:
        report.dropped("tools[].max_uses", "OpenAI's web search has no such limit")
    if search.allowed_domains:
        raw["filters"] = {"allowed_domains": search.allowed_domains}
    if search.location is not None:
        raw["user_location"] = {**search.location, "type": "approximate"}
    if search.context_size:
        raw["search_context_size"] = search.context_size
    return raw


def render_choice(request: Request, names: ToolNames, profile: Profile) -> str | Object | None:
    choice = request.choice
    if choice is None or not choice.names:
        return None if choice is None else choice.mode
    chosen = [_named(name, request, names, profile) for name in choice.names]
    if choice.mode == "required" and len(chosen) == 1:
        return chosen[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": chosen}


def _named(name: str, request: Request, names: ToolNames, profile: Profile) -> Object:
    kind = next((tool.kind for tool in request.tools if tool.name == name), "function")
    if kind == "web_search":
        return {"type": "web_search"}
    return {"type": kind if profile.custom_tools else "function", "name": names.wire(name)}
