"""The proxies that run on this machine for this user: a socket and a small file each, in the runtime folder."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from pathlib import Path

import msgspec

from ccproxy_tui.core.system.files import replace_file, unlink_link
from ccproxy_tui.core.system.paths import Paths, check_ours, check_socket, private_dir, read_ours, readable
from ccproxy_tui.core.system.peers import Peer, unix_peer

_TURN_POLL = 0.02


class Instance(msgspec.Struct, frozen=True):
    """A running proxy. `socket` is where its control API listens; `started` is seconds since the epoch.

    One that is `ending` takes no new requests and waits for its live streams. `install` is its state folder: the
    runtime folders are those of the user, who may have several (another HOME).
    """

    pid: int
    host: str
    port: int
    socket: str
    version: str
    started: float
    demo: bool = False
    ending: bool = False
    install: str = ""

    @property
    def file(self) -> Path:
        return Path(self.socket).with_suffix(".json")


def register(instance: Instance) -> None:
    """Write the file beside the socket. Raises OSError."""
    private_dir(instance.file.parent)
    unlink_link(instance.file)
    written = msgspec.structs.replace(instance, socket=readable(instance.socket))  # readers take the path of the file
    replace_file(instance.file, msgspec.json.encode(written), mode=0o600)


def unregister(instance: Instance) -> None:
    """Remove our files, unless a newer proxy has taken the port over."""
    path = instance.file
    found = read(path)
    if found is None or found.pid == instance.pid:
        path.unlink(missing_ok=True)
        Path(instance.socket).unlink(missing_ok=True)


class _Kill(msgspec.Struct, frozen=True):
    pid: int
    reason: str


def kill_note(socket: str) -> Path:
    """Return the file beside a control socket that holds why its proxy was killed."""
    return Path(socket).with_suffix(".killed")


def note_kill(socket: str, pid: int, reason: str) -> None:
    """Leave the host of a proxy a note why that is about to be killed: it can't report it itself. Raises OSError."""
    unlink_link(kill_note(socket))
    replace_file(kill_note(socket), msgspec.json.encode(_Kill(pid, reason)), mode=0o600)


def take_kill(socket: str, pid: int) -> str:
    """Return why the process was killed on purpose, and remove the note; empty without a note of this user's on it."""
    try:
        note = msgspec.json.decode(read_ours(kill_note(socket)), type=_Kill)
        if note.pid != pid:
            return ""
        kill_note(socket).unlink(missing_ok=True)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return note.reason


def read(path: Path) -> Instance | None:
    """Return what a file of this user's holds. Its socket is the one beside it."""
    try:
        instance = msgspec.json.decode(read_ours(path), type=Instance)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if path.name != f"{instance.port}.json":
        return None
    return msgspec.structs.replace(instance, socket=str(path.with_suffix(".sock")))


def install_of(paths: Paths) -> str:
    return readable(os.path.realpath(paths.state))


def running(paths: Paths) -> list[Instance]:
    """Return the proxies of this install that accept connections, oldest first. Raises NotOurs as `answering`."""
    return [one for one in answering(paths) if one.install in ("", install_of(paths))]


def none_runs(paths: Paths, port: int | None = None) -> str:
    """Return the line for when no proxy of this install runs, or none on `port`. Raises NotOurs."""
    where = "" if port is None else f" on port {port}"
    start = f"No proxy runs{where}. Start one with `ccproxy-tui` or `ccproxy-tui serve`."
    others = [f"{one.port} ({one.install})" for one in answering(paths) if one.install not in ("", install_of(paths))]
    elsewhere = f"Another HOME or XDG_STATE_HOME of yours has one on port {', '.join(others)}." if others else ""
    return " ".join(filter(None, (start, paths.taken(), elsewhere)))


def answering(paths: Paths) -> list[Instance]:
    """Every proxy of this user that accepts connections on its socket, oldest first. Files of dead ones are removed.

    Raises NotOurs when the usual folder is another user's: a program that answers there is not this user's proxy.
    """
    alive = []
    for instance in registered(paths):
        if accepts(instance.socket):
            alive.append(instance)
        elif not _exists(instance.pid):
            unregister(instance)
    return sorted(alive, key=lambda instance: instance.started)


def registered(paths: Paths) -> list[Instance]:
    """Return what the files of this user's runtime folders hold. Raises NotOurs as `answering`."""
    found = []
    for folder in paths.runtimes:
        try:
            is_folder = stat.S_ISDIR(check_ours(folder).st_mode)
        except FileNotFoundError:
            continue
        except OSError:
            if folder == paths.runtime:
                raise
            continue
        if is_folder:
            found += [instance for path in sorted(folder.glob("*.json")) if (instance := read(path)) is not None]
    return found


def on_port(paths: Paths, port: int) -> Instance | None:
    """Our proxy on `port`, if one runs there."""
    return next((instance for instance in running(paths) if instance.port == port), None)


def ending_on(paths: Paths, port: int) -> Instance | None:
    """Our proxy that still holds `port` and is about to let it go."""
    return next((one for one in registered(paths) if one.port == port and one.ending and _exists(one.pid)), None)


class Turn:
    """The right to bind a port and register, which one starting proxy of this user has at a time.

    The others find that proxy afterwards, instead of a port of an unknown program. A process that ends loses its turn.
    Where the runtime folder can't be opened there are no turns.
    """

    def __init__(self, paths: Paths, seconds: float) -> None:
        """Wait for it, for `seconds` at most. With 0 seconds there is none: nothing else can want a port of its own."""
        self._folder = _open_folder(paths.runtime) if seconds else None
        deadline = time.monotonic() + seconds
        while self._folder is not None and not _lock(self._folder) and time.monotonic() < deadline:
            time.sleep(_TURN_POLL)

    def end(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def _open_folder(folder: Path) -> int | None:
    try:
        return os.open(private_dir(folder), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None


def _lock(descriptor: int) -> bool:
    """Return whether the turn is ours; also where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def at(socket: str) -> Instance | None:
    """Return who has registered the socket, whether it answers or not."""
    return read(Path(socket).with_suffix(".json"))


def listener(path: str) -> int | None:
    """Return the process of this user that listens on the socket, as the kernel knows it; else as its file names it."""
    peer = _peer(path)
    if peer is None:
        return None
    named = at(path)
    return peer.pid or (named.pid if named is not None else None)


def accepts(path: str) -> bool:
    """Return whether a program of this user listens on the unix socket at `path`."""
    return _peer(path) is not None


def _peer(path: str) -> Peer | None:
    try:
        check_socket(Path(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            client.connect(path)
            peer = unix_peer(client)
    except OSError:
        return None
    return peer if peer.uid in (None, os.geteuid()) else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def port_holder(port: int) -> str:
    """Who listens on a TCP port, in words ("nginx, pid 123"), or nothing when the system does not tell (Linux only).

    Of a process that can't be looked into only the user is known, by its socket: the files of one that is not dumpable
    (a proxy of ours) belong to root.
    """
    listening = _listening(port)
    if not listening:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_target(link) in listening for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name}, pid {process.name}"
        except OSError:  # it ended, or it is somebody else's
            continue
    uids = set(listening.values())
    if os.geteuid() in uids:
        return "a program of yours that hides what it is, as ccproxy-tui does"
    return f"a program of another user (uid {', '.join(map(str, sorted(uids)))})"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed since it was listed
        return ""


def _listening(port: int) -> dict[str, int]:
    """Return the sockets that listen on a port, as links to them read, and their users."""
    found = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                found[f"socket:[{fields[9]}]"] = int(fields[7])
    return found
