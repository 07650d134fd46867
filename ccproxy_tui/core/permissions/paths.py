"""Where a path leads when a tool opens it: home folder, `..` and symbolic links resolved.

`resolve` follows links by the function that it is given. `read_link` is the one that looks at the disk, so it is for a
thread. A link may change between this look and the moment that the tool opens the file; only the tool could prevent it.
"""

from __future__ import annotations

import errno
import posixpath
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ReadLink = Callable[[str], str | None]
_MOST_LINKS = 40  # as Linux allows, path_resolution(7)
_LONGEST = 4096  # characters of a path, limits.h: PATH_MAX
_OF_A_PROCESS = ("/proc", "/dev/fd")  # whose links differ from process to process
_NO_LINK = frozenset({errno.EINVAL, errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Place:
    """`path` is absolute and without links, or empty where it is unknown; `link` is the first link on the way to it.

    `problem` tells why a tool may open another file than `path`; empty when there is no doubt.
    """

    path: str
    link: str = ""
    problem: str = ""

    def is_in(self, folder: str) -> bool:
        """Whether this is certain to be `folder` (an absolute path without links) or something in it."""
        return not self.problem and is_below(self.path, folder)


def read_link(path: str) -> str | None:
    """Return what the symbolic link at `path` holds, None where there is no link. Raises OSError, ValueError."""
    try:
        return str(Path(path).readlink())
    except OSError as error:
        if error.errno in _NO_LINK:
            return None
        raise


def is_in_bare_repository(folder: str, exists: Callable[[str], bool] = posixpath.exists) -> bool:
    """Return whether git, run in `folder`, would take files of a project for the settings of a repository.

    A clone can bring any folder but `.git`; one that holds HEAD is a repository to git, whose settings name programs.
    """
    place = posixpath.normpath(folder)
    while not exists(posixpath.join(place, ".git")):
        if exists(posixpath.join(place, "HEAD")):
            return True
        if place in ("/", "."):
            return False
        place = posixpath.dirname(place) or "."
    return False


def resolve(path: str, cwd: str, home: str, follow: ReadLink = read_link) -> Place:
    """Return where `path` leads for a tool that works in `cwd`. Never raises, whatever the texts are."""
    if any("\0" in text or len(text) > _LONGEST or not _is_utf8(text) for text in (path, cwd)):
        return Place("", problem="it is no path that a file can have")
    problem = _problem(path, cwd)
    whole = absolute(path, cwd, home)
    if not whole.startswith("/"):
        return Place("", problem=problem or "the folder that it starts in is not known")
    place = _walk(whole, follow)
    if "/.." in whole and not place.problem:
        by_text = _walk(posixpath.normpath(whole), follow)
        if by_text.path != place.path:  # some tools drop `..` before they open a file, others leave it to the system
            problem = problem or "it goes up from a link"
    return Place(place.path, place.link, problem or place.problem)


def absolute(path: str, cwd: str, home: str) -> str:
    """Return `path` from the root, with its links and `..` left in; relative where the folder is not known. Pure."""
    if path == "~" or path.startswith("~/"):
        return posixpath.join(home, path[2:])
    return posixpath.join(cwd, path)


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or in it, by the texts alone. Pure."""
    whole, base = (f"/{posixpath.normpath(one).lstrip('/')}" for one in (path or "/", folder))
    return whole == base or whole.startswith(f"{base.rstrip('/')}/")


def _problem(path: str, cwd: str) -> str:
    """Why tools may read the text in different ways."""
    if not path:
        return "it is empty"
    if path.startswith("~"):
        return "it begins with ~, which only some tools take for the home folder"
    if path != path.strip():
        return "it begins or ends with a space"
    if unicodedata.normalize("NFC", path) != path:
        return "its letters have more than one spelling"
    return "" if path.startswith("/") or cwd.startswith("/") else "the folder that it starts in is not known"


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _walk(whole: str, follow: ReadLink) -> Place:
    """Go from name to name as the system does: `..` leaves the folder that a link has led to."""
    done, link, links = "", "", 0
    todo = whole.split("/")[::-1]
    while todo:
        name = todo.pop()
        if name == "..":
            done = posixpath.dirname(done)
        if name in ("", ".", ".."):
            continue
        done = f"{done.rstrip('/')}/{name}"
        if any(is_below(done, folder) for folder in _OF_A_PROCESS):
            return Place(done, link, "it leads through the files of a process")
        try:
            target = follow(done)
        except (OSError, ValueError):
            return Place(done, link, "it can't be followed on the disk")
        if target is None:
            continue
        link, links = link or done, links + 1
        if links > _MOST_LINKS:
            return Place(done, link, "its links lead in a circle")
        done = "" if target.startswith("/") else posixpath.dirname(done)
        todo += target.split("/")[::-1]
    return Place(done or "/", link)
