"""What Claude Code reads in a project folder, and whether you have trusted it.

Its settings run programs (hooks, MCP servers, status lines), and without a terminal it asks nobody about them: "The
workspace trust dialog is skipped when Claude is run in non-interactive mode" (`claude --help`). So agents get your own
settings alone, unless everything that the folder has for them is trusted with exactly its content.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ccproxy_tui.core.settings.files import FileBytes, Refused, check_folder, read_own
from ccproxy_tui.core.settings.offer import Offer, compared
from ccproxy_tui.core.settings.shown import key_text, shown
from ccproxy_tui.core.settings.trust import TrustStore, trusts_folder
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.text.escape import escape_line

OWN, ALL = "user", "user,project,local"  # of --setting-sources
_MOST_FILES = 400
_MOST_BYTES = 8 << 20
_NOTE = "what agents of SDK mode run and read in this folder, CLAUDE.md besides"


def setting_sources(folder: Path, paths: Paths, environ: Mapping[str, str]) -> str:
    """Return which settings an agent in `folder` may read. Reads files: not for an event loop."""
    real = Path(os.path.realpath(folder))
    try:
        check_folder(real)
        if trusts_folder(environ) and real == Path(os.path.realpath(Path.cwd())):
            return ALL
        store = TrustStore(paths)
        if str(_key(real)) not in store.records():
            return OWN
        return ALL if store.trusts(_key(real), _digest(_read(real, paths, environ))) else OWN
    except (Refused, OSError):
        return OWN


def offer_of_folder(folder: Path, paths: Paths, environ: Mapping[str, str], store: TrustStore) -> Offer | None:
    """Return what there is to trust in `folder`; None when there is nothing, or it is trusted. Raises Refused."""
    real = Path(os.path.realpath(folder))
    found = _read(real, paths, environ)
    digest = _digest(found)
    record = store.records().get(str(_key(real)))
    if (record is not None and record.sha256 == digest) or not (found or (real / "CLAUDE.md").exists()):
        return None
    lines = _told_apart([line for file in found for line in _lines(file)])
    changes = compared(lines, record.shown if record is not None else {})
    return Offer(_key(real), digest, lines, changes, _NOTE, known=record is not None)


def _key(folder: Path) -> Path:
    return folder / ".claude"


def _digest(found: list[FileBytes]) -> str:
    parts = "\n".join(f"{file.path}\0{file.digest}" for file in found)
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()


def _read(folder: Path, paths: Paths, environ: Mapping[str, str]) -> list[FileBytes]:
    """Every file that it reads there or in a folder above. Raises Refused."""
    config = environ.get("CLAUDE_CONFIG_DIR", "")
    own = os.path.realpath(config if config.startswith("/") else paths.home / ".claude")  # as `agent_environ` has it
    found: list[FileBytes] = []
    for place in (folder, *folder.parents):
        for path in _files(place, own):
            content = read_own(path)
            if content is not None:
                found.append(content)
            if len(found) > _MOST_FILES or sum(len(one.data) for one in found) > _MOST_BYTES:
                raise Refused(f"there is more in {folder / '.claude'} than can be shown")
    return found


def _files(place: Path, own: str) -> Iterator[Path]:
    yield place / ".mcp.json"
    claude = place / ".claude"
    if not os.path.lexists(claude) or os.path.realpath(claude) == own:
        return
    if claude.is_symlink() or not claude.is_dir():
        raise Refused(f"{claude} is not a folder")
    for root, folders, names in os.walk(claude):
        folders.sort()
        if linked := [name for name in folders if (Path(root) / name).is_symlink()]:
            raise Refused(f"{Path(root) / linked[0]} is a link to a folder")
        yield from (Path(root) / name for name in sorted(names))


def _told_apart(lines: list[tuple[str, str]]) -> dict[str, str]:
    """Raises Refused when two look the same: one would hide the other."""
    found = dict(lines)
    if len(found) < len(lines):
        raise Refused("two of its files or settings have names that look the same")
    return found


def _lines(file: FileBytes) -> Iterator[tuple[str, str]]:
    """A file for someone who decides: JSON by key, any other text by line."""
    try:
        text = file.text
    except Refused:
        yield escape_line(str(file.path)), f"{len(file.data)} bytes that are no text, sha256 {file.digest}"
        return
    try:
        values = json.loads(text) if file.path.suffix == ".json" else None
        pairs = list(_leaves(values, ())) if values is not None else []
    except (ValueError, RecursionError):
        pairs = []
    for path, value in pairs:
        yield escape_line(f"{file.path} {key_text(path)}"), shown(path, value)
    if not pairs:
        for number, line in enumerate(text.splitlines(), 1):
            yield escape_line(f"{file.path}:{number}"), escape_line(line)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else ((str(place), one) for place, one in enumerate(value))
        for key, inner in items:
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value
