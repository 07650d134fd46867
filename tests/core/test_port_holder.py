"""Who listens on a port: told by its process, or by the user of its socket where that can't be looked into."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from ccproxy_tui.core.control.instances import port_holder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# As a user: a child listens and hides its memory, as the proxy does; its parent looks.
HIDDEN = """
import ctypes, os, socket, sys
sys.path[:0] = %r
from ccproxy_tui.core.control.instances import port_holder
os.setgroups([]); os.setgid(65534); os.setuid(65534)
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
ready, done = os.pipe(), os.pipe()
if not os.fork():
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    os.write(ready[1], b"x"); os.read(done[0], 1); os._exit(0)
listener.close(); os.read(ready[0], 1)
print(port_holder(port)); os.write(done[1], b"x")
"""


def test_a_program_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert port_holder(listener.getsockname()[1]).endswith(f", pid {os.getpid()}")
        port = listener.getsockname()[1]
    assert port_holder(port) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="a second user needs root")
def test_a_proxy_of_ours_that_hides_its_memory_is_ours() -> None:
    done = subprocess.run([sys.executable, "-c", HIDDEN % sys.path], capture_output=True, text=True, check=True)
    assert done.stdout == "a program of yours that hides what it is, as ccproxy-tui does\n"
