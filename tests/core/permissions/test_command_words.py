"""What a command line names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.permissions.command_words import LONGEST, is_outside, read_command


@pytest.mark.parametrize(
    ("line", "programs"),
    [
        ("ls -la", ["ls"]),
        ("make && ./run.sh | tee log; git status &", ["make", "./run.sh", "tee", "git"]),
        ("A=1 B=2 python -m x", ["python"]),
        ("sudo -u root env A=b nice -n 5 rm x", ["sudo", "env", "nice", "rm"]),
        ("find . | xargs -I {} -n 3 rm {}", ["find", "xargs", "rm"]),
        ("timeout 30 curl x", ["timeout", "curl"]),
        ("for f in *.py; do cat $f; done", ["cat"]),
        ("if test -f a; then rm a; fi", ["test", "rm"]),
        ("echo $(id -u) `date`", ["echo", "id", "date"]),
        ("ls # rm x", ["ls"]),
        ("cat <<'EOF' > a\nrm b\nEOF\nmake", ["cat", "make"]),
        ("git commit -m 'rm; x'", ["git"]),
        ("a \\\n b", ["a"]),
        ("ls ls; ls", ["ls"]),
        ("", []),
    ],
)
def test_programs(line: str, programs: list[str]) -> None:
    assert read_command(line).programs == programs


def test_paths_are_told_from_where_a_cd_leads() -> None:
    found = read_command("cd build && rm a 'b c' > log; cp x y ../z; cd /srv; tee q 2>err >&2")
    assert found.deletes == ["build/a", "build/b c"]
    assert found.writes == ["build/log", "z", "/srv/err", "/srv/q"]
    assert read_command("cd; touch a; cd ..; touch b ~/c").writes == ["~/a", "~/../b", "~/c"]


@pytest.mark.parametrize("path", ["..", "/", "/repo2", "~", "~/x", "$HOME/x", "a/../../b"])
def test_outside(path: str) -> None:
    assert is_outside(path, "/repo")


@pytest.mark.parametrize("path", [".", "/repo", "/repo/a", "a/../b", "a$b"])
def test_inside(path: str) -> None:
    assert not is_outside(path, "/repo")


ODD = ('"', "'", "\\", "`", "$(", ")", "<<A", "<<", "\n", "&&", ">", ">&", "2>", "#", "sudo ", "cd ", "a", " ", "-")


@given(st.text() | st.lists(st.sampled_from(ODD)).map("".join))
def test_any_line_is_read(line: str) -> None:
    found = read_command(line)
    assert all(found.programs)


@pytest.mark.parametrize("odd", ODD)
def test_what_repeats_is_read_in_time(odd: str) -> None:
    """By the guard of the test's own time-out: each of these would take hours if it were tried in every way."""
    read_command(odd * LONGEST)
