"""Rules allow what they say, and nothing that can't be read for certain."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.permissions.rules import NEVER, BadRule, decide, parse_rule, propose
from ccproxy_tui.core.permissions.shell import split_command


def asks(tool: str, cwd: str = "/repo", session: str = "s", **given_: Any) -> PermissionRequest:
    return PermissionRequest(tool, given_, "claude-code", cwd=cwd, session=session)


def allowed(command: str, *rules: str) -> bool:
    found = decide([parse_rule(rule, "allow") for rule in rules], asks("Bash", command=command))
    return found is not None and found.action == "allow"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("git diff --stat", [["git", "diff", "--stat"]]),
        ("a && b || c; d | e", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("ls 2>&1", [["ls"]]),
        ("ls > /dev/null", [["ls"]]),
        ("echo 'a; b' \"c && d\"", [["echo", "a; b", "c && d"]]),
        ("ls;", [["ls"]]),
        ("ls 2>/dev/null|cat", [["ls"], ["cat"]]),
        ("echo ';' b '$x' \"it's\"", [["echo", ";", "b", "$x", "it's"]]),
        ("git commit -m 'two\nlines' --author=a\"b c\"d", [["git", "commit", "-m", "two\nlines", "--author=ab cd"]]),
    ],
)
def test_plain_lines_have_parts(line: str, parts: list[list[str]]) -> None:
    assert split_command(line) == parts


UNREADABLE = r"""
echo $(id)
echo `id`
echo $HOME
echo "$(id)"
ls > file
ls >> file
cat < file
(ls)
{ ls; }
ls & rm x
A=1 ls
ls *
echo 'open
ls # x
ls &&
&& ls
a ;; b
echo \\; rm
ls ~
echo {a,b}
! ls
echo "a`b`"
ls 2> err
ls |& cat
<(ls)
echo "it's" `id` "that's"
echo "a'b" $HOME "c'd"
echo "x'" * "'"
ls >/dev/nullx
ls 12>/dev/null
ls 2>&1x
foo2>/dev/null
while ls; do rm x; done
if ls; then rm x; fi
PATH+=x ls
=ls
"""


@pytest.mark.parametrize(
    "line",
    [
        "",
        "cat <<EOF\nx\nEOF",
        "a\nb",
        "echo a\\\nb",
        "ls \x1b",
        "ls \u202e",
        "ls\xa0x",
        *UNREADABLE.strip().split("\n"),
    ],
)
def test_everything_else_has_none(line: str) -> None:
    assert split_command(line) is None


@pytest.mark.parametrize(
    ("command", "rules", "yes"),
    [
        ("git diff", ("Bash(git diff:*)",), True),
        ("git diff --stat a", ("Bash(git diff:*)",), True),
        ("git difftool", ("Bash(git diff:*)",), False),
        ("git push", ("Bash(git diff:*)",), False),
        ("git diff && git push", ("Bash(git diff:*)",), False),
        ("git diff && ls -la", ("Bash(git diff:*)", "Bash(ls:*)"), True),
        ("git diff | sh", ("Bash(git diff:*)", "Bash"), False),
        ("git diff; rm -rf x", ("Bash",), False),
        ("git diff $(rm x)", ("Bash(git diff:*)",), False),
        ("git diff > x", ("Bash(git diff:*)",), False),
        ("make test", ("Bash(make test)",), True),
        ("make test all", ("Bash(make test)",), False),
        ("./ls", ("Bash(ls:*)", "Bash"), False),
        ("ls", ("Read", "mcp__x"), False),
        ("make 'test all'", ("Bash(make test all)",), False),
        ("git commit -m 'a b'", ("Bash(git commit -m 'a b')",), True),
        ("RM x", ("Bash",), False),
        ("python3.13 x", ("Bash",), False),
        ("command rm x", ("Bash",), False),
    ],
)
def test_commands(command: str, rules: tuple[str, ...], yes: bool) -> None:
    assert allowed(command, *rules) is yes


@pytest.mark.parametrize("program", sorted(NEVER))
def test_some_programs_are_never_allowed(program: str) -> None:
    assert not allowed(f"{program} x", "Bash")
    with pytest.raises(BadRule):
        parse_rule(f"Bash({program}:*)", "allow")
    assert propose(asks("Bash", command=f"{program} x")) == []


def test_a_line_that_another_tool_takes_is_not_a_shell_s() -> None:
    rules = [parse_rule("Bash(ls:*)", "allow")]
    assert decide(rules, asks("exec_command", cmd="ls")) is not None
    assert decide(rules, asks("mcp__remote__run", command="ls")) is None
    assert decide(rules, asks("exec_command", cmd="ls", command="rm x")) is None, "which of the two would run?"


@pytest.mark.parametrize(
    ("rule", "request_", "yes"),
    [
        ("Edit(src/**)", asks("Edit", file_path="/repo/src/a/b.py"), True),
        ("Edit(src/**)", asks("Write", file_path="src/b.py"), True),
        ("Edit(src/*)", asks("Edit", file_path="/repo/src/a/b.py"), False),
        ("Edit(src/**)", asks("Edit", file_path="/repo/src/../secret"), False),
        ("Edit(src/**)", asks("Edit", file_path="/etc/src/x"), False),
        ("Edit(**/*.py)", asks("Edit", file_path="/repo/a.py"), True),
        ("Read(//etc/**)", asks("Read", file_path="/etc/hosts"), True),
        ("Edit(~/**)", asks("Edit", file_path="~/x"), False),
        ("WebFetch(domain:example.org)", asks("WebFetch", url="https://docs.example.org/x"), True),
        ("WebFetch(domain:example.org)", asks("WebFetch", url="https://example.org.evil.com/"), False),
        ("WebFetch(domain:example.org)", asks("WebFetch", url="https://evilexample.org/"), False),
        ("mcp__git", asks("mcp__git__log"), True),
        ("mcp__git__log", asks("mcp__git__push"), False),
        ("mcp__git", asks("mcp__github__x"), False),
    ],
)
def test_other_tools(rule: str, request_: PermissionRequest, yes: bool) -> None:
    assert (decide([parse_rule(rule, "allow")], request_) is not None) is yes


@pytest.mark.parametrize(
    ("rule", "request_"),
    [
        ("Bash(npm run build)", asks("Bash", command="npm run build")),
        ("Bash", asks("Bash", command="ls -la && git status")),
        ("Edit(src/**)", asks("Edit", file_path="src/a.py")),
        ("mcp__git", asks("mcp__git__log")),
        ("WebFetch(domain:a.org)", asks("WebFetch", url="https://a.org/")),
    ],
)
def test_an_allow_rule_never_answers_a_high_risk_request(rule: str, request_: PermissionRequest) -> None:
    allow = parse_rule(rule, "allow")
    assert decide([allow], request_) == allow
    assert decide([allow], request_, high=True) is None
    deny = parse_rule(rule, "deny")
    assert decide([deny, allow], request_, high=True) == deny


def test_the_risk_is_looked_at_where_it_is_not_given() -> None:
    rule = parse_rule("mcp__x__run", "allow")
    assert decide([rule], asks("mcp__x__run", text="plain")) == rule
    assert decide([rule], asks("mcp__x__run", text="~/.ssh/id_rsa")) is None


@pytest.mark.parametrize("text", ["Bash(*)", "Bash(:*)", "Bash(**)", "Bash(a && rm x)", "Bash(ls; sudo ls)"])
def test_some_allow_rules_can_only_be_a_mistake(text: str) -> None:
    with pytest.raises(BadRule):
        parse_rule(text, "allow")
    assert parse_rule(text, "deny")


@pytest.mark.parametrize(
    ("rule", "command", "yes"),
    [
        ("Bash(make:*)", "make test", True),
        ("Bash(make:*)", "make test X=1", False),
        ("Bash(npm run:*)", "npm run build", True),
        ("Bash(npm run:*)", "npm run env", False),
        ("Bash(uv run:*)", "uv run pytest -q tests", True),
        ("Bash(uv run:*)", "uv run deploy", False),
        ("Bash(deploy staging:*)", "deploy staging", True),
        ("Bash(deploy staging:*)", "deploy staging now", False),
        ("Bash(a && b)", "a && b", True),
        ("Bash(a && b)", "a || b", False),
        ("Bash(a && b)", "a", False),
        ("Bash(make test)", "cd sub && make test", False),
        ("Bash(make test)", "cd /repo && make test", True),
        ("Bash(git status:*)", "cd sub && git status", False),
        ("Bash(ls:*)", "cd sub && ls x", True),
        ("Bash(ls:*)", "cd sub && ls ../..", False),
        ("Bash(ls:*)", "cd && ls", False),
        ("Bash(ls:*)", "pushd sub && ls", False),
    ],
)
def test_what_a_rule_written_by_hand_covers(rule: str, command: str, yes: bool) -> None:
    rules = [rule, "Bash(cd:*)", "Bash(pushd sub)"]
    assert allowed(command, *rules) is yes


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is reached by a link, with links inside that lead out of it and about in it."""
    real = tmp_path.resolve() / "real"
    for folder in ("src/deep", "lib", ".git/hooks"):
        (real / folder).mkdir(parents=True)
    for name, target in (("src/out", "../../x"), ("src/lib", "../lib"), ("linked", "../x"), ("up", ".")):
        (real / name).symlink_to(target)
    (tmp_path / "project").symlink_to("real")
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("rule", "path", "yes"),
    [
        ("Edit(src/**)", "src/a.py", True),
        ("Edit(src/**)", "{project}/src/deep/a.py", True),
        ("Edit(src/**)", "src/../src/a.py", True),
        ("Edit(src/**)", "src/out", False),
        ("Edit(src/**)", "src/out/a", False),
        ("Edit(src/**)", "src/lib/a.py", False),
        ("Edit(lib/**)", "src/lib/a.py", True),
        ("Edit(linked/**)", "linked/a", False),
        ("Edit(**)", "linked/a", False),
        ("Edit", "linked/a", False),
        ("Edit", "src/a.py", True),
        ("Edit(src/**)", "up/src/a.py", True),
    ],
)
def test_a_file_is_where_its_links_lead(project: Path, rule: str, path: str, yes: bool) -> None:
    asked = asks("Edit", cwd=str(project), file_path=path.replace("{project}", str(project)))
    assert (decide([parse_rule(rule, "allow")], asked, high=False) is not None) is yes


