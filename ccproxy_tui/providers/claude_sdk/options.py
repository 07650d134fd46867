"""What a Claude Code is started with: the settings' options, which a request may narrow and never widen.

Pure, but for the folder that a request names, which is resolved.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ccproxy_tui.core.formats.misfit import Misfit, Object, maybe_int, maybe_string
from ccproxy_tui.core.settings.agents import Claude
from ccproxy_tui.core.settings.files import Refused, check_folder

# From the one that allows least to the one that allows most.
_MODES = ("plan", "dontAsk", "default", "auto", "acceptEdits", "bypassPermissions")
_DIGITS = 12  # more are no count of anything
PERMISSION_SERVER = "ccproxy"
_PROMPT, _SERVERS = "system-prompt.txt", "mcp.json"
STDIO = "stdio"  # the name by which Claude Code asks its host


@dataclass(frozen=True, slots=True)
class Options:
    """Agents with equal options can stand in for each other."""

    cwd: str
    sources: str = "user"  # of Claude Code's settings: `folder.setting_sources` says when there are more
    model: str = ""
    system: str = ""
    replaces_system: bool = False
    thinking: int | str = ""
    effort: str = ""
    permission_mode: str = ""
    allowed_tools: tuple[str, ...] = ()
    disallowed_tools: tuple[str, ...] = ()
    max_turns: int = 0
    mcp_servers: str = ""  # JSON
    permission_tool: str = ""
    environment: tuple[tuple[str, str], ...] = ()


def options_of(claude: Claude, home: Path, url: str) -> Options:
    """The settings' own. `url` is where this proxy is reached."""
    given = claude.code_options
    cwd = given.cwd.expanduser() if given.cwd is not None else home
    servers = dict(given.mcp_servers)
    tool = given.permission_prompt_tool_name or (STDIO if claude.builtin_permissions else "")
    if tool.startswith(f"mcp__{PERMISSION_SERVER}__"):
        servers.setdefault(PERMISSION_SERVER, {"type": "http", "url": f"{url}/mcp"})
    return Options(
        cwd=str(cwd),
        model=given.model,
        system=given.append_system_prompt,
        replaces_system=claude.sdk_system_prompt == "replace",
        thinking=given.max_thinking_tokens or "",
        permission_mode=given.permission_mode,
        allowed_tools=tuple(given.allowed_tools),
        disallowed_tools=tuple(given.disallowed_tools),
        max_turns=given.max_turns,
        mcp_servers=json.dumps({"mcpServers": servers}) if servers else "",
        permission_tool=tool,
        environment=tuple(sorted(given.env.items())),
    )


def narrowed(options: Options, wishes: Object, *, any_folder: bool = False) -> Options:
    """With what a request asks for. Raises Misfit where that would allow more than the settings do.

    `any_folder` lets it choose a folder below that of the settings.
    """
    fits: dict[str, Any] = {
        "cwd": _cwd(options, wishes, any_folder=any_folder),
        "permission_mode": _mode(options, wishes),
        "allowed_tools": _allowed(options, wishes),
        "disallowed_tools": (*options.disallowed_tools, *(_names(wishes, "disallowed_tools") or ())),
        "max_turns": _lower(wishes, "max_turns", options.max_turns),
    }
    thinking = options.thinking if isinstance(options.thinking, int) else 0
    if tokens := _lower(wishes, "max_thinking_tokens", thinking):
        fits["thinking"] = tokens
    if extra := maybe_string(wishes, "append_system_prompt"):
        fits["system"] = joined(options.system, extra)
    return replace(options, **fits)


def least_thinking(limit: int | str, wanted: int | str) -> int | str:
    """What a request asks for, as far as a budget of the settings allows it."""
    if not isinstance(limit, int) or wanted == "disabled":
        return wanted or limit
    return min(limit, wanted) if isinstance(wanted, int) else limit


def joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)


def _cwd(options: Options, wishes: Object, *, any_folder: bool) -> str:
    """The real folder: a link below that of the settings may lead out of it."""
    wanted = maybe_string(wishes, "cwd")
    if not wanted:
        return options.cwd
    if not any_folder:
        raise Misfit("Requests may not choose the folder of an agent (claude.request_cwd lets them).", "cwd")
    try:
        path = Path(os.path.realpath(Path(options.cwd) / wanted))
        if not path.is_relative_to(os.path.realpath(options.cwd)):
            raise Misfit(f"It must lie below {options.cwd}, the folder of the settings.", "cwd")
        if path.exists():
            check_folder(path)
    except Refused as problem:
        raise Misfit(f"It is not used: {problem}.", "cwd") from problem
    except (OSError, ValueError) as error:
        raise Misfit("It can't be used.", "cwd") from error
    return str(path)


def _mode(options: Options, wishes: Object) -> str:
    wanted = maybe_string(wishes, "permission_mode")
    if not wanted:
        return options.permission_mode
    if wanted not in _MODES:
        raise Misfit(f"Input should be one of {', '.join(_MODES)}.", "permission_mode")
    if _MODES.index(wanted) > _MODES.index(options.permission_mode or "default"):
        raise Misfit("It allows more than the settings do (claude.code_options.permission_mode).", "permission_mode")
    return wanted


def _allowed(options: Options, wishes: Object) -> tuple[str, ...]:
    wanted = _names(wishes, "allowed_tools")
    if wanted is None:
        return options.allowed_tools
    if more := [name for name in wanted if name not in options.allowed_tools]:
        raise Misfit(f"{more[0][:60]!r} is not allowed by the settings (claude.code_options).", "allowed_tools")
    return wanted


def _names(wishes: Object, key: str) -> tuple[str, ...] | None:
    """A list, or a text with commas; None when there is none."""
    value: Any = wishes.get(key)
    if value is None:
        return None
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        raise Misfit("Input should be a list of tools.", key)
    return tuple(stripped for name in names if (stripped := name.strip()))


def _lower(wishes: Object, key: str, limit: int) -> int:
    value = wishes.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        wishes = {key: int(value[:_DIGITS])}  # a header has only text
    wanted = maybe_int(wishes, key)
    if wanted is None:
        return limit
    if wanted < 1:
        raise Misfit("Input should be more than 0.", key)
    if limit and wanted > limit:
        raise Misfit(f"It is more than the settings allow ({limit}).", key)
    return wanted


def files(options: Options) -> dict[str, str]:
    """What goes in by files: a command line has a limit, and is there for every user of the machine to read."""
    return {name: text for name, text in ((_PROMPT, options.system), (_SERVERS, options.mcp_servers)) if text}


def arguments(options: Options, folder: Path) -> list[str]:
    """The command line, with `files` in that folder. Values are bound to their flag by `=`, so that none is a flag."""
    words = ["--output-format", "stream-json", "--input-format", "stream-json", "--verbose"]
    words += ["--include-partial-messages"]
    pairs = {
        "--model": options.model,
        "--system-prompt-file" if options.replaces_system else "--append-system-prompt-file": options.system
        and str(folder / _PROMPT),
        "--effort": options.effort,
        "--permission-mode": options.permission_mode,
        "--allowedTools": ",".join(options.allowed_tools),
        "--disallowedTools": ",".join(options.disallowed_tools),
        "--max-turns": str(options.max_turns or ""),
        "--mcp-config": options.mcp_servers and str(folder / _SERVERS),
        "--permission-prompt-tool": options.permission_tool,
        "--setting-sources": options.sources,
        "--max-thinking-tokens" if isinstance(options.thinking, int) else "--thinking": str(options.thinking),
    }
    return [*words, *(f"{flag}={value}" for flag, value in pairs.items() if value)]
