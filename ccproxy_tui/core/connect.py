"""The configuration files of coding tools: pointed at this proxy, and back. Pure; who reads and writes is the command.

What is there stays. Undoing gives back the very bytes when nobody has changed the file since; else only what is ours
goes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tomlkit

from ccproxy_tui.core.opencode_plugin import PLUGIN

Document = dict[str, Any]

TOKEN_VARIABLE = "CCPROXY_TOKEN"
HOOK_SECONDS = 600
_EVENT = "PermissionRequest"
# After these, a question of that session has been answered in its own terminal (Claude keeps the hook's request open).
_AFTER = ("PostToolUse", "Stop", "UserPromptSubmit", "SessionEnd")
_AFTER_SECONDS = 5
_PROVIDER = "ccproxy"
_PLUGIN_MARK = "ccproxy-tui connect opencode"


class CantConnect(Exception):
    """The file is not what its tool would write. The message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A file of a tool: its text with us in it, and without."""

    path: str  # below the person's home
    add: Callable[[str, str, bool], str]  # text, the proxy's address, whether it wants a token
    remove: Callable[[str, str], str | None]  # None: the file has nothing else in it


def _json(text: str) -> Document:
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise CantConnect(f"it is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise CantConnect("it holds no JSON object")
    return document


def _text(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _table(document: Document, name: str) -> Document:
    found = document.setdefault(name, {})
    if not isinstance(found, dict):
        raise CantConnect(f"its {name} is no object")
    return found


# --- Claude Code ---


def _claude_hook(url: str, event: str, *, token: bool) -> Document:
    seconds = HOOK_SECONDS if event == _EVENT else _AFTER_SECONDS
    hook: Document = {"type": "http", "url": f"{url}/hooks/claude-code", "timeout": seconds}
    if token:
        hook |= {"headers": {"Authorization": f"Bearer ${TOKEN_VARIABLE}"}, "allowedEnvVars": [TOKEN_VARIABLE]}
    return {"matcher": "*", "hooks": [hook]}


def add_to_claude(text: str, url: str, token: bool) -> str:
    document = _without_claude(_json(text), url)
    _table(document, "env")["ANTHROPIC_BASE_URL"] = f"{url}/api"
    for event in (_EVENT, *_AFTER):
        groups = _table(document, "hooks").setdefault(event, [])
        if not isinstance(groups, list):
            raise CantConnect(f"its hooks.{event} is no list")
        groups.append(_claude_hook(url, event, token=token))
    return _text(document)


def remove_from_claude(text: str, url: str) -> str:
    return _text(_without_claude(_json(text), url))


def _without_claude(document: Document, url: str) -> Document:
    document = copy.deepcopy(document)
    env = document.get("env")
    if isinstance(env, dict) and env.get("ANTHROPIC_BASE_URL") == f"{url}/api":
        del env["ANTHROPIC_BASE_URL"]
        _drop_if_empty(document, "env")
    _drop_hooks(document, "/hooks/claude-code")
    return document


def _drop_hooks(document: Document, mark: str) -> None:
    hooks = document.get("hooks")
    if not isinstance(hooks, dict):
        return
    for event in (_EVENT, *_AFTER):
        groups = hooks.get(event)
        if isinstance(groups, list) and any(mark in json.dumps(group) for group in groups):
            hooks[event] = [group for group in groups if mark not in json.dumps(group)]
            _drop_if_empty(hooks, event)
    _drop_if_empty(document, "hooks")


def _drop_if_empty(document: Document, name: str) -> None:
    if not document[name]:
        del document[name]


# --- Codex ---


def add_to_codex(text: str, url: str, token: bool) -> str:
    document = _toml(text)
    document["model_provider"] = _PROVIDER
    providers = document.setdefault("model_providers", tomlkit.table(is_super_table=True))
    table = tomlkit.table()
    table["name"] = _PROVIDER
    table["base_url"] = f"{url}/codex"
    table["wire_api"] = "responses"
    table["supports_websockets"] = True
    if token:
        table["env_key"] = TOKEN_VARIABLE
    providers[_PROVIDER] = table
    return tomlkit.dumps(document)


def remove_from_codex(text: str, url: str) -> str:
    document = _toml(text)
    if document.get("model_provider") == _PROVIDER:
        del document["model_provider"]
    providers = document.get("model_providers")
    if isinstance(providers, dict) and _PROVIDER in providers:
        del providers[_PROVIDER]
        if not providers:
            del document["model_providers"]
    return tomlkit.dumps(document)


def _toml(text: str) -> Any:
    try:
        return tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as error:
        raise CantConnect(f"it is not valid TOML: {error}") from error


def add_codex_hook(text: str, url: str, token: bool) -> str:
    """Codex runs commands alone; ours hands the question to the running proxy."""
    document = _json(text)
    _drop_hooks(document, "ccproxy-tui hook codex")
    hook = {"type": "command", "command": "ccproxy-tui hook codex", "timeout": HOOK_SECONDS}
    groups = _table(document, "hooks").setdefault(_EVENT, [])
    if not isinstance(groups, list):
        raise CantConnect(f"its hooks.{_EVENT} is no list")
    groups.append({"matcher": "*", "hooks": [hook]})
    return _text(document)


def remove_codex_hook(text: str, url: str) -> str:
    document = _json(text)
    _drop_hooks(document, "ccproxy-tui hook codex")
    return _text(document)


# --- opencode ---


def add_to_opencode(text: str, url: str, token: bool) -> str:
    document = _json(text)
    for vendor, path in (("anthropic", "/api/v1"), ("openai", "/codex/v1")):
        options = _table(_table(_table(document, "provider"), vendor), "options")
        options["baseURL"] = f"{url}{path}"
        options["apiKey"] = f"{{env:{TOKEN_VARIABLE}}}" if token else "any-word"
    return _text(document)


def remove_from_opencode(text: str, url: str) -> str:
    document = _json(text)
    providers = document.get("provider")
    if not isinstance(providers, dict):
        return _text(document)
    for vendor in ("anthropic", "openai"):
        provider = providers.get(vendor)
        options = provider.get("options") if isinstance(provider, dict) else None
        if isinstance(provider, dict) and isinstance(options, dict) and str(options.get("baseURL")).startswith(url):
            options.pop("baseURL")
            options.pop("apiKey", None)
            _drop_if_empty(provider, "options")
            _drop_if_empty(providers, vendor)
    _drop_if_empty(document, "provider")
    return _text(document)


def add_opencode_plugin(text: str, url: str, token: bool) -> str:
    """The file is ours alone; it reads the token from the variable when it asks."""
    if text and _PLUGIN_MARK not in text:
        raise CantConnect("it is a plugin of somebody else's")
    return PLUGIN.replace("@URL@", url)


def remove_opencode_plugin(text: str, url: str) -> str | None:
    return None if _PLUGIN_MARK in text else text


TARGETS: dict[str, tuple[Target, ...]] = {
    "claude-code": (Target(".claude/settings.json", add_to_claude, remove_from_claude),),
    "codex": (
        Target(".codex/config.toml", add_to_codex, remove_from_codex),
        Target(".codex/hooks.json", add_codex_hook, remove_codex_hook),
    ),
    "opencode": (
        Target(".config/opencode/opencode.json", add_to_opencode, remove_from_opencode),
        Target(".config/opencode/plugin/ccproxy.js", add_opencode_plugin, remove_opencode_plugin),
    ),
}
FOLDERS = {".claude": "CLAUDE_CONFIG_DIR", ".codex": "CODEX_HOME"}  # variables that move a tool's folder
