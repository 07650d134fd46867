"""A path is resolved as the tool that opens it would; what may be read in two ways has a problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.permissions.paths import Place, absolute, is_below, is_in_bare_repository, resolve


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with links as a repository may hold them."""
    top = Path(os.path.realpath(tmp_path)) / "project"
    (top / "src" / "deep").mkdir(parents=True)
    (top.parent / "outside").mkdir()
    for name, target in (
        ("src/notes.md", "../../outside/bashrc"),  # dangling until it is written
        ("src/out", "../../outside"),
        ("src/inner", "deep"),
        ("src/absolute", str(top / "src" / "deep")),
        ("src/twice", "out/again"),
        ("../outside/again", "./bashrc"),
        ("loop", "loop"),
        ("self", "/proc/self/cwd"),
    ):
        (top / name).symlink_to(target)
    return top


@pytest.mark.parametrize(
    ("path", "leads", "link"),
    [
        ("src/a.py", "project/src/a.py", ""),
        ("./src//deep/./a.py", "project/src/deep/a.py", ""),
        ("src/new/../a.py", "project/src/a.py", ""),
        ("src/notes.md", "outside/bashrc", "project/src/notes.md"),
        ("src/out/x", "outside/x", "project/src/out"),
        ("src/inner/x", "project/src/deep/x", "project/src/inner"),
        ("src/absolute/x", "project/src/deep/x", "project/src/absolute"),
        ("src/twice", "outside/bashrc", "project/src/twice"),
        ("../outside/x", "outside/x", ""),
        ("src", "project/src", ""),
        ("src/", "project/src", ""),
        (".", "project", ""),
    ],
)
def test_links_are_followed(project: Path, path: str, leads: str, link: str) -> None:
    place = resolve(path, str(project), "/home/me")
    top = project.parent
    assert place == Place(str(top / leads), str(top / link) if link else "")
    assert place.path == os.path.realpath(project / path), "the system's own way"
    assert place.is_in(str(project)) is leads.startswith("project")


@pytest.mark.parametrize(
    "path",
    [
        "src/out/../x",  # /project/src/x or /x: by the text, or by the link
        *("loop", "loop/x", "self/x", "/proc/self/root/etc/x", "/proc/1/cwd/x", "/dev/fd/3", "~/x", "~", "~root/x"),
        *("", "a\0b", "\ud800", " src/a.py", "src/a.py ", "src/a.py\n", "e\u0301", "x" * 300, "x/" * 3000),
    ],
)
def test_a_path_that_tools_read_differently_has_a_problem(project: Path, path: str) -> None:
    place = resolve(path, str(project), "/home/me")
    assert place.problem
    assert not place.is_in("/")


@pytest.mark.parametrize("cwd", ["", "relative", "~/x", "a\0b"])
def test_without_a_folder_a_relative_path_is_not_known(cwd: str) -> None:
    assert resolve("src/a.py", cwd, "/home/me").problem


def test_a_folder_that_may_not_be_looked_into_is_a_problem() -> None:
    def refuse(path: str) -> str | None:
        raise PermissionError(13, "Permission denied", path)

    assert resolve("/a/b", "/", "/", refuse).problem


def test_a_bare_repository_within_a_project_is_seen(project: Path) -> None:
    (project / "evil" / "refs").mkdir(parents=True)
    (project / "evil" / "HEAD").touch()
    assert not is_in_bare_repository(str(project / "src"))
    assert is_in_bare_repository(str(project / "evil"))
    assert is_in_bare_repository(str(project / "evil" / "refs"))
    (project / ".git").mkdir()
    assert is_in_bare_repository(str(project / "evil" / "refs"))
    assert not is_in_bare_repository(str(project))


def test_a_file_in_place_of_a_folder_is_no_link(project: Path) -> None:
    (project / "file").touch()
    assert resolve("file/x", str(project), "/home/me") == Place(str(project / "file" / "x"))


def test_the_home_folder_is_known_and_yet_in_doubt() -> None:
    place = resolve("~/.bashrc", "/repo", "/home/me", lambda _: None)
    assert place.path == "/home/me/.bashrc"
    assert place.problem


@pytest.mark.parametrize(
    ("path", "folder", "yes"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a/", True),
        ("/ab", "/a", False),
        ("/a/../b", "/a", False),
        ("/anything", "/", True),
        ("//a/b", "/a", True),
    ],
)
def test_below(path: str, folder: str, yes: bool) -> None:
    assert is_below(path, folder) is yes


@given(st.text(), st.text(), st.text())
def test_any_text_is_resolved_or_has_a_problem(path: str, cwd: str, home: str) -> None:
    place = resolve(path, cwd, home)
    assert place.problem or place.path.startswith("/")
    assert absolute(path, cwd, home) is not None