def test_a_project_is_where_its_links_lead(project: Path) -> None:
    rule = parse_rule("Bash(ls:*)", "allow", project=str(project))
    assert decide([rule], asks("Bash", cwd=str(project / "src"), command="ls")) == rule
    assert decide([rule], asks("Bash", cwd=str(project / "src/../lib"), command="ls")) == rule
    for elsewhere in ("linked", "src/out", "../real/../x", "up/../../x"):
        assert decide([rule], asks("Bash", cwd=str(project / elsewhere), command="ls")) is None, elsewhere
    (project.parent / "x").mkdir()
    assert decide([rule], asks("Bash", cwd=str(project / "linked"), command="ls")) is None


@pytest.mark.parametrize(
    ("rule", "request_"),
    [
        ("Edit(secrets/**)", asks("Edit", file_path="SECRETS/a")),
        ("Edit(secrets/**)", asks("Write", file_path="/repo/src/../secrets/a")),
        ("Read(.env)", asks("Read", file_path="sub/.env")),
        ("Read(.env)", asks("Read", file_path="a", path="/repo/.env")),
        ("Read(//etc/**)", asks("Read", file_path="/etc/hosts")),
        ("Read(/etc/**)", asks("Read", file_path="/etc/hosts")),
        ("Read(~/.ssh/**)", asks("Read", file_path="~/.ssh/id")),
        ("Read(secrets/**)", asks("Read", file_path="a\0b")),
        ("Read(secrets/**)", asks("Read")),
        ("Read(*)", asks("Read", file_path="/x")),
        ("WebFetch(domain:evil.example)", asks("WebFetch", url="https://evil.example\\@github.com/")),
        ("WebFetch(domain:evil.example)", asks("WebFetch", url="https://a.EVIL.example./")),
        ("WebFetch(domain:evil.example)", asks("WebFetch", url="https:evil.example")),
        ("WebFetch(domain:127.0.0.1)", asks("WebFetch", url="http://0x7f.1/")),
        ("WebFetch(domain:evil.example)", asks("WebFetch", url="evil.example/x")),
        ("mcp__git", asks("mcp__git__a__b")),
        ("Bash(*)", asks("Bash", command="ls")),
        ("Bash(:*)", asks("Bash", command="$(x)")),
        ("Bash(rm *)", asks("Bash", command="rm x")),
        ("Bash(git push*)", asks("Bash", command="git push x")),
    ],
)
def test_deny_rules_take_what_may_be_meant(rule: str, request_: PermissionRequest) -> None:
    deny = parse_rule(rule, "deny")
    assert decide([deny], request_) == deny


