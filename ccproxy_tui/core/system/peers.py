"""The user and the process at the other end of a connection of this machine.

Unix sockets: the kernel keeps both from the moment of `connect` (SO_PEERCRED in unix(7); LOCAL_PEERCRED and
LOCAL_PEERPID in macOS's sys/un.h). TCP on Linux: the peer's end is a socket of this machine as well, and the kernel
gives its owner for an exact pair of addresses (sock_diag(7); without it /proc/net/tcp and tcp6, proc(5)). Elsewhere the
user of a TCP peer is unknown.

A socket belongs to the user that made it. A program of this user that forwards connections (`ssh -L`, an editor's port
forwarding) or passes a socket on (SCM_RIGHTS) lends its user to whoever uses it: no lookup can see that.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ccproxy_tui.core.system.processes import birth_of

PEER = "ccproxy.peer"  # key of the ASGI scope (HTTP and WebSocket): a Connection; read it with `peer_of`

Address = tuple[str, int]


class PeerSocket(NamedTuple):
    """The peer's end of a TCP connection; its inode is what the descriptors of its process lead to."""

    uid: int
    inode: int


Lookup = Callable[[Address, Address], PeerSocket | None]  # by the peer's address and ours

OVERFLOW_UID = 65534  # how a user namespace shows users that it has no number for (user_namespaces(7))
_ESTABLISHED, _FIN_WAIT_1, _FIN_WAIT_2, _CLOSE_WAIT = 1, 4, 5, 8  # include/net/tcp_states.h
_HELD = (_ESTABLISHED, _FIN_WAIT_1, _FIN_WAIT_2)  # a process may still hold a socket in these states


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. None: the system does not say."""

    uid: int | None
    pid: int | None
    born: str = field(default="", compare=False)  # as in `Process`: a later one with its number is not it

    @property
    def is_own(self) -> bool:
        """Return whether it is a program of the very user that runs this one. Root is another user, too."""
        return self.uid is not None and self.uid == os.geteuid()


UNKNOWN = Peer(None, None)


class _Scope(Protocol):
    def get(self, key: str, /) -> Any: ...


class Connection:
    """The peer of one accepted connection, looked up when it is first asked for, and then kept."""

    __slots__ = ("__weakref__", "_peer", "_transport")

    def __init__(self, transport: Any) -> None:
        """`transport` is asyncio's. The peer of a unix socket is read at once: its process may end soon."""
        self._transport = transport
        self._peer: Peer | None = None
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            self._peer = self._look()

    @property
    def peer(self) -> Peer:
        if self._peer is None:
            self._peer = self._look()
        return self._peer

    def _look(self) -> Peer:
        transport, self._transport = self._transport, None
        sock = transport.get_extra_info("socket")
        try:  # uvloop's own object has no getsockopt
            with socket.socket(fileno=os.dup(sock.fileno())) as copy:
                return unix_peer(copy) if copy.family == socket.AF_UNIX else tcp_peer(copy)
        except (OSError, AttributeError):  # the connection is closed already
            return UNKNOWN


def connection_of(scope: _Scope) -> Connection | None:
    """Return the connection of a request, where the server has noted it."""
    connection = scope.get(PEER)
    return connection if isinstance(connection, Connection) else None


def peer_of(scope: _Scope) -> Peer:
    """Return the peer of a request's connection. The first call per connection asks the kernel (some 20 µs)."""
    connection = connection_of(scope)
    return connection.peer if connection is not None else UNKNOWN


# --- unix sockets ---


def unix_peer(sock: socket.socket) -> Peer:
    """Return the peer of a connected unix socket, seen from either end.

    The process is the one that called `connect` or, for the client, `listen`.
    """
    try:
        if hasattr(socket, "SO_PEERCRED"):  # Linux
            pid, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return Peer(_certain(uid), pid or None, birth_of(pid))  # 0: a process outside of this container
        if hasattr(socket, "LOCAL_PEERCRED"):  # macOS
            _, uid = struct.unpack_from("II", sock.getsockopt(0, 1, 76))  # SOL_LOCAL, LOCAL_PEERCRED: struct xucred
            pid = struct.unpack("i", sock.getsockopt(0, 2, 4))[0]  # LOCAL_PEERPID
            return Peer(uid, pid)
    except (OSError, struct.error):
        pass
    return UNKNOWN


def _certain(uid: int) -> int | None:
    """Return the uid, or None where that number may stand for several users."""
    return None if uid == OVERFLOW_UID and not _has_all_users() else uid


