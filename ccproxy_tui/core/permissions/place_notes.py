"""Where the files of a permission request really are: links that lead elsewhere, files that a command empties.

This looks at the disk, so it is for a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ccproxy_tui.core.permissions.command_words import read_command
from ccproxy_tui.core.permissions.paths import Place, is_below, resolve
from ccproxy_tui.core.permissions.risk import command_of, holds_secrets, path_of, written_paths
from ccproxy_tui.core.permissions.runs_later import runs_later
from ccproxy_tui.core.text.escape import cut

_MOST = 100  # files that are looked for on the disk
_LONGEST = 200  # characters of a path in a note


class _Named(NamedTuple):
    path: str
    is_written: bool


def place_notes(tool: str, given: Any, cwd: str) -> list[str]:
    """Return notes on the links among the files that a tool or a command names."""
    home = str(Path.home())
    base = resolve(cwd, "/", home).path if cwd.startswith("/") else ""
    notes: list[str] = []
    for named in list(dict.fromkeys(_named(tool, given)))[:_MOST]:
        place = resolve(_from(named.path, cwd, base), base, home)
        if place.link:
            notes += _of_link(named, place, base)
        elif named.is_written and place.problem and not named.path.startswith("~"):
            notes.append(f"could not be resolved: {cut(named.path, _LONGEST)} ({place.problem})")
    return list(dict.fromkeys(notes))


def _named(tool: str, given: Any) -> Iterator[_Named]:
    yield from (_Named(path, True) for path in written_paths(tool, given))
    if path := path_of(given):
        yield _Named(path, False)
    if command := command_of(tool, given):
        words = read_command(command)
        known = [path for path in (*words.writes, *words.deletes, *words.paths) if not set("$*?`") & set(path)]
        yield from (_Named(path, path in words.writes) for path in known)


def _from(path: str, cwd: str, base: str) -> str:
    """A path below the working folder, from where that folder really is: its own links are not of interest."""
    if base and path.startswith("/") and is_below(path, cwd) and "/.." not in path:
        return base + path[len(cwd.rstrip("/")) :]
    return path


def _of_link(named: _Named, place: Place, base: str) -> list[str]:
    leads = f"{cut(named.path, _LONGEST)} is a link to {cut(place.path, _LONGEST)}"
    notes = [f"touches a place where secrets lie: {leads}"] if holds_secrets(place.path) else []
    if not base or place.is_in(base):
        notes.append(leads)
    elif named.is_written:
        notes.append(f"writes outside the project: {leads}")
    else:
        notes.append(f"{leads}, outside the project")
    return [*notes, *(runs_later([place.path]) if named.is_written else [])]
