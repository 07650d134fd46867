"""Tools and tool choice of a Chat request, in both directions."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.cache import read_cache
from ccproxy_tui.core.formats.misfit import (
    Misfit,
    Object,
    as_object,
    as_string,
    maybe_bool,
    maybe_list,
    maybe_object,
    maybe_string,
    one_of,
    string,
)
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Request, Search, Tool, ToolChoice
from ccproxy_tui.core.formats.tool_names import INPUT_SCHEMA, ToolNames, describe


def parse_tools(body: Object) -> list[Tool]:
    """`tools`, the legacy `functions`, and `web_search_options`. Raises Misfit."""
    tools: list[Tool] = []
    for place, raw in enumerate(maybe_list(body, "tools")):
        try:
            tools.append(_tool(as_object(raw)))
        except Misfit as misfit:
            raise misfit.inside("tools", place) from None
    for place, raw in enumerate(maybe_list(body, "functions")):
        try:
            tools.append(_function(as_object(raw)))
        except Misfit as misfit:
            raise misfit.inside("functions", place) from None
    options = maybe_object(body, "web_search_options")
    if options is not None:
        location = (maybe_object(options, "user_location") or {}).get("approximate")
        size = maybe_string(options, "search_context_size") or ""
        search = Search([], [], location=location if isinstance(location, dict) else None, context_size=size)
        tools.append(Tool("web_search", "web_search", search=search))
    return tools


def _tool(raw: Object) -> Tool:
    kind = one_of(raw, "type", ("function", "custom"))
    if kind is None:
        raise Misfit("This field is required.", "type")
    definition = maybe_object(raw, kind)
    if definition is None:
        raise Misfit("This field is required.", kind)
    try:
        tool = _function(definition) if kind == "function" else _custom(definition)
    except Misfit as misfit:
        raise misfit.inside(kind) from None
    tool.cache = read_cache(raw) or read_cache(definition)
    return tool


def _function(raw: Object) -> Tool:
    return Tool(
        "function",
        string(raw, "name"),
        maybe_string(raw, "description") or "",
        maybe_object(raw, "parameters"),
        maybe_bool(raw, "strict"),
    )


def _custom(raw: Object) -> Tool:
    form = maybe_object(raw, "format") or {}
    grammar = maybe_object(form, "grammar") if form.get("type") == "grammar" else None
    return Tool("custom", string(raw, "name"), maybe_string(raw, "description") or "", grammar=grammar)


def parse_choice(body: Object) -> ToolChoice | None:
    legacy = "tool_choice" not in body
    key = "function_call" if legacy else "tool_choice"
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return ToolChoice(one_of(body, key, ("auto", "none", "required")) or "auto")
    choice = as_object(value, key)
    try:
        if legacy:
            return ToolChoice("required", [string(choice, "name")])
        return _choice(choice)
    except Misfit as misfit:
        raise misfit.inside(key) from None


def _choice(choice: Object) -> ToolChoice:
    kind = one_of(choice, "type", ("function", "custom", "allowed_tools"))
    if kind is None:
        raise Misfit("This field is required.", "type")
    if kind != "allowed_tools":
        return ToolChoice("required", [string(maybe_object(choice, kind) or choice, "name")])
    allowed = maybe_object(choice, "allowed_tools") or choice
    names = [_allowed_name(as_object(raw)) for raw in maybe_list(allowed, "tools")]
    required = one_of(allowed, "mode", ("auto", "required")) == "required"
    return ToolChoice("required" if required else "auto", names)


def _allowed_name(raw: Object) -> str:
    inner: Any = raw.get(str(raw.get("type")))
    return as_string((inner if isinstance(inner, dict) else raw).get("name"), "name")


def render_tools(tools: list[Tool], names: ToolNames, profile: Profile, report: Report) -> list[Object]:
    if profile.max_tools is not None and len(tools) > profile.max_tools:
        raise Misfit(f"{profile.name} takes {profile.max_tools} tools at most, not {len(tools)}.", "tools")
    return [_rendered(tool, names, profile, report) for tool in tools]


def _rendered(tool: Tool, names: ToolNames, profile: Profile, report: Report) -> Object:
    if tool.kind == "web_search":
        raise Misfit(f"{profile.name} has no web search of its own for this model.", "tools")
    function: Object = {"name": names.wire(tool.name, tool.namespace)}
    if description := describe(tool):
        function["description"] = description
    if tool.kind == "custom":
        report.emulated("tools[] (custom)", "given as a function with one string; calls come back as custom ones")
        function["parameters"] = INPUT_SCHEMA
    else:
        function["parameters"] = tool.schema or {"type": "object", "properties": {}}
    if tool.strict:
        function["strict"] = True
    raw: Object = {"type": "function", "function": function}
    if tool.cache is not None and profile.cache_marks:
        raw["copilot_cache_control"] = {"type": "ephemeral"}
    return raw


def render_choice(request: Request, names: ToolNames, report: Report) -> str | Object | None:
    choice = request.choice
    if choice is None:
        return None
    if choice.mode == "required" and len(choice.names) == 1:
        return {"type": "function", "function": {"name": names.wire(choice.names[0])}}
    if choice.names:
        report.changed("tool_choice", "the choice can't be limited to some tools here")
    return choice.mode
