"""What a command line names, as far as can be told: for words to a person, never for a rule (that is shell.py's). Pure.

Nothing is left out for being odd: a line that no shell would take still has words, and substitutions are read as the
commands that they are. What stands inside double quotes or in another program's text is not seen.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_QUOTED = re.compile(r"""\$'((?:[^'\\]|\\.)*)'|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)""", re.DOTALL)
LONGEST = 20_000  # characters that are read
_HERE = re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1([^\n]{0,400})\n.*?(?:\n[ \t]*\2(?=\s|$)|\Z)", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<space>[ \t]+|\\\n|(?<!\S)#[^\n]*)"
    r"|(?P<redirect>(?:\d*|&)(?:>>|>\||>)(?P<joined>&[\d-])?|\d*<+)"
    r"|(?P<join>[;\n&|()`]+)"
    r"""|(?P<word>(?:\$'(?:[^'\\]|\\.)*'|'[^']*'|"(?:[^"\\]|\\.)*"|\\[^\n]|[^\s'"\\;&|()<>`]|['"]|\\(?!\n))+)""",
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
_WRITES_ALL = frozenset(("tee", "touch", "mkdir", "sponge"))
_WRITES_OPTION = {  # what stands after these options is written
    "curl": ("-o", "--output", "--output-dir", "-D", "--dump-header"),
    "wget": ("-O", "--output-document", "-P", "--directory-prefix"),
    "tar": ("-C", "--directory"),
    "unzip": ("-d",),
    "sort": ("-o", "--output"),
    "git": ("-o", "--output", "--output-directory"),
}
_SETS = frozenset(("export", "declare", "typeset", "env", "sudo", "doas", "local", "readonly"))
_NOTHING: tuple[list[str], ...] = (
    [],
    [":"],
    ["true"],
    ["cat", "/dev/null"],
    ["echo", "-n"],
    ["printf", ""],
)  # what writes nothing
_MOST_PATHS = 40
_CODES = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CODE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|(.))", re.DOTALL)


# The way in which agents give a message of several lines to a program: a text that no shell changes.
_LITERAL = re.compile(r"""\"\$\(cat <<'(\w+)'\n((?:(?!\1\n)[^\n]*\n)*)\1\n?[ \t]*\)\"""")


def plain_texts(line: str) -> str:
    """Return the line with each `"$(cat <<'EOF' ... EOF)"` as the quoted word that it stands for."""
    return _LITERAL.sub(_as_word, line) if "<<'" in line else line


def _as_word(match: re.Match[str]) -> str:
    text = match[2].rstrip("\n")
    # Shells of another time look for the closing bracket inside of the text.
    odd = "`" in text or "$(" in text or text.count("(") != text.count(")") or ')"' in text
    return match[0] if odd else shlex.quote(text)


@dataclass(slots=True)
class Call:
    """A program with its words; `raw` is its name as it is written, `here` whether a text is given to it.

    `opens` are the files of its redirections.
    """

    words: list[str]
    raw: str = ""
    assigns: list[str] = field(default_factory=list)
    opens: list[str] = field(default_factory=list)
    here: bool = False


@dataclass(slots=True)
class CommandWords:
    """Programs in their order, the paths that they would delete or write, and whether git would drop changes.

    `calls` are what is run, `pipes` those of them whose output is another one's input, `heres` the texts of
    here-documents, `empties` files of which nothing is left, `paths` what else may be files. `behind`: something goes
    on in the background.
    """

    programs: list[str] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    discards: bool = False
    calls: list[Call] = field(default_factory=list)
    pipes: list[tuple[Call, Call]] = field(default_factory=list)
    heres: list[str] = field(default_factory=list)
    empties: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    behind: bool = False


@dataclass(slots=True)
class _Part:
    """`join` is what stands between it and the part before."""

    join: str = ""
    words: list[str] = field(default_factory=list)
    raws: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    opens: list[str] = field(default_factory=list)
    appends: bool = False
    here: bool = False


