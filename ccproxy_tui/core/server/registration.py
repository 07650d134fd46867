"""Where front ends find this proxy: its control socket, its key and its file, side by side in a runtime folder."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import msgspec

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.instances import Instance
from ccproxy_tui.core.control.key import ControlKey, drop_key, find_key, keep_key
from ccproxy_tui.core.system.paths import NotOurs, Paths, private_dir

_BACKLOG = 64


class Registration:
    """Of one proxy. Folders are tried in order: the usual one may be read-only, or its name too long for a socket."""

    def __init__(self, paths: Paths, port: int, key: ControlKey) -> None:
        self._paths = paths
        self._port = port
        self._key = key
        self._instance: Instance | None = None
        self._inode: tuple[int, int] | None = None
        self.socket = ""  # the path; empty while there is none
        self.problem = ""  # what is in the way in the usual folder

    def open(self) -> socket.socket | None:
        """Return a new control socket, for this user alone, with the key beside it; None where no folder takes them.

        The socket of a dead proxy is replaced.
        """
        self.socket, self.problem = "", ""
        for folder in self._paths.runtimes:
            try:
                sock, path = self._bind(private_dir(folder)), self._path(folder)
            except (OSError, UnicodeEncodeError) as error:
                self.problem = self.problem or _in_the_way(folder, error)
                continue
            info = path.lstat()
            self.socket, self._inode = str(path), (info.st_dev, info.st_ino)
            return sock
        return None

    def _path(self, folder: Path) -> Path:
        return folder / f"{self._port}.sock"

    def _bind(self, folder: Path) -> socket.socket:
        path = self._path(folder)
        if (file := path.with_suffix(".json")).is_dir():
            raise IsADirectoryError(0, "Is a directory", str(file))
        keep_key(folder, self._port, self._key)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            instances.kill_note(str(path)).unlink(missing_ok=True)  # of a proxy that had no host
            _bind_private(sock, path)
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            with contextlib.suppress(OSError):
                drop_key(folder, self._port, self._key)
            raise
        sock.setblocking(False)
        return sock

    def publish(self, instance: Instance) -> None:
        """Write the file of this proxy, for as long as it runs. Raises OSError."""
        install = instances.install_of(self._paths)
        self._instance = msgspec.structs.replace(instance, socket=self.socket, install=install)
        if self.socket:
            instances.register(self._instance)

    def mark_ending(self) -> None:
        """Let starting proxies wait for the port, and hosts not attach to a proxy that ends."""
        if self._instance is not None:
            with contextlib.suppress(OSError):
                self.publish(msgspec.structs.replace(self._instance, ending=True))

    def lost(self) -> bool:
        """Return whether the control socket is gone, for instance with its folder.

        Its other files are written again when they are gone. Raises OSError when they can't be.
        """
        instance = self._instance
        if instance is None:
            return False
        try:
            info = os.lstat(self.socket)
        except OSError:
            return True
        found = instances.read(instance.file)
        if found is not None and found.pid != instance.pid and instances.accepts(found.socket):
            return False  # of a proxy on the same port of another address
        if (info.st_dev, info.st_ino) != self._inode:
            return True
        if found is None:
            instances.register(instance)
        if find_key(self._paths, self._port) is None:
            keep_key(Path(self.socket).parent, self._port, self._key)
        return False

    def republish(self) -> None:
        """Write the file for a socket that was opened again. Raises OSError."""
        if self._instance is not None:
            self.publish(self._instance)

    def end(self) -> None:
        """Remove what was made, unless a newer proxy has taken the port over. Nothing of it is made again."""
        instance, self._instance = self._instance, None
        if self.socket and instance is not None:
            with contextlib.suppress(OSError):
                drop_key(Path(self.socket).parent, self._port, self._key)
                instances.unregister(instance)


def _in_the_way(folder: Path, error: OSError | UnicodeEncodeError) -> str:
    """Return, in words, why a folder takes no control socket."""
    if isinstance(error, NotOurs):
        return str(error).rstrip(".")
    reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
    where = getattr(error, "filename", None)
    return f"{os.fsdecode(where) if isinstance(where, (str, bytes)) else folder}: {reason}"


def _bind_private(sock: socket.socket, path: Path) -> None:
    previous = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(previous)
