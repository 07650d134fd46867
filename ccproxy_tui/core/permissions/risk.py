"""What a person should look at before saying yes: words, never a verdict that something is safe.

Commands are read by their words alone. What can't be read so is said, not guessed.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from ccproxy_tui.core.escape import cut, has_hidden
from ccproxy_tui.core.permissions.command_words import LONGEST, is_outside, read_command
from ccproxy_tui.core.redact import mask_own_text

Level = Literal["", "HIGH"]

SHELLS = frozenset({"Bash", "bash", "shell", "local_shell", "shell_command", "exec_command"})  # tools that run a line
_FILES = ("Write", "Edit", "MultiEdit", "NotebookEdit", "Read")
_DELETES = re.compile(r"(?<![\w-])(rm|rmdir|unlink|shred|truncate|mkfs\S*|dd)(?![\w-])|(?<!\S)--?delete(?![\w-])")
_DISCARDS = re.compile(r"git\s+(clean|reset\s+--hard)(?![\w.-])")
_NETWORK = re.compile(
    r"(?<![\w-])(curl|wget|nc|ncat|ssh|scp|rsync|ftp|telnet|git\s+(push|clone|fetch|pull)|pip3?\s+install"
    r"|npm\s+(install|i|publish)|npx|uvx?|docker\s+(pull|push))(?![\w-])"
)
_SUDO = re.compile(r"(?<![\w-])(sudo|doas|su|pkexec)(?![\w-])")
_TO_SHELL = re.compile(r"\|\s*(sudo\s+)?(ba|z|da|k)?sh(?![\w-])|(?<![\w-])(ba|z|da)?sh\s+-c|(?<![\w-])eval(?![\w-])")
_ADDRESS = re.compile(r"(?:https?|ftp|wss?)://[^\s'\"`;|&()<>]+")
_PIECE, _OVERLAP = 65_536, 256  # characters
_NAMED = 3  # paths and hosts that a note names
_PATH = 60  # characters of one
_TEMPORARY = ("/tmp/", "/var/tmp/", "$TMPDIR/", "${TMPDIR}/")  # noqa: S108 # named to a person, not written to
_SECRETS = re.compile(
    r"\.ssh(/|\b)|id_(rsa|ed25519|ecdsa)|\.aws/|\.gnupg|\.netrc|\.env\b|credentials\.json|auth\.json|\.npmrc|\.pypirc"
    r"|/etc/(shadow|passwd|sudoers)|\.kube/config|\.docker/config|ccproxy/control"
)


def risk_notes(tool: str, given: Any, cwd: str = "") -> list[str]:
    """Short words, the gravest first."""
    texts = list(_texts(given))
    notes: list[str] = []
    command = command_of(tool, given)
    if command is not None:
        notes += _of_command(command, cwd)
    path = path_of(given)
    if path:
        notes += _of_path(tool, path, cwd)
    notes += [f"network: {host}" for host in hosts_of(given)]
    if any(_is_in(_SECRETS, text) for text in texts):
        notes.append("touches a place where secrets lie")
    if any(map(has_hidden, texts)):
        notes.append("holds hidden characters")
    return list(dict.fromkeys(notes))


def level_of(notes: list[str]) -> Level:
    """HIGH asks for the key twice."""
    return "HIGH" if any(note.startswith(_GRAVE) for note in notes) else ""


OWN_SECRET = "holds a credential of your own, which is masked here (v shows it)"
UNKNOWN = "could not be analysed: read all of it"
_GRAVE = (
    "deletes",
    "holds a credential",
    "could not be",
    "discards",
    "sudo",
    "pipes into a shell",
    "touches a place",
    "holds hidden",
    "can't be read",
    "writes outside",
    "longer",
)


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


def hosts_of(given: Any) -> list[str]:
    """The hosts of addresses in a tool's input, look-alike names decoded beside."""
    value = given.get("url") if isinstance(given, dict) else None
    if not isinstance(value, str):
        return []
    told = _host_told(value)
    return [told] if told else []


def _host_told(address: str) -> str:
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return "an address that can't be read"
    return _told(host) if host else ""


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
    words = read_command(command)
    if words.deletes or _is_in(_DELETES, command):
        notes.append(_naming("deletes", words.deletes))
    if words.discards or _is_in(_DISCARDS, command):
        notes.append("discards changes")
    if _is_in(_SUDO, command):
        notes.append("sudo")
    if _is_in(_TO_SHELL, command):
        notes.append("pipes into a shell")
    outside = [path for path in words.writes if cwd and is_outside(path, cwd)]
    passing = [path for path in outside if path.startswith(_TEMPORARY) and ".." not in path]
    lasting = [path for path in outside if path not in passing]
    notes += [_naming("writes outside the project:", lasting)] if lasting else []
    notes += [_naming("writes", passing)] if passing else []
    hosts = list(dict.fromkeys(map(_host_told, _ADDRESS.findall(command[:LONGEST]))))
    if hosts or _is_in(_NETWORK, command) or _is_in(_ADDRESS, command):
        notes.append(_naming("network:" if hosts else "network", hosts))
    if not _is_readable(command):
        notes.append("can't be read as shell words")
    if "\n" in command.strip():
        notes.append(f"{command.strip().count(chr(10)) + 1} lines")
    return notes


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
    return "$(" not in command and "`" not in command and "<(" not in command


def _of_path(tool: str, path: str, cwd: str) -> list[str]:
    if tool == "Read" or not cwd:
        return []
    return ["writes outside the project"] if tool in _FILES and is_outside(path, cwd) else []


def _texts(given: Any) -> Iterator[str]:
    """Every text in the input, keys included, however deep."""
    todo = [given]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            todo += one
