"""What a person should look at before saying yes: words, never a verdict that something is safe.

Commands are read by their words alone. What can't be read so is said, not guessed.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

from ccproxy_tui.core.permissions.command_notes import GRAVE, command_notes
from ccproxy_tui.core.permissions.command_words import LONGEST, Call, is_outside, plain_texts, read_command
from ccproxy_tui.core.permissions.patch import changes_in, patch_of
from ccproxy_tui.core.permissions.programs import is_bounded
from ccproxy_tui.core.permissions.runs_later import BY_ITSELF, runs_later
from ccproxy_tui.core.permissions.shell import split_command
from ccproxy_tui.core.permissions.urls import Url, read_url
from ccproxy_tui.core.text.escape import ODD_SPACES, cut, has_hidden
from ccproxy_tui.core.text.redact import mask_own_text

Level = Literal["", "HIGH"]

SHELLS = frozenset({"Bash", "bash", "shell", "local_shell", "shell_command", "exec_command"})  # tools that run a line
_READS = frozenset(
    {"Read", "Grep", "Glob", "LS", "NotebookRead", "WebFetch", "WebSearch", "read", "grep", "glob", "list", "webfetch"}
)
# Fields by which tools name files: those of Claude Code and opencode, and what MCP servers commonly take.
_PATHS = (
    *("file_path", "path", "notebook_path", "filePath", "filepath", "filename", "file", "paths", "files"),
    *("destination", "dest", "dst", "target", "target_file", "output", "output_path", "new_path", "to"),
)
_ADDRESSES = ("url", "uri", "href", "endpoint", "base_url", "baseUrl", "link", "website")
_MOST_PATHS = 200
_DELETES = re.compile(r"(?<![\w-])(rm|rmdir|unlink|shred|truncate|mkfs\S*|dd)(?![\w-])|(?<!\S)--?delete(?![\w-])")
_DISCARDS = re.compile(r"git\s+(clean|reset\s+--hard)(?![\w.-])")
_DRY_CLEAN = re.compile(
    r"git[ \t]+clean(?=[ \t]+(?:-[dfxXq]*n|[^;&|\n]*--dry-run))"
    r"(?:[ \t]+(?:-[dfxXqn]+|--dry-run|[\w./][\w./-]*))+[ \t]*(?=$|[\n;&|])"
)
_NETWORK = re.compile(
    r"(?<![\w-])(curl|wget|nc|ncat|ssh|scp|rsync|ftp|telnet|git\s+(push|clone|fetch|pull)|pip3?\s+install"
    r"|npm\s+(install|i|publish)|npx|uvx?|docker\s+(pull|push))(?![\w-])"
)
_SUDO = re.compile(r"(?<![\w-])(sudo|doas|su|pkexec)(?![\w-])")
_TO_SHELL = re.compile(r"\|\s*(sudo\s+)?(ba|z|da|k)?sh(?![\w-])|(?<![\w-])(ba|z|da)?sh\s+-c|(?<![\w-])eval(?![\w-])")
_OPEN_URL = re.compile(r"[$*{}\[]")  # what a shell puts something else for; its notes say that a name is open
_WORD = re.compile(r"[^\W\d_]{2,80}")
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4}")
_ALIKE = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"))
_GREEK_ALIKE = frozenset(
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c7"
)
_ADDRESS = re.compile(r"(?:https?|ftp|wss?)://[^\s'\"`;|&()<>]+")
_PIECE, _OVERLAP = 65_536, 256  # characters
_NAMED = 3  # paths and hosts that a note names
_PATH = 60  # characters of one
_TEMPORARY = ("/tmp/", "/var/tmp/", "$TMPDIR/", "${TMPDIR}/")  # noqa: S108 # named to a person, not written to
_SECRETS = re.compile(
    r"\.ssh(/|\b)|(?<![\w-])id_(rsa|ed25519|ecdsa|dsa|ed25519_sk|ecdsa_sk)(?!\w)|\.aws/|\.gnupg|\.netrc"
    r"|\.git-credentials"
    r"|(?<![\w)\]])\.env(?!\.(example|sample|template|dist)\b)(?!\w)|credentials\.json|auth\.json|\.npmrc"
    r"|\.pypirc|\.pgpass"
    r"|/etc/(shadow|passwd|sudoers)|\.kube/config|\.docker/config|ccproxy/(control|client)"
    r"|/proc/[\w$*?{}]+/(environ|mem|cmdline)"
    r"|\.config/(gh|gcloud|hub|op|rclone|doctl)/|\.azure/|\.vault-token|\.my\.cnf|\.password-store"
    r"|\.bash_history|\.zsh_history"
    r"|\.claude/\.credentials|\.codex/auth|key4\.db|logins\.json|Login Data|terraform\.tfstate|\.tfvars"
    r"|\.(kdbx|keychain|jks|p12|pfx)\b|[\w-]\.pem\b|(?<![\w.])(master|private|server|hook|tls|ssl|secret)[\w-]*\.key\b"
    r"|(~|\$\{?HOME\}?|/root|/home/[\w.-]+)/\.[\w-]*[*?\[{]|169\.254\.169\.254|metadata\.google\.internal"
)


def risk_notes(tool: str, given: Any, cwd: str = "") -> list[str]:
    """Return short words, the gravest first."""
    texts = [tool, *_texts(given)]
    notes: list[str] = []
    command = command_of(tool, given)
    if command is not None:
        notes += _of_command(command, cwd)
    paths = written_paths(tool, given)
    if cwd and any(is_outside(path, cwd) for path in paths):
        notes.append("writes outside the project")
    if len(paths) > 1:
        notes.append(_naming(f"writes {len(paths)} files:", paths))
    notes += runs_later([*paths, *(read_command(command).writes if command else ())])
    notes += _of_addresses(given)
    named = [_of_files(text) if command is not None and text == command else text for text in texts]
    if any(_is_in(_SECRETS, text) for text in named):
        notes.append("touches a place where secrets lie")
    notes += _of_letters(tool, given, texts)
    return list(dict.fromkeys(notes))


def level_of(notes: list[str]) -> Level:
    """HIGH asks for the key twice."""
    return "HIGH" if any(note.startswith(_GRAVE) for note in notes) else ""


OWN_SECRET = "holds a credential of your own, which is masked here (v shows it)"
UNKNOWN = "could not be analysed: read all of it"
_GRAVE = (
    *GRAVE,
    BY_ITSELF,
    "deletes",
    "holds a credential",
    "could not be",
    "discards",
    "sudo",
    "pipes into a shell",
    "touches a place",
    "holds hidden",
    "mixed scripts",
    "can't be read",
    "network: an address that can't be read",
    "writes outside",
    "runs a recipe",
    "longer",
)


def written_paths(tool: str, given: Any) -> list[str]:
    """Return the files that a tool other than a shell writes, as they are named: those of a patch, too.

    A tool that is not known is taken to write what it names.
    """
    if not isinstance(given, dict):
        return []
    changes = patch_of(tool, given)[1] or changes_in(command_of(tool, given) or "")
    found = [path for change in changes for path in (change.path, change.moved) if path]
    if tool in _READS or tool in SHELLS:
        return found
    for name in _PATHS:
        value = given.get(name)
        values = value if isinstance(value, list) else [value]
        found += [one for one in values[:_MOST_PATHS] if isinstance(one, str) and one]
    return list(dict.fromkeys(found))


def command_of(tool: str, given: Any) -> str | None:
    """The command line that a tool would run, or None when it runs none; all that it is given of them."""
    if not isinstance(given, dict):
        return None
    lines = []
    for name in ("command", "cmd", "script"):
        value = given.get(name)
        if isinstance(value, str):
            lines.append(value)
        elif isinstance(value, list) and all(isinstance(part, str) for part in value):
            lines.append(shlex.join(value))
    return "\n".join(lines) if lines or tool in SHELLS else None


def path_of(given: Any) -> str:
    """The file that a tool would read or write."""
    if not isinstance(given, dict):
        return ""
    for name in ("file_path", "path", "notebook_path"):
        if isinstance(given.get(name), str):
            return str(given[name])
    return ""


def _of_addresses(given: Any) -> list[str]:
    """Notes on the hosts of addresses in a tool's input, look-alike names decoded beside."""
    if not isinstance(given, dict):
        return []
    return [note for name in _ADDRESSES if isinstance(given.get(name), str) for note in _of_address(given[name])]


