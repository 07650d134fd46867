"""A command line as its parts: the simple commands that `;`, `&&`, `||` and `|` join. Pure, and careful.

What is not plain words (substitutions, variables, redirections to files, groups, here-documents, comments) is not
guessed at: such a line has no parts, and no rule allows it.
"""

from __future__ import annotations

import re
import shlex

_JOINS = frozenset({";", "&&", "||", "|"})
_JOIN = re.compile(r"&&|\|\||[;|]")
_OPERATORS = ";&|<>()"
_HARMLESS = re.compile(r"\s*(2>&1|[12]?>\s*/dev/null)(?=\s|$)")
_EXPANDS = re.compile(r"[$`\\*?\[\]{}~!#\n\r<>()&]")
_ASSIGNS = re.compile(r"[A-Za-z_]\w*=")


def split_command(line: str) -> list[list[str]] | None:
    """The words of each part; None when the line can't be read for certain."""
    bare = _HARMLESS.sub(" ", line.strip())
    lexer = shlex.shlex(bare, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    if not tokens or not _is_plain(bare) or not _joins_are_real(tokens, bare):
        return None
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in _JOINS:
            parts.append([])
        else:
            parts[-1].append(token)
    if parts[-1] == [] and tokens[-1] == ";":
        parts.pop()
    if any(not part or _ASSIGNS.match(part[0]) for part in parts):
        return None
    return parts


def _joins_are_real(tokens: list[str], line: str) -> bool:
    """Whether every token of operators is one that joins, and none of them stood in quotes."""
    operators = [token for token in tokens if token and not token.strip(_OPERATORS)]
    outside = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
    return all(token in _JOINS for token in operators) and len(operators) == len(_JOIN.findall(outside))


def _is_plain(line: str) -> bool:
    """Whether nothing outside of single quotes could expand, and operators are only those that join."""
    outside = re.sub(r"'[^']*'", "", line)
    inside = "".join(re.findall(r'"([^"]*)"', outside))
    if re.search(r"[$`\\!]", inside):
        return False
    bare = re.sub(r'"[^"]*"', "", outside)
    return _EXPANDS.search(re.sub(r"&&|\|\||[;|]", " ", bare)) is None