def test_no_rule_runs_git_in_a_repository_that_a_clone_brought(project: Path) -> None:
    (project / "lib" / "HEAD").touch()
    rules = [parse_rule(text, "allow") for text in ("Bash(git status:*)", "Bash(git push)")]
    for command in ("git status", "git push"):
        assert decide(rules, asks("Bash", cwd=str(project), command=command))
        assert decide(rules, asks("Bash", cwd=str(project / "lib"), command=command)) is None


def test_a_patch_of_a_denied_file_is_denied() -> None:
    patch = "*** Begin Patch\n*** Update File: secrets/a\n@@\n-a\n+b\n*** End Patch"
    deny = parse_rule("Edit(secrets/**)", "deny")
    assert decide([deny], asks("apply_patch", input=patch)) == deny
    assert decide([deny], asks("apply_patch", input=patch.replace("secrets", "src"))) is None


def test_a_link_into_a_denied_folder_is_denied(project: Path) -> None:
    deny = parse_rule("Edit(lib/**)", "deny")
    for path in ("lib/a", "src/lib/a", "up/lib/a", f"{project}/lib/a"):
        assert decide([deny], asks("Edit", cwd=str(project), file_path=path)) == deny
    assert decide([deny], asks("Edit", cwd=str(project), file_path="src/a")) is None