def _of_address(address: str) -> list[str]:
    url = read_url(address)
    if url.readable:
        return [f"network: {_told(url.host)}"]
    return [_unread(url)]


def _unread(url: Url) -> str:
    leads = f"it leads to {_told(url.host)}; " if url.host else ""
    return f"network: an address that can't be read ({leads}{url.problem})"


def _told(host: str) -> str:
    try:
        if not ipaddress.ip_address(host).is_global:
            return f"{host} (a private address)"
    except ValueError:
        pass
    if host == "localhost" or host.endswith(".localhost"):
        return f"{host} (this machine)"
    if "xn--" not in host:
        return host if host.isascii() else f"{host} (not plain letters)"
    try:
        return f"{host} ({host.encode('ascii').decode('idna')})"
    except UnicodeError:
        return f"{host} (a name that can't be decoded)"


def programs_of(tool: str, given: Any) -> list[str]:
    """The programs that a command would run, as far as can be told."""
    command = command_of(tool, given)
    return read_command(command).programs if command else []


def _of_command(command: str, cwd: str) -> list[str]:
    notes = []
    lines = command.strip().count("\n") + 1
    command = plain_texts(command)
    words = read_command(command)
    run = _run_text(command)
    if words.deletes or _is_in(_DELETES, run):
        notes.append(_naming("deletes", words.deletes))
    if words.discards or _is_in(_DISCARDS, _DRY_CLEAN.sub("", run)):
        notes.append("discards changes")
    if _is_in(_SUDO, run):
        notes.append("sudo")
    if _is_in(_TO_SHELL, run):
        notes.append("pipes into a shell")
    outside = [path for path in words.writes if cwd and is_outside(path, cwd)]
    passing = [path for path in outside if path.startswith(_TEMPORARY) and ".." not in path]
    lasting = [path for path in outside if path not in passing]
    notes += [_naming("writes outside the project:", lasting)] if lasting else []
    notes += [_naming("writes", passing)] if passing else []
    foreign = _foreign_builds(words.calls, cwd)
    notes += [_naming("runs a recipe from outside the project:", foreign)] if foreign else []
    urls = {address: read_url(address) for address in _ADDRESS.findall(command[:LONGEST])}
    odd = [url for address, url in urls.items() if not url.readable and not _OPEN_URL.search(address)]
    notes += [_unread(odd[0])] if odd else []
    hosts = list(dict.fromkeys(_told(url.host) for url in urls.values() if url.host))
    if hosts or _is_in(_NETWORK, command) or _is_in(_ADDRESS, command):
        notes.append(_naming("network:" if hosts else "network", hosts))
    notes += command_notes(words)
    if not _is_readable(command):
        notes.append("can't be read as shell words")
    if lines > 1:
        notes.append(f"{lines} lines")
    return notes


