"""Rules in Claude Code's own syntax: `Bash(git diff:*)`, `Edit(src/**)`, `mcp__server`, `WebFetch(domain:a.org)`.

Deny comes before ask, ask before allow. An allow rule never answers a high-risk request, nor one that can't be read for
certain, and it never covers more than its user could foresee:

- `Bash(npm run build)` covers that command alone, `Bash(cd sub && make)` that line alone.
- `Bash(git diff:*)` covers further words only as far as the tables of `programs` know them to be harmless, and
  `Bash` all that the tables know. A command of several parts is allowed only when each part is.
- `Edit(src/**)` covers a file by where it really is: one that a link leads to is not in `src`. The file may be replaced
  by a link after it was looked at; only the tool that opens it could prevent that.
- `WebFetch(domain:a.org)` covers the host that the client will connect to.
- `mcp__server__tool` covers the tool with any input but paths outside the working folder, files that run later
  (`runs_later`) and addresses that can't be read. No `*` of a file rule covers files that run later either.

Deny and ask rules are read the other way round: what may be meant is enough. Links are followed on the disk, so
`decide` and `propose` are for a thread.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from ccproxy_tui.core.permissions.mentions import may_run
from ccproxy_tui.core.permissions.paths import Place, absolute, is_below, is_in_bare_repository, resolve
from ccproxy_tui.core.permissions.programs import NEVER as NEVER
from ccproxy_tui.core.permissions.programs import bounded, is_bounded, is_harmful, is_never
from ccproxy_tui.core.permissions.request import PermissionRequest
from ccproxy_tui.core.permissions.risk import SHELLS, command_of, level_of, risk_notes, written_paths
from ccproxy_tui.core.permissions.runs_later import runs_later
from ccproxy_tui.core.permissions.shell import split_command
from ccproxy_tui.core.permissions.urls import read_url
from ccproxy_tui.core.text.escape import has_hidden

Action = Literal["allow", "ask", "deny"]

_RULE = re.compile(r"([A-Za-z_][\w.-]*)(?:\((.+)\))?", re.DOTALL)
_NAME = re.compile(r"[\w.+-]+")
_ALL = frozenset({"*", "**", ":*"})  # of every command
_EDITS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit"})
_FILE_TOOLS = _EDITS | {"Read"}
_PATHS = ("file_path", "path", "notebook_path")
# What a shell tool may be given beside its line; anything else could change what the line does.
_BESIDE = frozenset(
    (
        *("command", "cmd", "script", "description", "timeout", "timeout_ms", "run_in_background", "justification"),
        *("yield_time_ms", "max_output_tokens"),
    )
)
_FOLDERS = ("workdir", "cwd")
_LONGEST = 1000  # characters of a rule that is proposed
_MOST_PARTS = 50  # of a line that a rule allows
_MOST_TEXTS = 200  # of an input that a rule covers
_OPTION = re.compile(r"-[A-Za-z-]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]")


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
    if action != "allow" or rule.tool != "Bash":
        return rule
    if rule.spec in _ALL:
        raise BadRule(f"{rule.text} names no command: Bash alone covers those that are known to be harmless")
    for words in split_command(rule.spec.removesuffix(":*")) or [rule.spec.removesuffix(":*").split(" ")]:
        if is_never(words[0]):
            raise BadRule(f"{words[0]} is never allowed by a rule")
    return rule


def decide(rules: Iterable[Rule], request: PermissionRequest, *, high: bool | None = None) -> Rule | None:
    """Return the rule that settles a request, None when the user must.

    `high`: whether the request is high risk, which no allow rule answers; None: as its own notes tell.
    """
    given = list(rules)
    here = _Here.of(request.cwd)
    for action in ("deny", "ask"):
        for rule in given:
            if rule.action == action and _denies(rule, request, here):
                return rule if action == "deny" else None
    allows = [rule for rule in given if rule.action == "allow" and _applies(rule, request, here)]
    if not allows:
        return None
    if high is None:
        high = level_of(risk_notes(request.tool, request.input, request.cwd)) == "HIGH"
    return None if high else _allowing(allows, request, here)


def propose(request: PermissionRequest) -> list[str]:
    """Return rules that would allow a request, empty where none may.

    One for each part of a command whose further words may differ; else the exact command.
    """
    texts = _proposed(request)
    try:
        rules = [parse_rule(text, "allow") for text in texts]
    except BadRule:
        return []
    hidden = any(has_hidden(text) or "\n" in text or len(text) > _LONGEST for text in texts)
    return [] if hidden or decide(rules, request, high=False) is None else texts


def _proposed(request: PermissionRequest) -> list[str]:
    if request.tool in SHELLS:
        return _proposed_for(command_of(request.tool, request.input) or "", _Here.of(request.cwd))
    if request.tool == "WebFetch":
        host = read_url(_text(request.input, "url")).host
        return [f"WebFetch(domain:{host})"] if host else []
    if request.tool in _FILE_TOOLS:
        inside = _Here.of(request.cwd).inside(_path_of(request.input))
        folder = posixpath.dirname(inside)
        return [f"{request.tool}({folder}/**)"] if folder and "*" not in folder else []
    return [request.tool] if request.tool.startswith("mcp__") else []


def _proposed_for(command: str, here: _Here) -> list[str]:
    parts = split_command(command)
    if parts is None or len(parts) > _MOST_PARTS or not all(_NAME.fullmatch(part[0]) for part in parts):
        return []
    texts = []
    place: _Here | None = here
    for part in parts:
        entry = bounded(part)
        known = place is not None and is_bounded(part, place.holds, moved=place.moved)
        if entry is None or not entry.proposed or place is None or not known:
            return [f"Bash({command.strip()})"]
        size = next(size for size in range(1, len(part) + 1) if bounded(part[:size]) == entry)
        texts.append(f"Bash({' '.join(part[:size])}:*)")
        place = place.after(part)
    return list(dict.fromkeys(texts))


# --- allow ---


@dataclass(frozen=True, slots=True)
class _Here:
    """The working folder of a request, `top` without links, and the folder that its line has moved to from there."""

    top: Place
    base: str
    moved: bool = False

    @classmethod
    def of(cls, cwd: str) -> _Here:
        return cls(_resolved(cwd, "/") if cwd.startswith("/") else Place("", problem="it is not known"), cwd)

    def holds(self, path: str) -> bool:
        """Whether a path is certain to lead to something in the working folder."""
        if not self.base:  # the folder is not known
            return bool(path) and not path.startswith(("/", "~")) and ".." not in path.split("/")
        return not self.top.problem and _resolved(path, self.base).is_in(self.top.path)

    def inside(self, path: str) -> str:
        """Return a path as seen from the working folder, its links followed; empty where it leads elsewhere."""
        place = _resolved(path, self.base)
        if self.top.problem or not place.is_in(self.top.path) or place.path == self.top.path:
            return ""
        return place.path.removeprefix(self.top.path).lstrip("/")

    def after(self, words: Sequence[str]) -> _Here | None:
        """Return where the commands behind this one work, None where that is not known."""
        if words[0] not in ("cd", "pushd", "popd"):
            return self
        if words[0] != "cd" or len(words) != 2 or not self.holds(words[1]):
            return None
        base = _resolved(words[1], self.base).path
        return replace(self, base=base, moved=base != self.top.path or not base)


def _resolved(path: str, cwd: str) -> Place:
    return resolve(path, cwd, _home())


def _home() -> str:
    return posixpath.expanduser("~")


def _applies(rule: Rule, request: PermissionRequest, here: _Here) -> bool:
    if rule.session and rule.session != request.session:
        return False
    if rule.project and not (is_below(request.cwd, rule.project) and here.top.is_in(_resolved(rule.project, "/").path)):
        return False
    if rule.tool == "Bash":
        return request.tool in SHELLS
    if rule.tool == request.tool or (rule.tool == "Edit" and request.tool in _EDITS):
        return True
    # A whole server. Its tools are `mcp__server__tool`; with one more `__` it may be another server's.
    parts = request.tool.split("__")
    return parts[0] == "mcp" and len(parts) == 3 and rule.tool == f"mcp__{parts[1]}"


def _allowing(rules: Sequence[Rule], request: PermissionRequest, here: _Here) -> Rule | None:
    command = command_of(request.tool, request.input)
    if command is None and request.tool in SHELLS:
        return None
    if command is not None:
        return _allowing_line(rules, command, here) if _is_plain_call(request, here) else None
    return next((rule for rule in rules if _allows(rule, request, here)), None)


def _is_plain_call(request: PermissionRequest, here: _Here) -> bool:
    """Whether a tool that runs a line is given nothing that would change what it does."""
    if request.tool not in SHELLS:
        return True
    beside = {name: value for name, value in request.input.items() if name not in _BESIDE and value}
    folders = [beside.pop(name) for name in _FOLDERS if name in beside]
    return not beside and all(isinstance(one, str) and _resolved(one, here.base) == here.top for one in folders)


def _allowing_line(rules: Sequence[Rule], command: str, here: _Here) -> Rule | None:
    parts = split_command(command)
    if parts is None or len(parts) > _MOST_PARTS or any(is_never(part[0]) for part in parts):
        return None
    if any("git" in part for part in parts) and here.top.path and is_in_bare_repository(here.top.path):
        return None
    harmful = any(bounded(part) is None and any(map(is_harmful, part)) for part in parts)
    whole = next((rule for rule in rules if rule.tool == "Bash" and rule.spec == command.strip(" \t")), None)
    if whole is not None and not harmful:
        return whole
    found: Rule | None = None
    place: _Here | None = here
    for part in parts:
        found = next((rule for rule in rules if place is not None and _covers(rule, part, place)), None)
        if found is None or place is None or harmful:
            return None
        place = place.after(part)
    return found


def _covers(rule: Rule, words: list[str], here: _Here) -> bool:
    if not rule.spec:
        return is_bounded(words, here.holds, moved=here.moved)
    wide = rule.spec.endswith(":*")
    start = _words(rule.spec.removesuffix(":*"))
    if words == start and not here.moved and not (wide and bounded(words)):
        return True
    fits = words[: len(start)] == start if wide else words == start
    return fits and is_bounded(words, here.holds, moved=here.moved)


def _words(spec: str) -> list[str]:
    parts = split_command(spec)
    return parts[0] if parts is not None and len(parts) == 1 else spec.split(" ")


def _allows(rule: Rule, request: PermissionRequest, here: _Here) -> bool:
    url, path = _text(request.input, "url"), _path_of(request.input)
    if _has(request.input, "url") and not read_url(url).readable:
        return False
    if request.tool in _EDITS and len(written_paths(request.tool, request.input)) > 1:
        return False  # which of them would it write?
    if request.tool in _EDITS and not rule.spec:
        return bool(here.inside(path)) and not runs_later([here.inside(path)])
    if request.tool in _FILE_TOOLS:
        return not _resolved(path, here.base).problem and (not rule.spec or _is_of(rule.spec, request, here))
    if request.tool.startswith("mcp__") and not _stays(request, here):
        return False
    return not rule.spec or (request.tool == "WebFetch" and _is_host_of(rule.spec, url))


def _has(given: Any, *names: str) -> bool:
    return isinstance(given, dict) and any(name in given for name in names)


def _text(given: Any, name: str) -> str:
    value = given.get(name) if isinstance(given, dict) else None
    return value if isinstance(value, str) else ""


def _path_of(given: Any) -> str:
    """The file of a tool's input; empty where there is none, or more than one of which the tool would take another."""
    named = [name for name in _PATHS if _has(given, name)]
    return _text(given, named[0]) if len(named) == 1 else ""


