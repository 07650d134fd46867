"""Nothing that widens: rules that a user accepted or wrote do not let another command, file, host or tool through."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.permissions.rules import BadRule, Rule, decide, parse_rule, propose
from tests.attack.conftest import StartServe

pytestmark = pytest.mark.attack

_CORPUS = Path(__file__).with_name("escapes.txt")
_RULE = re.compile(r"(Bash|Edit|Write|Read|WebFetch|mcp__\w+)(\(.*\))?")


def _escapes() -> list[tuple[str, str]]:
    lines = _CORPUS.read_text("utf-8").splitlines()
    pairs = [line.split(" => ") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return [(left, right) for left, right in pairs]


def _request(text: str, project: Path) -> PermissionRequest:
    filled = text.replace("{project}", str(project)).replace("{star}", "**")
    if not filled.startswith("{"):
        return PermissionRequest("Bash", {"command": filled}, "claude-code", cwd=str(project), session="s")
    given: dict[str, Any] = json.loads(filled)
    tool = given.pop("tool")
    return PermissionRequest(tool, given.pop("input", given), "claude-code", cwd=str(project), session="s")


def _rules(left: str, project: Path) -> list[Rule]:
    texts = [left] if _RULE.fullmatch(left) else propose(_request(left, project))
    try:
        return [parse_rule(text, "allow") for text in texts]
    except BadRule:
        return []


def _lay_out(project: Path) -> None:
    """The files and links of the corpus: a repository may hold every one of them."""
    outside = project.parent / "outside"
    outside.mkdir()
    for folder in ("src", "sub", "vendored", "evil", "**", ".git/hooks"):
        (project / folder).mkdir(parents=True, exist_ok=True)
    for link, target in (
        ("src/link.md", "../../outside/bashrc"),
        ("src/out", "../../outside"),
        ("src/up", ".."),
        ("src/self", "/proc/self"),
        ("self", "/proc/self"),
        ("link.md", "../outside/bashrc"),
        ("outlink", "../outside"),
        ("linked", "../outside"),
    ):
        (project / link).symlink_to(target)


@pytest.fixture
def project(folder: Path) -> Path:
    real = Path(os.path.realpath(folder))
    _lay_out(real)
    return real


def test_the_corpus_is_long_enough_and_says_nothing_twice() -> None:
    escapes = _escapes()
    assert len(escapes) >= 300
    assert len(set(escapes)) == len(escapes)


def test_no_rule_lets_an_escape_through(project: Path) -> None:
    allowed = []
    for left, right in _escapes():
        found = decide(_rules(left, project), _request(right, project))
        if found is not None:
            allowed.append(f"{left} => {right} (by {found.text})")
    assert allowed == []


def test_no_rule_lets_an_escape_through_that_nothing_marks_as_high_risk(project: Path) -> None:
    """The tables hold by themselves, not because a note happens to say high risk."""
    allowed = []
    for left, right in _escapes():
        found = decide(_rules(left, project), _request(right, project), high=False)
        if found is not None:
            allowed.append(f"{left} => {right} (by {found.text})")
    assert allowed == []


_OVER_HTTP = [
    "uv run rm -rf /home/me",
    "uv run sh -c id",
    "git fetch --upload-pack=./evil .",
    "git diff --output=/home/me/.bashrc",
    "git push --force",
    "make test SHELL=./evil",
    "docker run -v /:/h alpine",
    "sed -i s/a/b/ x",
    "cat link.md",
    "pytest -p evil",
    "npm run build --script-shell=./evil",
    "ls && chmod 777 .",
    "aws s3 rm s3://x",
    "kubectl delete pod x",
]


def test_wide_rules_let_nothing_through_over_http(serve: StartServe, project: Path) -> None:
    programs = ["uv run", "git", "make", "docker run", "sed", "cat", "pytest", "npm run", "ls", "aws", "kubectl"]
    rules = [{"rule": rule} for rule in ("Bash", "Edit(src/**)", "WebFetch(domain:github.com)", "mcp__git")]
    rules += [{"rule": f"Bash({program}:*)"} for program in programs]
    served = serve(PERMISSIONS__RULES=json.dumps(rules))

    def decided(tool: str, **given: Any) -> str:
        body = {"tool_name": tool, "input": given, "cwd": str(project)}
        status, answer = served.request("POST", "/mcp/permission/check", body)
        assert status == 200, answer
        return str(json.loads(answer)["behavior"])

    assert decided("Bash", command="git diff --stat && ls -la") == "allow", "the rules are in force"
    assert decided("Edit", file_path="src/a.py", old_string="", new_string="x") == "allow"
    assert decided("WebFetch", url="https://github.com/x") == "allow"
    for command in _OVER_HTTP:
        assert decided("Bash", command=command) == "deny", command
    assert decided("Bash", command="git status", env={"GIT_EXTERNAL_DIFF": "./evil"}) == "deny"
    for path in ("src/link.md", "src/out/x", "src/up/package.json"):
        assert decided("Write", file_path=path, content="x") == "deny", path
    for url in ("https://evil.example\\@github.com/x", "https://github.com@evil.example/", "https:evil.example"):
        assert decided("WebFetch", url=url) == "deny", url
    assert decided("mcp__git__evil__run") == "deny"
