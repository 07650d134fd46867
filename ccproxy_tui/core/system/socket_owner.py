"""The process behind a TCP connection of this machine (Linux: its socket, and the descriptors of processes, proc(5)).

It reads the descriptors of all processes of the user, which takes milliseconds: only for requests that decide.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from starlette.types import Scope

from ccproxy_tui.core.system.peers import tcp_lookup

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
    lookup = tcp_lookup()
    if lookup is None:
        return None
    ends = (client[0], client[1]), (server[0], server[1])
    found = lookup(*ends)
    holder = _holder_of(f"socket:[{found.inode}]") if found is not None else None
    if holder is None and (found is None or lookup(*ends) != found):
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
    for pid in _processes():
        found.update({links[link]: pid for link in _held_by(pid) if link in links})
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


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address as the tables print it: words of 32 bits in the machine's own order."""
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address


def _holder_of(link: str) -> int | None:
    return next((pid for pid in _processes() if pid != os.getpid() and link in _held_by(pid)), None)


def _processes() -> list[int]:
    """Return the numbers of all processes, the youngest first: who connects was mostly started lately."""
    return sorted((int(one.name) for one in _PROC.iterdir() if one.name.isdigit()), reverse=True)


def _held_by(pid: int) -> Iterator[str]:
    """Yield what the descriptors of a process lead to; nothing for another user's, and for one that has ended."""
    folder = f"{_PROC}/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib makes this loop three times slower
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):  # it is closed again
            yield os.readlink(f"{folder}/{name}")  # noqa: PTH115 - as above