def _is_of(spec: str, request: PermissionRequest, here: _Here) -> bool:
    """`//` starts at the root, everything else in the working folder."""
    path = _path_of(request.input)
    seen = _resolved(path, here.base).path if spec.startswith("//") else here.inside(path)
    wanted = spec[1:] if spec.startswith("//") else spec.removeprefix("./")
    if "*" in spec and request.tool in _EDITS and runs_later([seen]):
        return False
    return bool(seen) and _pattern(wanted).fullmatch(seen) is not None


def _stays(request: PermissionRequest, here: _Here) -> bool:
    """Whether no text that a tool of a server is given may be a path out of the folder, or an address in disguise."""
    texts = list(islice(_texts(request.input), _MOST_TEXTS + 1))
    if len(texts) > _MOST_TEXTS or runs_later(written_paths(request.tool, request.input)):
        return False
    return all(_is_address_or_inside(text, here) for text in map(str.strip, texts) if text)


def _is_address_or_inside(text: str, here: _Here) -> bool:
    if _OPTION.match(text):  # some servers hand their input on to a program
        return False
    if _ADDRESS.match(text):
        return read_url(text).readable
    if "\n" in text or not here.base:
        return "\n" in text or here.holds(text)
    place = _resolved(text, here.base)  # without a path for what is too long to be one
    return not place.path or (is_below(place.path, here.top.path) and not here.top.problem)


