"""The process behind a TCP connection of this machine (Linux: /proc/net/tcp and the descriptors of processes, proc(5)).

It reads the descriptors of all processes of the user, which takes milliseconds: only for requests that decide.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from starlette.types import Scope

_PROC = Path("/proc")
_HELD = ("01", "04", "05", "08")  # established, or being closed: include/net/tcp_states.h


class NotOfThisMachine(Exception):
    """The connection comes from elsewhere."""


class Closed(Exception):
    """The other end is closed: no process holds it any more."""


def owner_of(scope: Scope) -> int | None:
    """Return the number of the process at the other end of a request over TCP; None when the system does not say.

    Raises NotOfThisMachine, Closed.
    """
    client, server = scope.get("client"), scope.get("server")
    if not client or not server or server[1] is None:  # a unix socket
        return None
    there = ipaddress.ip_address(client[0])
    if not _is_ours(there):
        raise NotOfThisMachine
    if sys.platform != "linux":
        return None
    inode = _inode_of(there, client[1], server[1])
    holder = _holder_of(f"socket:[{inode}]") if inode is not None else None
    if holder is None and (inode is None or _inode_of(there, client[1], server[1]) != inode):
        raise Closed
    return holder


def owners(port: int) -> dict[tuple[str, int], int]:
    """Return the process of each TCP peer of a port of ours, by its address. Takes tens of milliseconds."""
    links: dict[str, tuple[str, int]] = {}
    for fields in _connections():
        address, _, number = fields[1].partition(":")
        if int(fields[2].rpartition(":")[2], 16) == port and fields[3] in _HELD and fields[9] != "0":
            links[f"socket:[{fields[9]}]"] = (str(_address(address)), int(number, 16))
    found: dict[tuple[str, int], int] = {}
    for folder in _PROC.glob("[0-9]*/fd"):
        try:
            held = [str(one.readlink()) for one in folder.iterdir()]
        except OSError:  # it has ended, or it is another user's
            continue
        found.update({links[link]: int(folder.parent.name) for link in held if link in links})
    return found


def _connections() -> Iterator[list[str]]:
    """Yield the fields of each line of the tables of TCP connections; none where there are no such tables."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        yield from (line.split() for line in lines)


def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether it is an address of this machine: others can't be bound to."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def _inode_of(there: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, ours: int) -> str | None:
    there = getattr(there, "ipv4_mapped", None) or there
    for fields in _connections():
        address, _, number = fields[1].partition(":")
        if int(number, 16) != port or int(fields[2].rpartition(":")[2], 16) != ours or fields[3] not in _HELD:
            continue
        if _address(address) == there and fields[9] != "0":
            return fields[9]
    return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address as the tables print it: words of 32 bits in the machine's own order."""
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address


def _holder_of(link: str) -> int | None:
    for folder in _PROC.glob("[0-9]*/fd"):
        try:
            if any(str(one.readlink()) == link for one in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # it has ended, or it is another user's
            continue
    return None
