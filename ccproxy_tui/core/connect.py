"""The configuration files of coding tools: pointed at this proxy, and back. Pure; who reads and writes is the command.

What is there stays. Undoing gives back the very bytes when nobody has changed the file since; else only what is ours
goes.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tomlkit

from ccproxy_tui.core.limits import HOOK_SECONDS
from ccproxy_tui.core.opencode_plugin import PLUGIN

Document = dict[str, Any]

NO_KEY = "any-word"  # for tools that want a key where the proxy wants none
TOKEN_VARIABLE = "CCPROXY_TOKEN"
_EVENT = "PermissionRequest"
# After these, a question of that session has been answered in its own terminal (Claude keeps the hook's request open).
_AFTER = ("PostToolUse", "Stop", "UserPromptSubmit", "SessionEnd")
_AFTER_SECONDS = 5
_PROVIDER = "ccproxy"
_PLUGIN_MARK = "ccproxy-tui connect opencode"


class CantConnect(Exception):
    """The file is not what its tool would write. The message says why."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What a tool must know of the proxy: its address, whether it wants the token of a variable or of a file, how a
    hook runs (a command for a shell, before the tool's name), and the file of the key that its answers are proved with.
    """

    url: str
    token: bool = False
    token_file: str = ""
    hook: str = "ccproxy-tui hook"
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A file of a tool: its text with us in it, and without."""

    path: str  # below the user's home
    add: Callable[[str, Proxy], str]
    remove: Callable[[str, Proxy], str | None]  # None: the file has nothing else in it


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


def _claude_hook(proxy: Proxy, event: str) -> Document:
    """A command, which takes a proven answer alone; an `http` hook takes one of whoever listens on the port."""
    hook: Document = {"type": "command", "command": f"{proxy.hook} claude-code"}
    # Nothing waits for the events after it (https://code.claude.com/docs/en/hooks).
    more = {"timeout": HOOK_SECONDS} if event == _EVENT else {"timeout": _AFTER_SECONDS, "async": True}
    return {"matcher": "*", "hooks": [hook | more]}


def add_to_claude(text: str, proxy: Proxy) -> str:
    document = _without_claude(_json(text))
    _table(document, "env")["ANTHROPIC_BASE_URL"] = f"{proxy.url}/api"
    if proxy.token_file:
        if "apiKeyHelper" in document:
            raise CantConnect("it has an apiKeyHelper, whose key this proxy would not take")
        document["apiKeyHelper"] = f"cat {shlex.quote(proxy.token_file)}"
    for event in (_EVENT, *_AFTER):
        groups = _table(document, "hooks").setdefault(event, [])
        if not isinstance(groups, list):
            raise CantConnect(f"its hooks.{event} is no list")
        groups.append(_claude_hook(proxy, event))
    return _text(document)


def remove_from_claude(text: str, proxy: Proxy) -> str:
    return _text(_without_claude(_json(text)))


def _without_claude(document: Document) -> Document:
    document = copy.deepcopy(document)
    env = document.get("env")
    if isinstance(env, dict) and _is_ours(env.get("ANTHROPIC_BASE_URL"), "/api"):
        del env["ANTHROPIC_BASE_URL"]
        _drop_if_empty(document, "env")
    if re.fullmatch(r"cat .*/ccproxy/client-token'?", str(document.get("apiKeyHelper"))):
        del document["apiKeyHelper"]
    _drop_hooks(document, "claude-code")
    return document


def _is_ours(address: Any, path: str) -> bool:
    """Whether it is one that `connect` writes, on whatever port the proxy was then."""
    return isinstance(address, str) and re.fullmatch(rf"http://127\.0\.0\.1:\d+{re.escape(path)}", address) is not None


def _drop_hooks(document: Document, tool: str) -> None:
    """Take our hooks out, those of earlier versions as well; hooks of others in the same group stay."""
    hooks = document.get("hooks")
    if not isinstance(hooks, dict):
        return
    for event in (_EVENT, *_AFTER):
        groups = hooks.get(event)
        if not isinstance(groups, list) or not any(_our_hooks(group, tool) for group in groups):
            continue
        hooks[event] = [left for group in groups if (left := _without_hooks(group, tool)) is not None]
        _drop_if_empty(hooks, event)
    _drop_if_empty(document, "hooks")


def _our_hooks(group: Any, tool: str) -> list[Any]:
    hooks = group.get("hooks") if isinstance(group, dict) else None
    return [hook for hook in hooks if _is_our_hook(hook, tool)] if isinstance(hooks, list) else []


def _is_our_hook(hook: Any, tool: str) -> bool:
    if not isinstance(hook, dict):
        return False
    command, url = str(hook.get("command") or ""), str(hook.get("url") or "")
    ours = re.search(r"ccproxy[-_]tui\b", command) is not None and command.endswith(f" hook {tool}")
    return ours or url.endswith(f"/hooks/{tool}")


def _without_hooks(group: Any, tool: str) -> Any:
    """The group without our hooks; None when nothing is left of it."""
    ours = _our_hooks(group, tool)
    if not ours:
        return group
    left = [hook for hook in group["hooks"] if hook not in ours]
    return {**group, "hooks": left} if left else None


def _drop_if_empty(document: Document, name: str) -> None:
    if not document[name]:
        del document[name]


# --- Codex ---


def add_to_codex(text: str, proxy: Proxy) -> str:
    document = _toml(text)
    document["model_provider"] = _PROVIDER
    providers = document.setdefault("model_providers", tomlkit.table(is_super_table=True))
    table = tomlkit.table()
    table["name"] = _PROVIDER
    table["base_url"] = f"{proxy.url}/codex"
    table["wire_api"] = "responses"
    table["supports_websockets"] = True
    if proxy.token_file:
        table["auth"] = {"command": "cat", "args": [proxy.token_file]}
    elif proxy.token:
        table["env_key"] = TOKEN_VARIABLE
    providers[_PROVIDER] = table
    return tomlkit.dumps(document)


def remove_from_codex(text: str, proxy: Proxy) -> str:
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


def add_codex_hook(text: str, proxy: Proxy) -> str:
    """Codex runs commands alone; ours hands the permission request to the running proxy."""
    document = _json(text)
    _drop_hooks(document, "codex")
    hook = {"type": "command", "command": f"{proxy.hook} codex", "timeout": HOOK_SECONDS}
    groups = _table(document, "hooks").setdefault(_EVENT, [])
    if not isinstance(groups, list):
        raise CantConnect(f"its hooks.{_EVENT} is no list")
    groups.append({"matcher": "*", "hooks": [hook]})
    return _text(document)


def remove_codex_hook(text: str, proxy: Proxy) -> str:
    document = _json(text)
    _drop_hooks(document, "codex")
    return _text(document)


# --- opencode ---

_OPENCODE = (("anthropic", "/api/v1"), ("openai", "/codex/v1"))


def add_to_opencode(text: str, proxy: Proxy) -> str:
    document = _json(text)
    key = f"{{env:{TOKEN_VARIABLE}}}" if proxy.token else NO_KEY
    if proxy.token_file:
        key = f"{{file:{proxy.token_file}}}"
    for vendor, path in _OPENCODE:
        options = _table(_table(_table(document, "provider"), vendor), "options")
        options["baseURL"] = f"{proxy.url}{path}"
        options["apiKey"] = key
    return _text(document)


def remove_from_opencode(text: str, proxy: Proxy) -> str:
    document = _json(text)
    providers = document.get("provider")
    if not isinstance(providers, dict):
        return _text(document)
    for vendor, place in _OPENCODE:
        provider = providers.get(vendor)
        options = provider.get("options") if isinstance(provider, dict) else None
        if isinstance(provider, dict) and isinstance(options, dict) and _is_ours(options.get("baseURL"), place):
            options.pop("baseURL")
            options.pop("apiKey", None)
            _drop_if_empty(provider, "options")
            _drop_if_empty(providers, vendor)
    _drop_if_empty(document, "provider")
    return _text(document)


def add_opencode_plugin(text: str, proxy: Proxy) -> str:
    """The file is ours alone; it reads the token, and the key from its file, when it asks."""
    if text and _PLUGIN_MARK not in text:
        raise CantConnect("it is a plugin of another program's")
    known = {"@URL@": proxy.url, "@KEY@": proxy.key_file, "@TOKEN@": proxy.token_file}
    return re.sub("@[A-Z]+@", lambda mark: json.dumps(known[mark[0]]), PLUGIN)


def remove_opencode_plugin(text: str, proxy: Proxy) -> str | None:
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
