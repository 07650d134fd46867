"""What a command line names, as far as can be told: for words to a person, never for a rule (that is shell.py's). Pure.

Nothing is left out for being odd: a line that no shell would take still has words, and substitutions are read as the
commands that they are. What stands inside double quotes or in another program's text is not seen.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

LONGEST = 20_000  # characters that are read
_HERE = re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1([^\n]{0,400})\n.*?(?:\n[ \t]*\2(?=\s|$)|\Z)", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<space>[ \t]+|\\\n|(?<!\S)#[^\n]*)"
    r"|(?P<redirect>(?:\d*|&)(?:>>|>\||>)(?P<joined>&[\d-])?|\d*<+)"
    r"|(?P<join>[;\n&|()`]+)"
    r"""|(?P<word>(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\[^\n]|[^\s'"\\;&|()<>`]|['"]|\\(?!\n))+)""",
    re.DOTALL,
)
ASSIGNS = re.compile(r"\w+\+?=")
LEADS = frozenset(("then", "do", "else", "elif", "if", "while", "until", "!", "{", "time"))
NO_COMMAND = frozenset(("for", "case", "select", "function", "fi", "done", "esac", "}", "[[", "in"))
WRAPS = frozenset(("sudo", "doas", "env", "nohup", "nice", "xargs", "exec", "command", "timeout", "setsid", "stdbuf"))
_VALUED = frozenset(("-u", "-g", "-n", "-I", "-P", "-k", "-s"))  # options of those that take a word
_DROPS = {  # the verbs of git, and the words that make them drop something
    "clean": (),
    "restore": (),
    "reset": ("--hard", "--merge"),
    "checkout": ("-f", "--", "."),
    "switch": ("-f", "--discard-changes"),
    "stash": ("drop", "clear"),
    "branch": ("-D",),
    "push": ("-f", "-d", "--delete", "--mirror"),
}
_LONG = ("--force", "+")  # how such words begin, `--force-with-lease` and `+main` too
_OPEN = ("~", "$")  # paths that only a shell can tell begin so
_DELETES = frozenset(("rm", "rmdir", "unlink", "shred", "truncate"))
_WRITES_LAST = frozenset(("cp", "mv", "ln", "install", "rsync"))
_WRITES_ALL = frozenset(("tee", "touch", "mkdir"))


@dataclass(slots=True)
class CommandWords:
    """Programs in their order, the paths that they would delete or write, and whether git would drop changes."""

    programs: list[str] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    discards: bool = False


@dataclass(slots=True)
class _Part:
    words: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)


def read_command(line: str) -> CommandWords:
    """Paths are told as written, but for those after a `cd` of the same line: they are told from where it leads."""
    found = CommandWords()
    base = ""
    for part in _parts(_HERE.sub(r" \3\n", line[:LONGEST])):
        found.writes += [_placed(base, target) for target in part.targets]
        words = _command(part.words)
        if not words:
            continue
        places = _programs(words)
        found.programs += [words[place] for place in places if words[place]]
        name = posixpath.basename(words[places[-1]])
        paths = [word for word in words[places[-1] + 1 :] if not word.startswith("-")]
        if name == "cd":
            base = _placed(base, paths[0] if paths else "~")
            continue
        found.discards |= name == "git" and _discards(words[places[-1] + 1 :])
        placed = [_placed(base, path) for path in paths]
        found.deletes += placed if name in _DELETES else []
        found.writes += placed if name in _WRITES_ALL else placed[-1:] if name in _WRITES_LAST else []
    found.programs = list(dict.fromkeys(found.programs))
    return found


def _placed(base: str, path: str) -> str:
    if not base or path.startswith(_OPEN):
        return path
    whole = posixpath.join(base, path)
    return whole if base.startswith(_OPEN) else posixpath.normpath(whole)


def is_outside(path: str, cwd: str) -> bool:
    """Whether a path leads out of the folder, or begins with what only the shell knows."""
    if path.startswith(_OPEN):
        return True
    whole, base = posixpath.normpath(posixpath.join(cwd, path)), posixpath.normpath(cwd)
    return whole != base and not whole.startswith(f"{base.rstrip('/')}/")


def _parts(line: str) -> Iterator[_Part]:
    part = _Part()
    redirects = writes = False
    for token in _TOKEN.finditer(line):
        kind, text = token.lastgroup, token.group()
        if kind == "join":
            yield part
            part, redirects = _Part(), False
        elif kind in ("redirect", "joined"):
            redirects = token["joined"] is None
            writes = ">" in text
        elif kind == "word" and redirects:
            redirects = False
            if writes and not _bare(text).startswith("/dev/"):
                part.targets.append(_bare(text))
        elif kind == "word" and text != "$":  # what is left of `$(`
            part.words.append(_bare(text))
    yield part


def _bare(word: str) -> str:
    if "'" not in word and '"' not in word and "\\" not in word:
        return word
    return re.sub(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|\\(.)", lambda match: next(filter(None, match.groups()), ""), word)


def _command(words: list[str]) -> list[str]:
    """The words from the program on; none where none is run."""
    for place, word in enumerate(words):
        if word in NO_COMMAND:
            return []
        if word not in LEADS and not ASSIGNS.match(word):
            return words[place:]
    return []


def _discards(words: list[str]) -> bool:
    """Whether git, with these words, drops changes or what others have pushed."""
    verb = next((word for word in words if word in _DROPS), "")
    if verb in ("clean", "restore"):
        return True
    return any(word in _DROPS[verb] or word.startswith(_LONG) for word in words if verb)


def _programs(words: Sequence[str]) -> list[int]:
    """Where the program stands, and where what it runs in its turn."""
    places = [0]
    for place, word in enumerate(words[1:], 1):
        if posixpath.basename(words[places[-1]]) not in WRAPS:
            break
        odd = word.startswith("-") or ASSIGNS.match(word) or word[:1].isdigit()
        if not odd and words[place - 1] not in _VALUED:
            places.append(place)
    return places