def test_deny_comes_before_ask_and_ask_before_allow() -> None:
    allow, ask, deny = (
        parse_rule(*one) for one in (("Bash", "allow"), ("Bash(git:*)", "ask"), ("Bash(git push:*)", "deny"))
    )
    rules = [allow, ask, deny]
    assert decide(rules, asks("Bash", command="ls")) == allow
    assert decide(rules, asks("Bash", command="git log")) is None
    assert decide(rules, asks("Bash", command="ls && git push")) == deny
    assert decide(rules, asks("Bash", command="echo $(git push)")) == deny, "in doubt, no"


def test_scopes_narrow() -> None:
    rule = parse_rule("Bash(ls:*)", "allow", project="/repo", session="s")
    assert decide([rule], asks("Bash", command="ls")) == rule
    assert decide([rule], asks("Bash", command="ls", cwd="/repo/sub")) == rule
    assert decide([rule], asks("Bash", command="ls", cwd="/workshop")) is None
    assert decide([rule], asks("Bash", command="ls", session="t")) is None


@pytest.mark.parametrize(
    ("request_", "rules"),
    [
        (asks("Bash", command="git diff --stat | head -5"), ["Bash(git diff:*)", "Bash(head:*)"]),
        (asks("Bash", command="npm run build --x"), ["Bash(npm run build --x)"]),
        (asks("Bash", command="cd sub && make test"), ["Bash(cd sub && make test)"]),
        (asks("Bash", command="bundle exec rspec"), ["Bash(bundle exec rspec)"]),
        (asks("Bash", command="uv run sh x"), []),
        (asks("Bash", command="git commit -m 'a\nb'; make"), []),
        (asks("Bash", command=["git", "diff"]), ["Bash(git diff:*)"]),
        (asks("Bash", command="ls", env={"A": "b"}), []),
        (asks("mcp__remote__run", command="uv run x"), []),
        (asks("Edit", file_path="/repo/**/a.py"), []),
        (asks("Edit", file_path="/elsewhere/a/b.py"), []),
        (asks("WebFetch", url="https://a@b.org/x"), []),
        (asks("Bash", command="echo $(x)"), []),
        (asks("Bash", command="'my prog' x"), []),
        (asks("Edit", file_path="/repo/src/a.py"), ["Edit(src/**)"]),
        (asks("Edit", file_path="/repo/a.py"), []),
        (asks("WebFetch", url="https://a.org/x"), ["WebFetch(domain:a.org)"]),
        (asks("mcp__git__log"), ["mcp__git__log"]),
        (asks("Task", prompt="x"), []),
    ],
)
def test_proposals_allow_what_they_were_made_from(request_: PermissionRequest, rules: list[str]) -> None:
    assert propose(request_) == rules
    if rules:
        assert decide([parse_rule(rule, "allow") for rule in rules], request_) is not None


