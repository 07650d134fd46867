"""Which parts of a command or of a line of code stand out: spans `(start, end, style)` in their order. Pure.

A highlighter of a few words instead of a library's: what it reads is written by a model, and must not be able to keep
the screen busy. Each pattern reads on without trying again, and long texts are left plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ccproxy_tui.core.permissions.command_words import ASSIGNS, LEADS, NO_COMMAND, WRAPS

Span = tuple[int, int, str]

LONGEST_COMMAND = 4000
LONGEST_LINE = 400
_SHELL = re.compile(
    r"(?P<comment>(?<![^\s;|&()])\#[^\n]*)"
    r"""|(?P<string>'[^']*'|"(?:[^"\\]|\\.)*")"""
    r"|(?P<variable>\$\w+|\$\{[^}\n]{0,80}\}|\$\(|`)"
    r"|(?P<operator>&&|\|\|?&?|;;?|&?[<>]+&?|[&()])"
    r"|(?P<newline>\n)"
    r"""|(?P<word>(?:[^\s'"$`;|&()<>\\]|\\.)+)""",
    re.DOTALL,
)

_STRINGS = r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
_REST = r"(?P<number>(?<![\w.])\d[\w.]*)|(?P<word>[^\W\d]\w*)"
_COMMENTS = {"#": r"#.*", "//": r"//.*|/\*.*?(?:\*/|$)", "--": r"--.*"}
_CODE = {
    mark: re.compile(rf"(?P<comment>{comment})|{_STRINGS}|{_REST}") if mark else re.compile(rf"{_STRINGS}|{_REST}")
    for mark, comment in {**_COMMENTS, "": ""}.items()
}
_SUFFIXES = {
    "#": ".py .pyi .sh .bash .zsh .fish .rb .pl .r .toml .yaml .yml .tf .mk .cfg .conf .ex .exs .nix",
    "//": ".js .mjs .cjs .ts .mts .tsx .jsx .go .rs .c .h .cc .cpp .hpp .java .kt .swift .cs .scala .dart .php .zig",
    "--": ".sql .lua .hs .elm .ada",
    "": ".json .jsonc .html .xml .svg .css",
}
_MARKS = {suffix: mark for mark, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_NAMES = {"Makefile": "#", "Dockerfile": "#", "Justfile": "#", "Gemfile": "#", ".gitignore": "#", ".env": "#"}
_KEYWORDS = {
    "#": """
        and as assert async await break case class continue def del do done elif else end esac except False fi
        finally for from function global if import in is lambda local match None nonlocal not or pass raise require
        return self then True try until while with yield true false null
    """,
    "//": """
        abstract as async await break case catch chan class const continue crate default defer delete do else enum
        export extends extern false final finally fn for from func function go goto if impl implements import in
        instanceof interface let loop map match mod mut namespace new nil null override package private protected
        pub public range readonly return self static struct super switch this throw throws trait true try type
        typedef typeof undefined union unsafe use val var void when where while yield
    """,
    "--": """
        and as begin by case create delete do drop else elseif end false for from function group if in insert into
        is join left limit local nil not null on or order primary repeat return right select set table then true
        union unique until update values view when where while with
    """,
    "": "true false null",
}
_KEYWORD_SETS = {mark: frozenset(words.split()) for mark, words in _KEYWORDS.items()}


def shell_spans(command: str) -> list[Span]:
    """Of a whole command, its newlines included: programs, operators, strings, variables, comments."""
    return list(_shell(command)) if len(command) <= LONGEST_COMMAND else []


def _shell(command: str) -> Iterator[Span]:
    expects_program = True
    for token in _SHELL.finditer(command):
        kind, text = str(token.lastgroup), token.group()
        match kind:
            case "newline":
                expects_program = True
            case "operator":
                expects_program = not text.strip("&").startswith(("<", ">"))
                yield *token.span(), kind
            case "word":
                if not expects_program or text in LEADS or ASSIGNS.match(text) or text.startswith("-"):
                    continue
                expects_program = text in WRAPS  # sudo is a program, and so is what it runs
                if text not in NO_COMMAND:
                    yield *token.span(), "program"
            case _:
                assigned = expects_program and command[token.start() - 1 : token.start()] == "="
                expects_program = assigned or text in ("$(", "`")
                yield *token.span(), kind


def language_of(path: str) -> str | None:
    """How comments begin in a file of that name, which is all that is told apart; None where nothing is known."""
    name = PurePosixPath(path)
    return _MARKS.get(name.suffix.lower(), _NAMES.get(name.name))


def code_spans(line: str, language: str | None) -> list[Span]:
    """Of one line of a file: keywords, strings, numbers, comments."""
    if language is None or len(line) > LONGEST_LINE:
        return []
    return list(_code(line, language))


def _code(line: str, language: str) -> Iterator[Span]:
    for token in _CODE[language].finditer(line):
        kind = str(token.lastgroup)
        if kind != "word":
            yield *token.span(), kind
        elif token.group() in _KEYWORD_SETS[language] or (
            language == "--" and token.group().lower() in _KEYWORD_SETS["--"]
        ):
            yield *token.span(), "keyword"
