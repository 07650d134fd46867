"""Rules in Claude Code's own syntax: `Bash(git diff:*)`, `Edit(src/**)`, `mcp__server`, `WebFetch(domain:a.org)`. Pure.

Deny comes before ask, ask before allow. A command of several parts is allowed only when each part is; what can't be
read for certain, and programs that delete or run other text, are never allowed by a rule.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from ccproxy_tui.core.escape import has_hidden
from ccproxy_tui.core.permissions.request import PermissionRequest
from ccproxy_tui.core.permissions.risk import SHELLS, command_of, path_of
from ccproxy_tui.core.permissions.shell import split_command

Action = Literal["allow", "ask", "deny"]

_RULE = re.compile(r"([A-Za-z_][\w.-]*)(?:\((.+)\))?", re.DOTALL)
# Programs that delete, gain rights, run text or programs that the rule has not seen, or change what names stand for.
NEVER = frozenset(
    (
        *("rm", "rmdir", "unlink", "shred", "dd", "mkfs", "truncate", "tee", "find"),
        *("sudo", "doas", "su", "pkexec", "ssh", "chroot", "unshare", "nsenter"),
        *("env", "xargs", "nohup", "time", "nice", "ionice", "parallel", "watch", "script", "setsid", "stdbuf"),
        *("timeout", "flock", "strace", "ltrace", "gdb", "lldb", "expect", "busybox", "toybox"),
        *("at", "batch", "crontab"),
        *("sh", "bash", "zsh", "dash", "ash", "ksh", "csh", "tcsh", "fish", "pwsh", "eval", "exec", "source", "."),
        *("command", "builtin", "trap", "alias", "hash", "enable", "bind", "mapfile", "readarray", "fc"),
        *("export", "declare", "typeset", "local", "readonly", "set", "shopt", "setopt"),
        *("python", "pypy", "ipython", "node", "deno", "bun", "ruby", "irb", "perl", "php", "lua", "luajit", "tclsh"),
        *("awk", "gawk", "mawk", "nawk", "osascript", "npx", "bunx", "pnpx", "uvx", "pipx"),
        *("curl", "wget", "nc", "ncat", "netcat", "socat", "telnet"),
    )
)
_NAME = re.compile(r"[\w.+-]+")
_FILE_TOOLS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit", "Read"})
_EDITS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit"})


class BadRule(ValueError):
    """The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`project` and `session` narrow it; empty: everywhere."""

    tool: str
    spec: str
    action: Action
    project: str = ""
    session: str = ""

    @property
    def text(self) -> str:
        return f"{self.tool}({self.spec})" if self.spec else self.tool


def parse_rule(text: str, action: Action, *, project: str = "", session: str = "") -> Rule:
    """Raises BadRule."""
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise BadRule(f"{text[:80]!r} is no rule: Tool or Tool(what), such as Bash(git diff:*)")
    rule = Rule(match[1], match[2] or "", action, project, session)
    program = _words(rule.spec.removesuffix(":*"))[0]
    if action == "allow" and rule.tool == "Bash" and _is_never_allowed(program):
        raise BadRule(f"{program} is never allowed by a rule")
    return rule


def decide(rules: Iterable[Rule], request: PermissionRequest) -> Rule | None:
    """The rule that settles it; None when a person must be asked."""
    fitting = [rule for rule in rules if _applies(rule, request)]
    for action in ("deny", "ask"):
        for rule in fitting:
            if rule.action == action and _denies(rule, request):
                return rule if action == "deny" else None
    return _allowing([rule for rule in fitting if rule.action == "allow"], request)


def propose(request: PermissionRequest) -> list[str]:
    """One rule for each part of what is asked; none where a rule would say too much, or something that hides."""
    texts = _proposed(request)
    return texts if all(_RULE.fullmatch(text) and not has_hidden(text) for text in texts) else []


def _proposed(request: PermissionRequest) -> list[str]:
    command = command_of(request.tool, request.input)
    if command is not None:
        parts = split_command(command)
        if parts is None or any(_is_never_allowed(part[0]) or not _NAME.fullmatch(part[0]) for part in parts):
            return []
        return list(dict.fromkeys(f"Bash({' '.join(part[: _width(part)])}:*)" for part in parts))
    if request.tool == "WebFetch":
        host = _host(request.input)
        return [f"WebFetch(domain:{host})"] if host else []
    if request.tool in _FILE_TOOLS:
        path = path_of(request.input)
        inside = _relative(path, request.cwd)
        return [f"{request.tool}({posixpath.dirname(inside)}/**)"] if inside and "/" in inside else []
    return [request.tool] if request.tool.startswith("mcp__") else []


def _width(part: list[str]) -> int:
    """How many words name what is done: `git diff`, `npm run build`, `ls`."""
    words = 0
    for word in part[:3]:
        if words and (word.startswith("-") or not re.fullmatch(r"[a-z][a-z0-9:_-]*", word)):
            break
        words += 1
    return max(min(words, 2 if part[0] != "npm" else 3), 1)


def _applies(rule: Rule, request: PermissionRequest) -> bool:
    if rule.session and rule.session != request.session:
        return False
    if rule.project and not _is_below(request.cwd, rule.project):
        return False
    if rule.tool == request.tool or (rule.tool == "Edit" and request.tool in _EDITS):
        return True
    if rule.tool == "Bash":
        return request.tool in SHELLS
    return rule.tool.startswith("mcp__") and request.tool.startswith(f"{rule.tool}__")


def _denies(rule: Rule, request: PermissionRequest) -> bool:
    """One part that fits is enough to deny or to ask; so is a line that can't be read."""
    command = command_of(request.tool, request.input)
    if command is None or not rule.spec:
        return _fits(rule, request)
    parts = split_command(command)
    if parts is None:
        return rule.spec.removesuffix(":*").split(" ")[0] in command
    return any(_fits_words(rule.spec, part) for part in parts)


