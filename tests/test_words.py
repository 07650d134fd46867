"""Words that users read: plain technical English, one word per thing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ccproxy_tui"
READ_BY_USERS = (
    *(PACKAGE / "screens").rglob("*.py"),
    *(PACKAGE / "cli").rglob("*.py"),
    *(PACKAGE / "core" / "settings").rglob("*.py"),
    *(path for path in (PACKAGE / "core" / "server").rglob("*.py") if path.name != "exchange.py"),
    *(
        path
        for part in ("auth", "detection", "permissions", "storage", "control", "records", "system", "text")
        for path in (PACKAGE / "core" / part).glob("*.py")
    ),
    *(path for path in (PACKAGE / "core").glob("*.py") if path.name != "opencode_plugin.py"),  # a program's text
    PACKAGE / "app.py",
)
PROSE = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))

BANNED = {
    r"nobody|no one": 'no user, no client, no front end: say which, or "not ..."',
    r"somebody|someone|whoever|whomever": "a user, a client, a front end: say which",
    r"persons?": 'you (the user), or "user"',
    r"anew": 'again; of a quota window: "resets"',
    r"meanwhile": "while ...: say what happens at the same time",
    r"told|tells?|says|said": "reports, shows, sends: say what happens",
    r"(?:is|are) over": "has ended",
    r"by heart|at hand|as it came": "say it without the idiom",
    r"stands? in": "replaces, is used instead",
    r"lent|lends?|loans?": "temporary rule",
    r"graver?": "high risk",
    r"set(?:s|ting)? aside": "disabled",
    r"rests|resting": "cooldown: is cooling down",
    r"asker": "client, tool",
    r"puts? (?:it )?right|mend(?:s|ed)?": "fix, adjust",
    r"as far as can be": "best effort",
    r"viewers?": "front end",
    r"prevails?": "takes precedence",
    r"with(?: your)? words": "with a message",
    r"goes on|go on": "continues, is still running",
    r"too early:|wants? (?:a|the) (?:key|word)": "say what happened and what you can do",
}
_BANNED = {re.compile(words, re.IGNORECASE): instead for words, instead in BANNED.items()}
_ANY = re.compile(rf"\b(?:{'|'.join(BANNED)})(?!\w)", re.IGNORECASE)

# A string (or line of prose) that contains one of these keeps its word, for the reason given.
ALLOWED: dict[str, str] = {}


class Text(NamedTuple):
    path: Path
    line: int
    text: str


def literals(path: Path, source: str) -> Iterator[Text]:
    """Yield the string literals that can be a sentence, f-strings as one text, and the docstrings that are help."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if (doc := _docstring(node)) is not None and not _is_command(node):
                skipped.add(id(doc))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values if isinstance(part, ast.Constant))
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)  # type: ignore[misc]
            yield Text(path, node.lineno, text)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield Text(path, node.lineno, node.value)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.Constant | None:
    first = node.body[0] if node.body else None
    return first.value if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None


def _is_command(node: ast.AST) -> bool:
    """Return whether click shows the docstring of this function as help."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(one).split("(")[0].endswith((".command", ".group")) for one in decorators)


def prose(path: Path, source: str) -> Iterator[Text]:
    """Yield the lines of a Markdown file without its code."""
    fenced = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield Text(path, number, re.sub(r"`[^`]*`", "``", line))


def faults(texts: Iterator[Text]) -> list[str]:
    found = []
    for path, line, text in texts:
        if " " not in text.strip() or any(right in text for right in ALLOWED):
            continue
        for match in _ANY.finditer(text):
            instead = next(instead for words, instead in _BANNED.items() if words.fullmatch(match[0]))
            name = path.relative_to(ROOT)
            found.append(f'{name}:{line}: "{match[0]}" in {text.strip()[:80]!r}; write instead: {instead}')
    return found


def all_texts() -> Iterator[Text]:
    for path in READ_BY_USERS:
        yield from literals(path, path.read_text("utf-8"))
    for path in PROSE:
        yield from prose(path, path.read_text("utf-8"))


def test_users_read_plain_words() -> None:
    assert not (found := faults(all_texts())), "\n" + "\n".join(found)


def test_every_exception_is_needed() -> None:
    unused = [right for right in ALLOWED if not any(right in one.text for one in all_texts())]
    assert not unused, "remove these from ALLOWED"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ('say(f"grave ({notes}): press a again")', "grave"),
        ('"""Say so: nobody reads this."""\nsay("the turn is over")', "is over"),
        ('@click.command()\ndef ask():\n    """Ask the person."""', "person"),
        ('Field(0, description="Where the plan "\n"is told.")', "told"),
    ],
)
def test_a_banned_word_is_found(source: str, word: str) -> None:
    (found,) = faults(literals(PACKAGE / "x.py", source))
    assert f'"{word}" in' in found


@pytest.mark.parametrize("source", ['query("#rule-told")', 'def f():\n    """Tell what is over."""', "told = 1"])
def test_names_and_docstrings_are_not_read_by_users(source: str) -> None:
    assert not faults(literals(PACKAGE / "x.py", source))
