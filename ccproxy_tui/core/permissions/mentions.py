"""Whether a line may run a command, for rules that deny or ask. Pure, and ready to see too much rather than too little.

A line that allows nothing to be hidden needs no shell: every place is looked at where a program could stand, behind
`sudo`, `env` and `xargs`, in the text for `sh -c`, in substitutions, and under its path or in other letters.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Sequence

from ccproxy_tui.core.permissions.programs import is_bounded
from ccproxy_tui.core.permissions.shell import split_command

_TOKEN = re.compile(
    r"(?P<space>\s*[\s<>]\s*)"
    r"|(?P<end>\$\(|[;&|(){}`]+)"
    r"|\$'(?P<ansi>(?:[^'\\]|\\.)*)'"
    r"|'(?P<single>[^']*)'"
    r'|\$?"(?P<double>(?:[^"\\]|\\.)*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<bare>[^\s<>;&|(){}`'\"\\$]+|.)",
    re.DOTALL,
)
_EMPTY = re.compile(r"\$(?:\{[^}]*\}|\(\s*\)|\w+|[@*#?!-])|``|\\\n")  # may stand for nothing: `r$@m` is rm
_CODE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|[uU]([0-9a-fA-F]{1,5})|([0-7]{1,3}))")
_ASSIGNMENT = re.compile(r"\w+\+?=")
_LONGEST = 20_000  # characters of a line; a longer one is only searched
_DEPTH = 5
_MOST_OPTIONS = 100  # between the words of a command; behind more of them it is taken to be there


def may_run(line: str, wanted: Sequence[str], *, whole: bool) -> bool:
    """Whether `line` may run the program `wanted[0]` with the words after it, `whole`: and with no others."""
    program = wanted[0].lower()
    if len(line) > _LONGEST:
        return program in line.lower()
    readable = split_command(line) is not None
    texts = [line] if readable else [line, _EMPTY.sub("", line)]
    return any(_is_found(text, [program, *wanted[1:]], whole, readable, _DEPTH) for text in texts)


def _is_found(line: str, wanted: Sequence[str], whole: bool, readable: bool, depth: int) -> bool:
    for words, quoted in _segments(line):
        plain = readable and is_bounded(words, lambda _: True)  # its other words are no programs
        starts = [
            start
            for start in range(1 if plain else len(words))
            if _is_program(words[start], wanted[0], first=start == 0)
        ]
        # What follows the first program in a line that can't be read follows the later ones, too.
        if any(_matches(words, start, wanted, whole, readable) for start in (starts if readable else starts[:1])):
            return True
        inner = quoted if not plain else [text for text in quoted if "$(" in text or "`" in text]
        if depth and any(_is_found(text, wanted, whole, readable, depth - 1) for text in inner):
            return True
    return False


def _segments(line: str) -> list[tuple[list[str], list[str]]]:
    """The words of each simple command, and the texts within their quotes that may be lines of their own."""
    found: list[tuple[list[str], list[str]]] = []
    words: list[str] = []
    quoted: list[str] = []
    word: str | None = None
    for token in _TOKEN.finditer(f"{line};"):
        kind, text = token.lastgroup or "", token[token.lastgroup or 0]
        if kind not in ("space", "end"):
            piece = _decoded(text) if kind == "ansi" else text
            if kind in ("ansi", "single", "double"):
                quoted.append(piece)
            word = (word or "") + (re.sub(r"\\(.)", r"\1", piece) if kind == "double" else piece)
            continue
        if word is not None:
            words.append(word)
            quoted += [word] if re.search(r"[\s;&|]", word) else []
            word = None
        if kind == "end" or "\n" in text:
            found.append((words, quoted))
            words, quoted = [], []
    return found


def _decoded(text: str) -> str:
    """The text that `$'...'` stands for."""
    return _CODE.sub(lambda code: chr(int(code[1] or code[2], 16) if code[1] or code[2] else int(code[3], 8)), text)


def _matches(words: Sequence[str], start: int, wanted: Sequence[str], whole: bool, readable: bool) -> bool:
    if whole:
        return list(words[start + 1 :]) == list(wanted[1:]) if readable else True
    return _follow(words, start + 1, wanted[1:], readable)


def _is_program(word: str, program: str, *, first: bool) -> bool:
    name = posixpath.basename(_ASSIGNMENT.sub("", word, count=1)).lstrip("!").lower().removesuffix(".exe")
    if name == program or name.rstrip("0123456789.-") == program:
        return True
    return first and any(sign in name for sign in "?*[") and fnmatch.fnmatchcase(program, name)


def _follow(words: Sequence[str], place: int, wanted: Sequence[str], readable: bool) -> bool:
    """Whether the wanted words come next; options and their values may stand between, `git -C x push` is a push."""
    for want in wanted:
        values, last = 0, place + _MOST_OPTIONS
        while place < len(words) and words[place].lower() != want.lower():
            values = 1 if words[place].startswith("-") else values - 1
            if values < 0 and readable:
                return False
            if place == last and readable:
                return True
            place += 1
        if place == len(words):
            return False
        place += 1
    return True