def _allowing(rules: list[Rule], request: PermissionRequest) -> Rule | None:
    if not rules:
        return None
    command = command_of(request.tool, request.input)
    if command is None:
        return next((rule for rule in rules if _fits(rule, request)), None)
    parts = split_command(command)
    if parts is None:
        return None
    found: Rule | None = None
    for part in parts:
        if _is_never_allowed(part[0]):
            return None
        found = next((rule for rule in rules if not rule.spec or _fits_words(rule.spec, part)), None)
        if found is None:
            return None
    return found


def _fits(rule: Rule, request: PermissionRequest) -> bool:
    if not rule.spec:
        return True
    if request.tool in _FILE_TOOLS:
        return _fits_path(rule.spec, path_of(request.input), request.cwd)
    if request.tool == "WebFetch" and rule.spec.startswith("domain:"):
        host, wanted = _host(request.input), rule.spec.removeprefix("domain:").lower()
        return bool(host) and (host == wanted or host.endswith(f".{wanted}"))
    return False


def _fits_words(spec: str, words: list[str]) -> bool:
    start = _words(spec.removesuffix(":*"))
    return words[: len(start)] == start if spec.endswith(":*") else words == start


def _words(spec: str) -> list[str]:
    parts = split_command(spec)
    return parts[0] if parts is not None and len(parts) == 1 else spec.split(" ")


def _is_never_allowed(program: str) -> bool:
    """By its name in lower case and without a version: some file systems know no case, and python3.13 is python."""
    name = program.lower()
    return "/" in name or name in NEVER or name.rstrip("0123456789.-") in NEVER


def _fits_path(spec: str, path: str, cwd: str) -> bool:
    """`//` starts at the root, everything else in the working folder. `*` stays in a folder, `**` does not."""
    absolute = spec.startswith("//")
    inside = posixpath.normpath(path) if absolute else _relative(path, cwd)
    if not inside:
        return False
    pattern = re.escape(spec.removeprefix("/") if absolute else spec.removeprefix("./"))
    pattern = pattern.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(pattern, inside) is not None


def _relative(path: str, cwd: str) -> str:
    """A path as seen from the working folder; nothing when it lies outside, or that can't be told."""
    if not path or path.startswith("~"):
        return ""
    whole = posixpath.normpath(path if path.startswith("/") else posixpath.join(cwd or "/", path))
    base = posixpath.normpath(cwd) if cwd else ""
    return whole[len(base) + 1 :] if base and _is_below(whole, base) and whole != base else ""


def _is_below(path: str, folder: str) -> bool:
    whole, base = posixpath.normpath(path or "/"), posixpath.normpath(folder)
    return whole == base or whole.startswith(f"{base.rstrip('/')}/")


def _host(given: Any) -> str:
    value = given.get("url") if isinstance(given, dict) else None
    try:
        return (urlsplit(value).hostname or "").lower() if isinstance(value, str) else ""
    except ValueError:
        return ""