@functools.cache
def _has_all_users() -> bool:
    """Return whether each user of the machine has a number of its own here."""
    try:
        fields = Path("/proc/self/uid_map").read_text("ascii").split()
    except OSError:
        return False
    return fields == ["0", "0", "4294967295"]


# --- TCP ---


def tcp_peer(sock: socket.socket) -> Peer:
    """Return the user of a connected TCP socket's peer; its process is not known."""
    lookup = tcp_lookup()
    if lookup is None:
        return UNKNOWN
    ours, theirs = sock.getsockname(), sock.getpeername()
    found = lookup((theirs[0], theirs[1]), (ours[0], ours[1]))
    # Only a connection that still stands keeps others from taking its pair of addresses: what was found is its peer.
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if found is None or state not in (_ESTABLISHED, _CLOSE_WAIT):
        return UNKNOWN
    return Peer(_certain(found.uid), None)


@functools.cache
def tcp_lookup() -> Lookup | None:
    """Return the way to find the socket of a TCP peer that works on this system, tried on a connection to ourselves."""
    if sys.platform != "linux":
        return None
    ways: list[Callable[[], Lookup]] = [_SockDiag, lambda: _find_in_proc]
    for way in ways:
        try:
            lookup = way()
            if _finds_us(lookup):
                return lookup
        except OSError:
            continue
    return None


def _finds_us(lookup: Lookup) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        found = lookup(client.getsockname(), server.getsockname())
        return found is not None and found.uid == os.geteuid()


def _packed(address: str) -> bytes:
    """Return the bytes of an IP address; an IPv4 address stays one when it comes mapped into IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(ip, "ipv4_mapped", None) or ip).packed


class _SockDiag:
    """Asks the kernel for one socket. It answers within the call, so nothing waits (linux/inet_diag.h)."""

    _PROTOCOL, _BY_FAMILY, _REQUEST = 4, 20, 1  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST
    _ANY_COOKIE = b"\xff" * 8
    _HEAD = struct.Struct("=IHHII")
    _ASKED = struct.Struct("=BBBxI")
    _FOUND = struct.Struct("=xB62xII")  # state, uid, inode

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, self._PROTOCOL)
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()

    def __call__(self, peer: Address, ours: Address) -> PeerSocket | None:
        near, far = _packed(peer[0]), _packed(ours[0])
        family = socket.AF_INET if len(near) == 4 else socket.AF_INET6
        pair = struct.pack("!HH16s16s", peer[1], ours[1], near, far)
        number = next(self._numbers) & 0xFFFFFFFF
        body = self._ASKED.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + pair + bytes(4) + self._ANY_COOKIE
        with self._turn:
            self._sock.send(self._HEAD.pack(16 + len(body), self._BY_FAMILY, self._REQUEST, number, 0) + body)
            answer = self._sock.recv(4096)
        _, kind, _, answered, _ = self._HEAD.unpack_from(answer)
        if kind != self._BY_FAMILY or answered != number:  # an error: there is no such socket
            return None
        state, uid, inode = self._FOUND.unpack_from(answer, 16)
        # Without a match the kernel gives the listener of that port; a socket that its process has closed has no
        # inode, and the owner root.
        return PeerSocket(uid, inode) if state in _HELD and inode else None


def _find_in_proc(peer: Address, ours: Address) -> PeerSocket | None:
    near, far = _packed(peer[0]), _packed(ours[0])
    pairs = [(near, far)] if len(near) == 16 else [(near, far), (_mapped(near), _mapped(far))]
    for one, other in pairs:
        local, remote = f"{_as_listed(one)}:{peer[1]:04X}", f"{_as_listed(other)}:{ours[1]:04X}"
        for line in Path("/proc/net/tcp" if len(one) == 4 else "/proc/net/tcp6").read_text("ascii").splitlines():
            fields = line.split()
            if fields[1:3] == [local, remote] and int(fields[3], 16) in _HELD and fields[9] != "0":
                return PeerSocket(int(fields[7]), int(fields[9]))
    return None


def _mapped(address: bytes) -> bytes:
    return bytes(10) + b"\xff\xff" + address


def _as_listed(address: bytes) -> str:
    """Return an address as the tables print it: words of 32 bits in the machine's own order."""
    return "".join(f"{int.from_bytes(address[at : at + 4], sys.byteorder):08X}" for at in range(0, len(address), 4))