_BUILDS = frozenset(
    ("make", "gmake", "just", "rake", "task", "ninja", "ant", "gradle", "mvn", "scons", "cmake", "meson")
)
_BUILD_FILE = re.compile(
    r"(-[fCbP]|--(file|makefile|directory|justfile|taskfile|build-file|buildfile))(=?)(.*)", re.DOTALL
)


def _foreign_builds(calls: list[Call], cwd: str) -> list[str]:
    """The files and folders outside of the project whose recipes a build would run."""
    found = []
    for call in calls:
        if not call.words or call.words[0].rpartition("/")[2] not in _BUILDS:
            continue
        for word, after in pairwise([*call.words[1:], ""]):
            match = _BUILD_FILE.fullmatch(word)
            if match is not None and is_outside(path := match[4] or after, cwd or "/-"):
                found.append(path)
    return found


def _run_text(command: str) -> str:
    """Return what of a line may name programs: without the parts that run one of the tables and nothing else.

    The words of such a part are a text, a pattern or a path, as in `git commit -m 'rm old'`. In a line with a pipe they
    may be what another part runs, so it is left out only with all of them.
    """
    parts = split_command(command) or []
    others = [part for part in parts if not is_bounded(part, lambda _: True)]
    if not parts or (others and "|" in command):
        return command
    return "\n".join(map(shlex.join, others))


