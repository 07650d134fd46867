"""Tools and tool choice of a Messages request, in both directions."""

from __future__ import annotations

from typing import Any

from ccproxy_tui.core.formats.cache import read_cache
from ccproxy_tui.core.formats.json_schema import object_schema
from ccproxy_tui.core.formats.misfit import (
    Misfit,
    Object,
    as_object,
    maybe_bool,
    maybe_int,
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

_HINTS = ("input_examples", "defer_loading", "eager_input_streaming", "allowed_callers")

_PATH = {"type": "string"}
_COMMAND = {"type": "string"}
# Tools that Anthropic defines and the client runs: any model can call them once it has the schema.
# https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview
_CLIENT_TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "bash_": (
        "Run a command in a persistent bash session, or restart the session.",
        {"type": "object", "properties": {"command": _COMMAND, "restart": {"type": "boolean"}}},
    ),
    "text_editor_": (
        "View, create and edit text files.",
        {
            "type": "object",
            "properties": {
                "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert", "undo_edit"]},
                "path": _PATH,
                "file_text": {"type": "string"},
                "old_str": {"type": "string"},
                "new_str": {"type": "string"},
                "insert_line": {"type": "integer"},
                "insert_text": {"type": "string"},
                "view_range": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["command", "path"],
        },
    ),
    "memory_": (
        "Store and read notes in files under /memories.",
        {
            "type": "object",
            "properties": {
                "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert", "delete", "rename"]},
                "path": _PATH,
                "file_text": {"type": "string"},
                "old_str": {"type": "string"},
                "new_str": {"type": "string"},
                "old_path": _PATH,
                "new_path": _PATH,
                "insert_line": {"type": "integer"},
                "insert_text": {"type": "string"},
                "view_range": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["command"],
        },
    ),
}


def parse_tools(body: Object, report: Report) -> list[Tool]:
    tools: list[Tool] = []
    for place, raw in enumerate(maybe_list(body, "tools")):
        try:
            tool = _tool(as_object(raw), report)
        except Misfit as misfit:
            raise misfit.inside("tools", place) from None
        if tool is not None:
            tools.append(tool)
    return tools


def _tool(raw: Object, report: Report) -> Tool | None:
    kind = maybe_string(raw, "type")
    for hint in _HINTS:
        if raw.get(hint) not in (None, False, []):
            report.dropped(f"tools[].{hint}", "only Anthropic's API knows it")
    if kind in (None, "custom"):
        schema = maybe_object(raw, "input_schema")
        if schema is None:
            raise Misfit("This field is required.", "input_schema")
        return Tool(
            "function",
            string(raw, "name"),
            maybe_string(raw, "description") or "",
            schema,
            maybe_bool(raw, "strict"),
            cache=read_cache(raw),
        )
    return _typed_tool(str(kind), raw, report)


def _typed_tool(kind: str, raw: Object, report: Report) -> Tool | None:
    if kind.startswith("web_search_"):
        return Tool("web_search", string(raw, "name"), search=_search(raw))
    if kind.startswith("tool_search_tool"):
        report.emulated("tools[] (tool search)", "all tools are given at once instead")
        return None
    for start, (description, schema) in _CLIENT_TOOLS.items():
        if kind.startswith(start):
            report.emulated(f"tools[] ({kind})", "given as a function with the tool's schema")
            return Tool("function", string(raw, "name"), description, schema, cache=read_cache(raw))
    raise Misfit(f"The tool {kind[:60]!r} runs at Anthropic; this provider has no counterpart.", "type")


def _search(raw: Object) -> Search:
    return Search(
        maybe_strings(raw, "allowed_domains"),
        maybe_strings(raw, "blocked_domains"),
        maybe_int(raw, "max_uses"),
        maybe_object(raw, "user_location"),
    )


def parse_choice(body: Object) -> tuple[ToolChoice | None, bool | None]:
    """The tool choice, and whether parallel calls are allowed (None: not said)."""
    choice = maybe_object(body, "tool_choice")
    if choice is None:
        return None, None
    try:
        disabled = maybe_bool(choice, "disable_parallel_tool_use")
        kind = one_of(choice, "type", ("auto", "any", "tool", "none"))
        names = [string(choice, "name")] if kind == "tool" else []
    except Misfit as misfit:
        raise misfit.inside("tool_choice") from None
    parallel = None if disabled is None else not disabled
    match kind:
        case "any" | "tool":
            return ToolChoice("required", names), parallel
        case "none":
            return ToolChoice("none"), parallel
        case _:
            return ToolChoice("auto"), parallel


def render_tools(tools: list[Tool], names: ToolNames, profile: Profile, report: Report) -> list[Object]:
    return [_rendered(tool, names, profile, report) for tool in tools]


def _rendered(tool: Tool, names: ToolNames, profile: Profile, report: Report) -> Object:
    if tool.kind == "web_search":
        return _web_search(tool, profile, report)
    name = names.wire(tool.name, tool.namespace)
    raw: Object = {"name": name}
    if description := describe(tool):
        raw["description"] = description
    if tool.kind == "custom":
        report.emulated("tools[] (custom)", "given as a function with one string; calls come back as custom ones")
        raw["input_schema"] = INPUT_SCHEMA
    else:
        raw["input_schema"] = object_schema(tool.schema, report)
    if tool.strict:
        raw["strict"] = True
    if tool.cache is not None:
        raw["cache_control"] = {"type": "ephemeral"}
    return raw


def _web_search(tool: Tool, profile: Profile, report: Report) -> Object:
    """The newest version that the model knows; those of 2026 came with the adaptive models."""
    version = "web_search_20260318" if profile.thinking == "adaptive" else "web_search_20250305"
    raw: Object = {"type": version, "name": "web_search"}
    search = tool.search
    if search is None:
        return raw
    for field, domains in (("allowed_domains", search.allowed_domains), ("blocked_domains", search.blocked_domains)):
        if domains:
            raw[field] = domains
    if search.max_uses is not None:
        raw["max_uses"] = search.max_uses
    if search.location is not None:
        raw["user_location"] = {"type": "approximate", **search.location}
    if search.context_size:
        report.dropped("search_context_size", "Claude's web search has no such setting", search.context_size)
    return raw


def render_choice(request: Request, names: ToolNames, report: Report) -> Object | None:
    """The tool choice, when something other than the default is asked."""
    choice = request.choice
    raw: Object | None = None
    if choice is not None:
        raw = _choice(choice, names, report)
    if request.parallel is False and (raw is None or raw["type"] != "none"):
        raw = {**(raw or {"type": "auto"}), "disable_parallel_tool_use": True}
    return raw


def _choice(choice: ToolChoice, names: ToolNames, report: Report) -> Object:
    if choice.mode == "none":
        return {"type": "none"}
    if choice.mode == "required" and len(choice.names) == 1:
        return {"type": "tool", "name": names.wire(choice.names[0])}
    if choice.names:
        report.changed("tool_choice", "Claude can't be limited to some of its tools; it may use them all")
    return {"type": "any" if choice.mode == "required" else "auto"}
