"""A proxy is found from any environment of its user, with XDG_RUNTIME_DIR or without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounts a folder of its own")

# In a namespace of its own, where /run/user belongs to this test: one environment serves, the other one looks.
SCRIPT = """
set -e
mount -t tmpfs none /run
mkdir -p -m 755 /run/user
mkdir -m 700 "/run/user/$(id -u)"
env $SERVES "$PYTHON" -m ccproxy_tui serve </dev/null >/dev/null 2>&1 &
proxy=$!
trap 'kill $proxy; wait $proxy' EXIT
for _ in $(seq 100); do
    if env $LOOKS "$PYTHON" -m ccproxy_tui status; then exit 0; fi
    kill -0 $proxy
    sleep 0.1
done
exit 1
"""
WITH = f"XDG_RUNTIME_DIR=/run/user/{os.getuid()}"
WITHOUT = "-u XDG_RUNTIME_DIR"


@pytest.mark.parametrize(("serves", "looks"), [(WITH, WITHOUT), (WITHOUT, WITH)])
def test_a_proxy_is_found_with_and_without_a_runtime_folder(
    clean_environment: None, tmp_path: Path, serves: str, looks: str
) -> None:
    environ = {**os.environ, "PYTHON": sys.executable, "SERVES": serves, "LOOKS": looks, "SERVER__PORT": "0"}
    environ["TMPDIR"] = str(tmp_path)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SCRIPT], env=environ, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "127.0.0.1:" in done.stdout
