"""Reading files that decide what this program does: only such as no other user can have written, and never for long.

The owner of a file, of a link to it and of its folder must be you or root (who can do everything anyway), and other
users must not be able to write to them. The group may, where it is your own: many systems give each user a group of the
same name. A folder such as /tmp, in which everyone writes, counts only for files of your own (it is sticky).
The same class of attack on git: https://nvd.nist.gov/vuln/detail/CVE-2022-24765
"""

from __future__ import annotations

import functools
import grp
import hashlib
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path

LIMIT = 1 << 20  # bytes of one file
PROJECT_LIMIT = 64 << 10  # of one in a project folder
TOML_NAMES = (".ccproxy.toml", "ccproxy.toml")
DOTENV_NAME = ".env"


# Readers of both formats need the square of these: seconds to hours for a small file that was made for it.
_SLOW = re.compile(r"[^\S\n]{200}")
_MOST_DOTS = 100


class Refused(Exception):
    """A file is there and is not used; the message says why."""


@dataclass(frozen=True, slots=True)
class FileBytes:
    """What one read of a file gave: everything that is decided about it is decided about these bytes."""

    path: Path
    data: bytes
    mode: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def text(self) -> str:
        """Raises Refused."""
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused("it is not UTF-8 text") from None

    @property
    def quick_text(self) -> str:
        """The text, if it is certain to be parsed in little time. Raises Refused."""
        text = self.text
        if _SLOW.search(text) or (self.path.suffix == ".toml" and _has_long_keys(text)):
            raise Refused("it is not a settings file")
        return text


def _has_long_keys(text: str) -> bool:
    return any(line.count(".") > _MOST_DOTS for line in text.splitlines())


def read_own(path: Path, *, limit: int = LIMIT) -> FileBytes | None:
    """Return the content of a file that no other user can have written; None when there is none.

    Reads at most `limit` bytes, and never waits (a FIFO, a device). Raises Refused.
    """
    try:
        link = path.lstat()
        _check(link, "it")
        check_folder(path.parent)
        if stat.S_ISLNK(link.st_mode):
            check_folder(Path(os.path.realpath(path)).parent)
        info = path.stat()
        _check(info, "what it links to" if stat.S_ISLNK(link.st_mode) else "it")
        if not stat.S_ISREG(info.st_mode):
            raise Refused("it is not a regular file")
        return _read(path, limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"it can't be read: {error.strerror or error}") from error


def _read(path: Path, limit: int) -> FileBytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        _check(info, "it")
        if not stat.S_ISREG(info.st_mode):
            raise Refused("it is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Refused(f"it is larger than {limit // 1024} KB")
    return FileBytes(path, data, stat.S_IMODE(info.st_mode))


def check_folder(folder: Path) -> None:
    """Raises Refused when another user could put files into the folder, and OSError."""
    _check(folder.stat(), f"its folder {folder}")


def _check(info: os.stat_result, what: str) -> None:
    if info.st_uid not in (os.geteuid(), 0):
        raise Refused(f"{what} belongs to another user (uid {info.st_uid})")
    if stat.S_ISLNK(info.st_mode) or (stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX):
        return
    if info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and not _is_own_group(info.st_gid)):
        raise Refused(f"{what} can be written by other users (mode {stat.S_IMODE(info.st_mode):o})")


@functools.cache
def _is_own_group(gid: int) -> bool:
    """Whether a group holds this user alone."""
    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user and not set(group.gr_mem) - {user}


def project_folders(cwd: Path) -> list[tuple[Path, str]]:
    """Return where project files are looked for, nearest first: the folder, and the root of its repository.

    With each, why nothing in it counts ("" when it does). The way from the folder up to the root must be free of other
    users' folders: whoever owns one of them chooses where the repository begins.
    """
    folder = Path(os.path.realpath(cwd))
    root = next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)
    if root is None or root == folder:
        return [(folder, "")]
    return [(folder, ""), (root, _problem_of_way(folder, root))]


def _problem_of_way(folder: Path, root: Path) -> str:
    way = [one for one in (folder, *folder.parents) if one.is_relative_to(root)]
    try:
        for one in way:
            _check(one.stat(), f"the folder {one}")
        _check((root / ".git").lstat(), f"{root / '.git'}")
    except Refused as problem:
        return str(problem)
    except OSError as error:
        return f"it can't be read: {error.strerror or error}"
    return ""
