"""Who is at the other end of a connection: the kernel's own answer, and nothing where it has none."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ccproxy_tui.core.system import peers
from ccproxy_tui.core.system.peers import UNKNOWN, Lookup, Peer, _find_in_proc, tcp_lookup, tcp_peer, unix_peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP peers are known on Linux alone")

OTHER = 65534
# How a client may name a server: family of the client, its address, address that the server is bound to.
WAYS = {
    "IPv4": (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    "another loopback address": (socket.AF_INET, "127.8.9.10", "0.0.0.0"),
    "IPv6": (socket.AF_INET6, "::1", "::1"),
    "IPv4 to a server of both": (socket.AF_INET, "127.0.0.1", "::"),
    "IPv4 mapped into IPv6": (socket.AF_INET6, "::ffff:127.0.0.1", "::"),
}


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket and the one that the server accepted."""
    family, address, bound = WAYS[request.param]
    with _server(bound) as server, socket.socket(family) as client:
        client.connect((address, server.getsockname()[1]))
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted


def _server(bound: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    return socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::")


@pytest.fixture(params=["sock_diag", "proc"])
def lookup(request: pytest.FixtureRequest) -> Lookup:
    if request.param == "proc":
        return _find_in_proc
    found = tcp_lookup()
    assert isinstance(found, peers._SockDiag)
    return found


def test_each_way_to_connect_is_recognised(pair: tuple[socket.socket, socket.socket], lookup: Lookup) -> None:
    client, accepted = pair
    inode = os.fstat(client.fileno()).st_ino
    assert lookup(accepted.getpeername()[:2], accepted.getsockname()[:2]) == (os.geteuid(), inode)
    assert tcp_peer(accepted) == Peer(os.geteuid(), None)


def test_a_client_that_has_closed_is_not_taken_for_root(
    pair: tuple[socket.socket, socket.socket], lookup: Lookup
) -> None:
    client, accepted = pair
    client.sendall(b"GET /")
    client.close()
    select.select([accepted], [], [], 5)
    assert lookup(accepted.getpeername()[:2], accepted.getsockname()[:2]) is None
    assert tcp_peer(accepted) == UNKNOWN


def test_a_client_that_has_only_said_all_is_still_known(pair: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = pair
    client.shutdown(socket.SHUT_WR)
    while accepted.recv(16):
        pass
    assert tcp_peer(accepted).is_own


def test_the_listener_of_a_port_is_not_taken_for_the_peer(lookup: Lookup) -> None:
    with _server("127.0.0.1") as server:
        assert lookup(server.getsockname(), ("127.0.0.1", 9)) is None


def test_another_user_is_another_uid(lookup: Lookup) -> None:
    if os.getuid() != 0:
        pytest.skip("a second user needs root")
    code = (
        "import encodings.idna, os, socket, sys; os.setgroups([]); os.setgid({0}); os.setuid({0});"
        "s = socket.create_connection(('127.0.0.1', {1})); sys.stdin.read()"
    )
    with _server("127.0.0.1") as server:
        command = [sys.executable, "-I", "-c", code.format(OTHER, server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            accepted, _ = server.accept()
            with accepted:
                found = lookup(accepted.getpeername(), accepted.getsockname())
                assert found is not None
                assert found.uid == OTHER
                assert not tcp_peer(accepted).is_own
            process.communicate()


def test_both_ends_of_a_unix_socket_know_the_process() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert unix_peer(one) == unix_peer(other) == Peer(os.geteuid(), os.getpid())


def test_an_unmapped_user_is_no_certain_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_has_all_users", lambda: False)
    assert peers._certain(OTHER) is None
    assert peers._certain(0) == 0


def test_root_is_another_user_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Peer(1000, None).is_own
    assert not Peer(0, None).is_own
    assert not UNKNOWN.is_own
