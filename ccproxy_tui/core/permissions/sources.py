"""What each source sends when a tool wants to run, and what it takes as an answer. Pure.

Shapes: observed with Claude Code 2.1 and Codex 0.169 (hooks), and Claude Code's `--permission-prompt-tool` (check).
"""

from __future__ import annotations

from typing import Any, Literal

from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.permissions.broker import Entry
from ccproxy_tui.core.permissions.request import PermissionRequest, Source
from ccproxy_tui.core.permissions.rules import BadRule, parse_rule
from ccproxy_tui.core.text.escape import cut

HookSource = Literal["claude-code", "codex"]

_TAKES_UPDATES = frozenset({"claude-code", "sdk", "mcp", "rest"})  # these change their own settings with an answer
_LONGEST = 4096  # characters of a name, a folder, a reason; the tool and its input alone are kept whole
_LONGEST_OFFER = 1000  # nobody reads a longer one
TAKES_NO_EDIT = frozenset({"codex", "opencode"})  # these run what they asked for, or nothing

BLOCKING = frozenset({"PermissionRequest", "PreToolUse"})  # the hooks that wait for an answer

# Input is any JSON: tools take numbers, lists and objects, and a narrower schema would refuse them unseen.
CHECK_TOOL: Object = {
    "name": "check_permission",
    "description": "Ask the user at the terminal whether a tool may run.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "tool_name": {"type": "string", "description": "The tool that wants to run."},
            "input": {"description": "What it would be run with: any JSON."},
            "tool_use_id": {"type": ["string", "null"], "description": "The id of the call."},
        },
        "required": ["tool_name"],
    },
}


def read_check(body: Object, source: Source, *, client: str = "") -> PermissionRequest:
    """`{"tool_name", "input", "tool_use_id"}` of a permission prompt tool or of a script. Raises Misfit."""
    tool = body.get("tool_name")
    if not isinstance(tool, str) or not tool.strip():
        raise Misfit("A permission request must name its tool.", "tool_name")
    return PermissionRequest(
        tool,
        body.get("input"),
        source,
        client=client or _text(body, "client"),
        session=_text(body, "session_id"),
        cwd=_text(body, "cwd"),
        model=_text(body, "model"),
        reason=_text(body, "reason"),
        tool_use=_text(body, "tool_use_id"),
    )


def check_answer(entry: Entry) -> Object:
    """What a permission prompt tool answers. `updatedInput` is mandatory on a yes."""
    decision = entry.decision
    if decision is not None and decision.allowed:
        given = decision.input if decision.input is not None else entry.request.input
        answer: Object = {"behavior": "allow", "updatedInput": given if given is not None else {}}
        return {**answer, "updatedPermissions": decision.updates} if decision.updates else answer
    answer = {"behavior": "deny", "message": denial_of(entry)}
    return {**answer, "interrupt": True} if decision is not None and decision.interrupt else answer


def denial_of(entry: Entry) -> str:
    """Why not, for the model to read."""
    if entry.decision is not None and entry.decision.message:
        return entry.decision.message
    return f"User denied the operation (status: {entry.status})"


def read_hook(body: Object, source: HookSource) -> PermissionRequest:
    """A blocking hook of a tool that runs in another pane. Raises Misfit."""
    tool = body.get("tool_name")
    if not isinstance(tool, str) or not tool.strip():
        raise Misfit("A hook must name its tool.", "tool_name")
    suggestions, mode = body.get("permission_suggestions"), _text(body, "permission_mode")
    return PermissionRequest(
        tool,
        body.get("tool_input"),
        source,
        client=source,
        session=_text(body, "session_id"),
        cwd=_text(body, "cwd"),
        model=_text(body, "model"),
        reason=f"permission mode {mode}" if mode not in ("", "default") else "",
        tool_use=_text(body, "tool_use_id"),
        suggestions=suggestions if isinstance(suggestions, list) else [],
    )


_PLACES = {
    "session": "in this session",
    "localSettings": "in this project (your settings of it)",
    "projectSettings": "in this project (the settings that its people share)",
    "userSettings": "everywhere (your user settings)",
}


_MODES = frozenset({"default", "acceptEdits", "plan"})  # the others ask for nothing any more


def offer_of(asked: PermissionRequest, *, high: bool) -> str:
    """What a tool would change in its own settings for not having to ask again, in words; empty: it offers nothing.

    The shapes are those of Claude Code's permission updates (https://code.claude.com/docs/en/hooks).
    """
    words = "; ".join(map(_offer, asked.suggestions)) if takes_updates(asked, asked.suggestions, high=high) else ""
    return words if len(words) <= _LONGEST_OFFER else ""