_FLAGS_OF_SEARCH = re.compile(r"-[rRniIlLwvcqhHoEFPsax]+")  # those without a value


def _of_files(command: str) -> str:
    """Return what of a line may name files: without patterns to look for, and messages of commits.

    In a line with a pipe, what is found may be the files of another part.
    """
    parts = split_command(plain_texts(command)) or []
    if not parts or ("|" in command and not all(is_bounded(part, lambda _: True) for part in parts)):
        return command
    return "\n".join(" ".join(_without_text(part)) for part in parts)


def _without_text(part: list[str]) -> list[str]:
    if part[0] in ("grep", "egrep", "fgrep", "rg"):
        place = next((at for at, word in enumerate(part[1:], 1) if not _FLAGS_OF_SEARCH.fullmatch(word)), 0)
        return part[:place] + part[place + 1 :] if place and not part[place].startswith("-") else part
    if part[:2] == ["git", "commit"]:
        return [word for at, word in enumerate(part) if at < 2 or part[at - 1] not in ("-m", "-am", "--message")]
    return part


def _naming(what: str, names: list[str]) -> str:
    """`what` with the first of the names, and how many more there are."""
    if not names:
        return what
    told = [cut(mask_own_text(name), _PATH) for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what} {' '.join(told)}{more}"


def _is_in(pattern: re.Pattern[str], text: str) -> bool:
    """Looked for piece by piece: a search holds the interpreter's lock, and streams go on beside it."""
    return any(pattern.search(text, start, start + _PIECE + _OVERLAP) for start in range(0, len(text) or 1, _PIECE))


def _is_readable(command: str) -> bool:
    if len(command) > LONGEST:
        return False
    try:
        shlex.split(command, posix=True)
    except ValueError:
        return False
    return not any(sign in command for sign in ("$(", "`", "<(", ">("))


def _of_letters(tool: str, given: Any, texts: list[str]) -> list[str]:
    """Notes on characters that are not seen, and on words that look like other ones."""
    notes = []
    if any(map(has_hidden, texts)):
        notes.append("holds hidden characters")
    exact = [tool, command_of(tool, given) or "", *written_paths(tool, given)]
    exact += [
        text for name in (*_PATHS, *_ADDRESSES) if isinstance(given, dict) and isinstance(text := given.get(name), str)
    ]
    if any(ODD_SPACES.search(text[:LONGEST]) for text in exact):
        notes.append("holds hidden characters: spaces of another kind")
    elif any(ODD_SPACES.search(text[:_PIECE]) for text in texts):
        notes.append("has spaces of another kind, which are spelled out")
    if any(_MARKS.search(unicodedata.normalize("NFD", text[:LONGEST])) for text in texts if not text.isascii()):
        notes.append("holds hidden characters: many marks on one letter")
    mixed = [word for text in exact if not text.isascii() for word in _WORD.findall(text[:LONGEST]) if is_mixed(word)]
    if mixed:
        notes.append(_naming("mixed scripts in", [f"'{word}'" for word in mixed]))
    elif any(is_mixed(word) for text in texts if not text.isascii() for word in _WORD.findall(text[:LONGEST])):
        notes.append("has words of mixed scripts")
    return notes


def holds_secrets(path: str) -> bool:
    """Whether a path is one of those that hold secrets."""
    return _SECRETS.search(path) is not None


def is_mixed(word: str) -> bool:
    """Whether letters of a script stand in a word of another one that has letters of the same look."""
    if word.isascii():
        return False
    scripts = {unicodedata.name(char, "").split(" ")[0] for char in word if char.isalpha()}
    if len(scripts & _ALIKE) > 1:
        return "GREEK" not in scripts or len(scripts & _ALIKE) > 2 or any(char in _GREEK_ALIKE for char in word)
    return False


def _texts(given: Any) -> Iterator[str]:
    """Yield every text in the input, keys included, however deep."""
    todo = [given]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            todo += one