def _texts(given: Any) -> Iterator[str]:
    """Yield every text in an input, names of fields included, however deep."""
    todo = [given]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            todo += one


def _pattern(spec: str, flags: int = 0) -> re.Pattern[str]:
    """`*` stays in a folder, `**` does not."""
    text = re.escape(spec).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.compile(text, re.DOTALL | flags)


def _is_host_of(spec: str, address: str) -> bool:
    """The host itself, or one below it where it is a name with a dot."""
    if not spec.startswith("domain:"):
        return False
    host, wanted = read_url(address).host, _domain(spec)
    below = "." in wanted and not host.replace(".", "").isdigit()
    return bool(host and wanted) and (host == wanted or (below and host.endswith(f".{wanted}")))


def _domain(spec: str) -> str:
    return read_url(f"https://{spec.removeprefix('domain:').strip()}").host.rstrip(".")


# --- deny and ask ---


def _denies(rule: Rule, request: PermissionRequest, here: _Here) -> bool:
    """Whether a rule that denies or asks may be meant: in doubt, yes."""
    if rule.session and rule.session != request.session:
        return False
    if rule.project and not (
        is_below(request.cwd, rule.project) or is_below(here.top.path, _resolved(rule.project, "/").path)
    ):
        return False
    if rule.tool == "Bash":
        return request.tool in SHELLS and _denies_command(rule.spec, command_of(request.tool, request.input) or "")
    if rule.tool.startswith("mcp__") and f"{request.tool}__".startswith(f"{rule.tool}__"):
        return not rule.spec
    if rule.tool != request.tool and not (rule.tool == "Edit" and request.tool in (*_EDITS, "apply_patch")):
        return False
    if not rule.spec or rule.spec in _ALL:
        return True
    if request.tool in (*_FILE_TOOLS, "apply_patch") or _has(request.input, *_PATHS):
        return _denies_file(rule.spec, request, here)
    return request.tool == "WebFetch" and _denies_host(rule.spec, _text(request.input, "url"))


