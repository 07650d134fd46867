"""Deny and ask rules see a program wherever a line may run it."""

from __future__ import annotations

import pytest

from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.permissions.mentions import may_run
from ccproxy_tui.core.permissions.rules import decide, parse_rule

_LINES = r"""
rm x
/bin/rm x
./rm x
env rm x
env -i A=1 rm x
sudo rm x
sudo -u root /usr/bin/rm x
doas rm x
command rm x
builtin rm x
exec rm x
\rm x
r\m x
'r'm x
"rm" x
r''m x
nohup rm x
nice -n 5 rm x
time rm x
timeout 5 rm x
setsid rm x
xargs rm
ls | xargs -0 -n 1 rm
parallel rm ::: x
find . -exec rm {} ;
find . -name x -exec /bin/rm {} +
sh -c "rm x"
sh -c 'cd x; rm y'
bash -lc 'cd x && rm -rf y'
sh -c 'sh -c "rm x"'
eval "rm x"
eval rm\ x
busybox rm x
toybox rm x
su -c 'rm x'
ssh host rm x
ssh host 'rm x'
watch rm x
python -c "import os; os.system('rm x')"
echo $(rm x)
echo "$(rm x)"
echo `rm x`
cat <(rm x)
(rm x)
{ rm x; }
! rm x
if true; then rm x; fi
for x in a; do rm $x; done
A=1 rm x
A=1 B=2 /bin/rm x
git status && rm x
git status & rm x
git status || rm x
git status; rm x
git status | rm x
RM x
/bin/Rm x
/bin/r? x
/bin/r[m] x
$'\x72m' x
$'\162\155' x
$'\u0072m' x
r$@m x
r${x}m x
r$()m x
$X rm x
rm.exe x
uv run rm x
docker run alpine rm x
git -c alias.x='!rm x' x
make SHELL='rm x'
rm>x
rm<x
"""


@pytest.mark.parametrize("line", [*_LINES.strip().split("\n"), "ls\nrm x", "r\\\nm x", "x" * 30_000 + "; rm x"])
def test_a_deny_rule_for_rm_sees_it(line: str) -> None:
    deny = parse_rule("Bash(rm:*)", "deny")
    assert decide([deny], PermissionRequest("Bash", {"command": line}, "rest")) == deny


@pytest.mark.parametrize(
    "line",
    [
        *("git push", "git push origin", "/usr/bin/git push", "git -C x push", "git --no-pager push", "sudo git push"),
        *("git -c a=b push", "GIT push", "env git push", "echo $(git push)", "sh -c 'git push'", "x && git push -f"),
        *("git  'push'", "git --git-dir=x push", "git $X push", "git -C $X push"),
    ],
)
def test_a_deny_rule_for_a_verb_sees_it(line: str) -> None:
    ask = parse_rule("Bash(git push:*)", "ask")
    allow = parse_rule("Bash", "allow")
    assert may_run(line, ["git", "push"], whole=False)
    assert decide([ask, allow], PermissionRequest("Bash", {"command": line}, "rest")) is None


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        *((line, "rm") for line in ("grep rm src", "git commit -m 'rm old'", "echo rm", "ls rm", "git log --grep rm")),
        *((line, "rm") for line in ("npm run format", "cat rm.txt", "ls; echo 'rm x'", "echo $HOME/format", "rms")),
        *((line, "git push") for line in ("git commit -m push", "git log", "git diff push", "pushd git", "git pushx")),
    ],
)
def test_what_is_only_text_is_not_denied(line: str, wanted: str) -> None:
    assert not may_run(line, wanted.split(), whole=False)


def test_an_exact_deny_rule_is_for_the_exact_command() -> None:
    assert may_run("sudo git push", ["git", "push"], whole=True)
    assert not may_run("git push --dry-run", ["git", "push"], whole=True)
    assert may_run("echo $(git push)", ["git", "push"], whole=True), "in doubt, yes"
