"""A program of the same user, or whoever finds a core file, wants the tokens in the proxy's memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attack.conftest import StartServe

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]

# As another user than root, whom nothing is refused: what belongs to root in /proc/self is closed to the user.
OWNER = """
import ctypes, os, resource, sys
sys.path[:0] = %r
from ccproxy_tui.core.system.secrecy import hide_memory
os.setgroups([]); os.setgid(65534); os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
def owners(): return [os.stat(f"/proc/self/{name}").st_uid for name in ("environ", "mem")]
before = owners()
hide_memory()
print(*before, *owners(), *resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.usefixtures("second_user")
@pytest.mark.parametrize(
    ("variable", "owners"), [({}, "65534 65534 0 0 0 0"), ({"CCPROXY_DUMPABLE": "1"}, "65534 65534 65534 65534")]
)
def test_reads_it_while_it_runs(variable: dict[str, str], owners: str) -> None:
    environ = {**os.environ, **variable}
    done = subprocess.run(
        [sys.executable, "-c", OWNER % sys.path], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout.startswith(owners)


def test_reads_it_in_a_core_file(serve: StartServe, folder: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    served = serve()
    limit = Path(f"/proc/{served.process.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limit
    served.process.send_signal(signal.SIGSEGV)
    served.process.wait(20)
    assert pattern.startswith(("|", "/")) or not list(folder.glob("*core*"))