def read_command(line: str) -> CommandWords:
    """Paths are told as written, but for those after a `cd` of the same line: they are told from where it leads."""
    found = CommandWords()
    base = ""
    before: Call | None = None
    for part in _parts(_HERE.sub(lambda match: _without_text(match, found.heres), line[:LONGEST])):
        found.behind |= re.search("(?<![&|])&(?!&)", part.join) is not None
        targets = [_placed(base, target) for target in part.targets]
        found.writes += targets
        found.empties += targets if part.words in _NOTHING and not part.appends else []
        start = _command(part.words)
        words = part.words[start:]
        call = Call(words, here=part.here, opens=part.opens, assigns=list(filter(ASSIGNS.match, part.words[:start])))
        if not words:
            found.calls += [call] if call.assigns or call.opens else []
            before = None
            continue
        places = _programs(words)
        call.raw = part.raws[start]
        if posixpath.basename(words[0]) in _SETS:
            call.assigns += filter(ASSIGNS.match, words[1:])
        found.calls.append(call)
        for place in places[1:]:
            found.calls.append(Call(words[place:], part.raws[start + place], here=part.here))
        if before is not None and part.join.strip() in ("|", "|&"):
            found.pipes.append((before, found.calls[-1]))
        before = found.calls[-1]
        found.programs += [words[place] for place in places if words[place]]
        name = posixpath.basename(words[places[-1]])
        rest = words[places[-1] + 1 :]
        paths = [word for word in rest if not word.startswith("-")]
        if name == "cd":
            base = _placed(base, paths[0] if paths else "~")
            continue
        found.discards |= name == "git" and _discards(rest)
        placed = [_placed(base, path) for path in paths]
        found.paths += [*placed, *(_placed(base, path) for path in part.opens)][
            : max(_MOST_PATHS - len(found.paths), 0)
        ]
        found.deletes += placed if name in _DELETES else []
        found.writes += placed if name in _WRITES_ALL else placed[-1:] if name in _WRITES_LAST else []
        found.writes += [_placed(base, path) for path in _written_by_options(name, rest)]
    found.programs = list(dict.fromkeys(found.programs))
    return found


def _without_text(match: re.Match[str], texts: list[str]) -> str:
    """A here-document without its text, which is kept."""
    texts.append(match[0].partition("\n")[2])
    return f" <<TEXT {match[3]}\n"


def _written_by_options(name: str, rest: Sequence[str]) -> list[str]:
    options = _WRITES_OPTION.get(name, ())
    found = [after for word, after in pairwise(rest) if word in options]
    found += [word.partition("=")[2] for word in rest if word.startswith("--") and word.partition("=")[0] in options]
    if name == "dd":
        found += [word.removeprefix("of=") for word in rest if word.startswith("of=")]
    if name in ("sed", "perl") and any(re.fullmatch(r"-\w*i.*|--in-place.*", word) for word in rest):
        found += [word for word in rest if not word.startswith("-")][1:]
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
    redirects = writes = appends = False
    for token in _TOKEN.finditer(line):
        kind, text = token.lastgroup, token.group()
        if kind == "join":
            yield part
            part, redirects = _Part(text), False
        elif kind in ("redirect", "joined"):
            redirects = token["joined"] is None
            writes, appends = ">" in text, ">>" in text
            part.here |= "<<" in text
        elif kind == "word" and redirects:
            redirects = False
            part.opens.append(_bare(text))
            if writes and not _bare(text).startswith("/dev/"):
                part.targets.append(_bare(text))
                part.appends |= appends
        elif kind == "word" and text != "$":  # what is left of `$(`
            part.words.append(_bare(text))
            part.raws.append(text)
    yield part


def _bare(word: str) -> str:
    if "'" not in word and '"' not in word and "\\" not in word:
        return word
    return _QUOTED.sub(_unquoted, word)


def _unquoted(match: re.Match[str]) -> str:
    if match[1] is not None:
        return _CODE.sub(_decoded, match[1])
    return next(filter(None, match.groups()), "")


def _decoded(match: re.Match[str]) -> str:
    """What a code inside of `$'...'` stands for."""
    digits = match[1] or match[2] or match[3]
    if digits is None and match[4] is None:
        return _CODES.get(match[5], match[5])
    number = int(digits, 16) if digits is not None else int(match[4], 8)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\N{REPLACEMENT CHARACTER}"


def _command(words: list[str]) -> int:
    """Where the program stands; behind all of them where none is run."""
    for place, word in enumerate(words):
        if word in NO_COMMAND:
            break
        if word not in LEADS and not ASSIGNS.match(word):
            return place
    return len(words)


def _discards(words: list[str]) -> bool:
    """Whether git, with these words, drops changes or what others have pushed."""
    verb = next((word for word in words if word in _DROPS), "")
    if verb == "clean":
        return not _only_shows(words)
    if verb == "restore":
        return True
    return any(word in _DROPS[verb] or word.startswith(_LONG) for word in words if verb)


def _only_shows(words: list[str]) -> bool:
    """Whether `git clean` says what it would delete. An option with a value could have `-n` for it."""
    plain = all(re.fullmatch(r"clean|-[dfxXqn]+|--dry-run|[^-].*", word) for word in words)
    return plain and any(re.fullmatch(r"-\w*n\w*|--dry-run", word) for word in words)


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