@pytest.mark.parametrize("text", ["", "Bash(", "Bash()", "(x)", "5", "Bash(ls) x", "Ba sh"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(BadRule):
        parse_rule(text, "allow")


@given(st.text())
def test_any_line_is_split_or_refused(line: str) -> None:
    parts = split_command(line)
    assert parts is None or all(parts)


_KEYS = st.sampled_from(
    ("command", "cmd", "script", "file_path", "path", "notebook_path", "url", "workdir", "env", "description")
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(), inner, max_size=4),
    max_leaves=8,
)
_TOOLS = st.sampled_from(("Bash", "shell", "Edit", "Write", "NotebookEdit", "Read", "WebFetch", "mcp__a__b", "Task"))
_EACH = ("Bash", "Bash(git diff:*)", "Bash(make)", "Edit", "Edit(src/**)", "Read(//etc/**)", "Read(~/x)", "WebFetch")
_RULES = [
    parse_rule(text, action)
    for text in (*_EACH, "WebFetch(domain:a.org)", "mcp__a", "mcp__a__b", "Task")
    for action in ("allow", "deny")
]


@given(_TOOLS, _JSON | st.dictionaries(_KEYS, _JSON), st.text() | st.just("/repo"), st.integers(0, len(_RULES) - 1))
def test_any_input_is_decided_and_proposed_for(tool: str, input_: Any, cwd: str, place: int) -> None:
    """Odd input costs no decision, and no rule is proposed that would not have allowed it."""
    request = PermissionRequest(tool, input_, "rest", cwd=cwd)
    found = decide(_RULES[place : place + 1], request)
    assert found in (None, _RULES[place])
    texts = propose(request)
    assert not texts or decide([parse_rule(text, "allow") for text in texts], request, high=False)


_FRAGMENTS = (
    *("a", "b", "c1", "2", "it's", "-x", " ", "  ", "\t", "\n", "'", '"', "\\", "=", "#", "~", "!", "*", "{a,b}"),
    *(";", "&&", "||", "|", "&", ">", "<", "2>&1", ">/dev/null", "2> /dev/null", "`a`", "$(a)", "$X", "(", ")"),
)
_BARE = st.sampled_from(_FRAGMENTS)
_INSIDE = st.lists(_BARE, max_size=3).map("".join)
_QUOTED = _INSIDE.map(lambda text: "'" + text.replace("'", "") + "'") | _INSIDE.map(
    lambda text: '"' + text.replace('"', "") + '"'
)
_BASH = shutil.which("bash") or "/bin/bash"
_TELL = '''command_not_found_handle() { printf '%s\\0' "$@" $'\\1' >&3; }; exec 3>"$2"; eval -- "$1"'''


@settings(max_examples=5 * settings.default.max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_BARE | _QUOTED, max_size=8).map("".join))
def test_bash_runs_nothing_but_the_parts(tmp_path: Path, line: str) -> None:
    """The oracle: a bash that finds no program, and tells what it would have run."""
    parts = split_command(line)
    if parts is None:
        return
    (tmp_path / "a file").touch()
    told = tmp_path / "told"
    command = [_BASH, "-c", _TELL, "bash", line, str(told)]
    subprocess.run(command, cwd=tmp_path, env={"PATH": "/nowhere"}, check=False, timeout=20)
    ran = [words.split("\0")[:-1] for words in told.read_text("utf-8").split("\1\0")[:-1]]
    assert ran or "/" in parts[0][0], "bash looks for no program with a slash in its name"
    assert all(words in parts for words in ran), (line, ran, parts)


@given(st.text(alphabet="ab$`(){}<>&|;\\\"' \n*", max_size=30))
def test_a_dangerous_line_is_never_allowed_by_a_narrow_rule(tail: str) -> None:
    line = f"git diff {tail}; rm x"
    assert not allowed(line, "Bash(git diff:*)")
    assert not allowed(f"git diff $(rm x) {tail}", "Bash(git diff:*)") or "'" in tail


@pytest.mark.parametrize("tool", ["mcp__a b", "mcp__x(y", "mcp__", "mcp__a\u202e"])
def test_a_tool_whose_name_no_rule_can_say_has_no_proposal(tool: str) -> None:
    for text in propose(PermissionRequest(tool, {}, "rest")):
        assert parse_rule(text, "allow").tool == tool


def test_a_path_in_the_name_of_a_field_is_a_path(tmp_path: Path) -> None:
    rule = parse_rule("mcp__files", "allow")
    inside = PermissionRequest("mcp__files__move", {"moves": {"a.txt": "b.txt"}}, "claude-code", cwd=str(tmp_path))
    outside = PermissionRequest(
        "mcp__files__move", {"moves": {"/etc/passwd": "b.txt"}}, "claude-code", cwd=str(tmp_path)
    )
    assert decide([rule], inside, high=False) is rule
    assert decide([rule], outside, high=False) is None