def takes_updates(asked: PermissionRequest, updates: list[Any], *, high: bool) -> bool:
    """Whether the tool that asks can take these changes of its settings with a yes, and a rule may say them.

    A `high` risk request changes none: no rule of ours would answer the next one like it.
    """
    return not high and asked.source in _TAKES_UPDATES and all(map(_offer, updates))


def _offer(update: Any) -> str:
    if not isinstance(update, dict):
        return ""
    where = _PLACES.get(_text(update, "destination"), "")
    match update.get("type"):
        case "addRules" if isinstance(update.get("rules"), list):
            rules = [_rule_words(rule) for rule in update["rules"]]
            behavior = _text(update, "behavior")
            what = f"{behavior} {', '.join(rules)}" if all(_may_offer(rule, behavior) for rule in rules) else ""
        case "setMode" if update.get("mode") in _MODES:
            what = f"permission mode {_text(update, 'mode')}"
        case "addDirectories" if isinstance(update.get("directories"), list):
            folders = update["directories"]
            what = f"work in {', '.join(folders)} too" if all(isinstance(one, str) for one in folders) else ""
        case _:
            what = ""
    return f"{what} {where}" if what and where else ""


def _may_offer(rule: str, behavior: str) -> bool:
    """What is never allowed by a rule of ours is not offered by another name, nor every command at once."""
    if rule == "Bash" and behavior != "deny":  # which to Claude Code means all of them
        return False
    try:
        parse_rule(rule, "deny" if behavior == "deny" else "allow")
    except BadRule:
        return False
    return True


def _rule_words(rule: Any) -> str:
    if not isinstance(rule, dict) or not _text(rule, "toolName"):
        return ""
    content = _text(rule, "ruleContent")
    return f"{rule['toolName']}({content})" if content else str(rule["toolName"])


def hook_answer(entry: Entry, source: HookSource, event: str) -> Object:
    """An answer to the hook; empty (no opinion) when nobody has decided: the tool then asks in its own terminal."""
    decision = entry.decision
    if decision is None or entry.status not in ("allowed", "denied"):
        return {}
    if event == "PreToolUse":
        return {"hookSpecificOutput": _before_use(entry)}
    told: Object = {"behavior": "allow" if decision.allowed else "deny"}
    if not decision.allowed:
        told["message"] = denial_of(entry)
    if source == "claude-code":  # Codex refuses a decision with more in it
        if decision.allowed and decision.input is not None:
            told["updatedInput"] = decision.input
        if decision.allowed and decision.updates:
            told["updatedPermissions"] = decision.updates
        if decision.interrupt:
            told["interrupt"] = True
    return {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": told}}


def read_opencode(body: Object) -> PermissionRequest:
    """An event `permission.asked` of opencode, with the folder. Raises Misfit."""
    tool = body.get("permission")
    if not isinstance(tool, str) or not tool.strip():
        raise Misfit("A question must name its permission.", "permission")
    metadata, patterns = body.get("metadata"), body.get("patterns")
    given: Object = dict(metadata) if isinstance(metadata, dict) else {}
    if isinstance(given.get("filepath"), str):
        given = {"file_path": given.pop("filepath"), **given}
    if not given and isinstance(patterns, list):
        given["patterns"] = patterns
    call = body.get("tool")
    return PermissionRequest(
        tool,
        given,
        "opencode",
        client="opencode",
        session=_text(body, "sessionID"),
        cwd=_text(body, "directory"),
        tool_use=_text(call, "callID") if isinstance(call, dict) else "",
    )


def opencode_answer(entry: Entry) -> Object:
    """What opencode takes as a reply; empty when nobody has decided: its own dialog goes on."""
    decision = entry.decision
    if decision is None or entry.status not in ("allowed", "denied"):
        return {}
    return {"reply": "once"} if decision.allowed else {"reply": "reject", "message": denial_of(entry)}


def _before_use(entry: Entry) -> Object:
    decision = entry.decision
    assert decision is not None
    answer: Object = {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow" if decision.allowed else "deny",
        "permissionDecisionReason": "Allowed by the user at ccproxy-tui" if decision.allowed else denial_of(entry),
    }
    return {**answer, "updatedInput": decision.input} if decision.allowed and decision.input is not None else answer


def _text(body: Object, name: str) -> str:
    value: Any = body.get(name)
    return cut(value, _LONGEST) if isinstance(value, str) else ""
