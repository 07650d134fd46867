"""The proxies that run on this machine for this user: a socket and a small file each, in the runtime folder."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import msgspec

from ccproxy_tui.core.files import replace_file
from ccproxy_tui.core.paths import Paths, check_ours, check_socket, private_dir, read_ours
from ccproxy_tui.core.peers import unix_peer


class Instance(msgspec.Struct, frozen=True):
    """A running proxy. `socket` is where its control API listens; `started` is seconds since the epoch."""

    pid: int
    host: str
    port: int
    socket: str
    version: str
    started: float
    demo: bool = False


def socket_path(paths: Paths, port: int) -> Path:
    return private_dir(paths.runtime) / f"{port}.sock"


def _file(paths: Paths, port: int) -> Path:
    return paths.runtime / f"{port}.json"


def register(paths: Paths, instance: Instance) -> None:
    private_dir(paths.runtime)
    replace_file(_file(paths, instance.port), msgspec.json.encode(instance), mode=0o600)


def unregister(paths: Paths, instance: Instance) -> None:
    """Remove our files, unless a newer proxy has taken the port over."""
    path = _file(paths, instance.port)
    found = _read(path)
    if found is None or found.pid == instance.pid:
        path.unlink(missing_ok=True)
        Path(instance.socket).unlink(missing_ok=True)


def _read(path: Path) -> Instance | None:
    """Return what a file says, if it is this user's and names the socket beside it."""
    try:
        instance = msgspec.json.decode(read_ours(path), type=Instance)
    except (OSError, msgspec.DecodeError):
        return None
    beside = path.name == f"{instance.port}.json" and Path(instance.socket) == path.with_suffix(".sock")
    return instance if beside else None


def running(paths: Paths) -> list[Instance]:
    """Every proxy of this user that accepts connections on its socket, oldest first. Files of dead ones are removed.

    Raises NotOurs when the folder is another user's: whoever answers there is not this user's proxy.
    """
    try:
        folder = check_ours(paths.runtime)
    except FileNotFoundError:
        return []
    if not stat.S_ISDIR(folder.st_mode):
        return []
    alive = []
    for path in sorted(paths.runtime.glob("*.json")):
        instance = _read(path)
        if instance is None:
            continue
        if accepts(instance.socket):
            alive.append(instance)
        elif not _exists(instance.pid):
            unregister(paths, instance)
    return sorted(alive, key=lambda instance: instance.started)


def on_port(paths: Paths, port: int) -> Instance | None:
    """Our proxy on `port`, if one runs there."""
    return next((instance for instance in running(paths) if instance.port == port), None)


def accepts(path: str) -> bool:
    """Return whether a program of this user listens on the unix socket at `path`."""
    try:
        check_socket(Path(path))
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(path)
        except OSError:
            return False
        return unix_peer(client).uid in (None, os.geteuid())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def port_holder(port: int) -> str:
    """Who listens on a TCP port, in words ("nginx, pid 123"), or nothing when the system does not tell (Linux only)."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [link.readlink() for link in (process / "fd").iterdir()]
            if any(str(link) in inodes for link in links):
                name = (process / "comm").read_text().strip()
                return f"{name}, pid {process.name}"
        except OSError:  # it ended, or it is somebody else's
            continue
    return "a process of another user"


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