def _denies_command(spec: str, command: str) -> bool:
    if not spec or spec in _ALL:
        return True
    start = spec.removesuffix("*").removesuffix(":").rstrip()
    return may_run(command, _words(start), whole=start == spec)


def _denies_file(spec: str, request: PermissionRequest, here: _Here) -> bool:
    """By the path as it is written and as it leads, in letters of any case, and whichever of several it is."""
    texts = [text for name in _PATHS if (text := _text(request.input, name))]
    texts += written_paths(request.tool, request.input)
    if not texts or not all(_resolved(text, here.base).path for text in texts):
        return True
    patterns = [_pattern(one, re.IGNORECASE) for one in _spellings(spec)]
    return any(pattern.fullmatch(seen) for text in texts for seen in _seen(text, here) for pattern in patterns)


def _spellings(spec: str) -> Iterator[str]:
    bare = spec.removeprefix("./").lstrip("/")
    yield from (bare, f"/{bare}")
    if spec.startswith("~/"):
        yield absolute(spec, "/", _home())
    if "/" not in bare:
        yield f"**/{bare}"  # as in a list of ignored files: a bare name counts in every folder


def _seen(path: str, here: _Here) -> Iterator[str]:
    """Every way to name the file: from the root and from the working folder, with links and without."""
    for whole in (posixpath.normpath(absolute(path, here.base or "/", _home())), _resolved(path, here.base).path):
        yield whole
        for folder in (posixpath.normpath(here.base or "/"), here.top.path):
            if folder and is_below(whole, folder):
                yield posixpath.relpath(whole, folder)


def _denies_host(spec: str, address: str) -> bool:
    host, wanted = read_url(address).host.rstrip("."), _domain(spec)
    if not spec.startswith("domain:") or not wanted:
        return False
    return host == wanted or host.endswith(f".{wanted}") or (not host and wanted in address.lower())
