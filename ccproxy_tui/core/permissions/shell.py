"""A command line as its parts: the simple commands that `;`, `&&`, `||` and `|` join. Pure, and careful.

The line is read from left to right, one token after the other, as a POSIX shell does. What is not plain words
(substitutions, variables, patterns, redirections to files, groups, loops, here-documents, comments) is not guessed at:
such a line has no parts, and no rule allows it.
"""

from __future__ import annotations

import re

from ccproxy_tui.core.text.escape import has_hidden

# A word is bare characters that nothing expands, '…', and "…" without anything that expands in it. A redirection
# counts only where a word could begin: `foo2>/dev/null` runs foo2. zsh expands a word that begins with `=`.
_PIECE = r"""[^\s'"$`\\*?\[\]{}~!#<>()&;|]+|'[^']*'|"[^"$`\\!]*\""""
_TOKEN = re.compile(
    r"(?P<space>[ \t]+)"
    r"|(?P<join>&&|\|\||;|\|)"
    r"|(?P<quiet>(?<![^ \t;|&])(?:2>&1|[12]?>[ \t]*/dev/null)(?=[ \t;|]|&&|$))"
    rf"|(?P<word>(?!=)(?:{_PIECE})+)"
)
_LONGEST = 20_000  # characters; nobody has read a longer line
_ASSIGNS = re.compile(r"\w+\+?=")
# Words that make more than a simple command of what follows, in bash, zsh or fish.
_RESERVED = frozenset(
    (
        *("if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "select", "in"),
        *("function", "coproc", "time", "repeat", "foreach", "end", "nocorrect", "noglob", "-"),
        *("begin", "and", "or", "not", "switch"),
    )
)


def split_command(line: str) -> list[list[str]] | None:
    """The words of each part; None when the line can't be read for certain."""
    line = line.strip(" \t")
    if len(line) > _LONGEST or has_hidden(line):
        return None
    parts: list[list[str]] = [[]]
    position = 0
    while position < len(line):
        token = _TOKEN.match(line, position)
        if token is None:
            return None
        position = token.end()
        if token.lastgroup == "join":
            parts.append([])
        elif token.lastgroup == "word":
            parts[-1].append(_unquote(token.group()))
    if len(parts) > 1 and not parts[-1] and line.endswith(";"):
        parts.pop()
    return parts if all(map(_is_simple, parts)) else None


def _unquote(word: str) -> str:
    pieces = re.findall(_PIECE, word)
    return "".join(piece[1:-1] if piece[0] in "'\"" else piece for piece in pieces)


def _is_simple(part: list[str]) -> bool:
    return bool(part) and part[0] not in _RESERVED and not _ASSIGNS.match(part[0])
