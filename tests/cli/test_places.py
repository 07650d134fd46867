"""Folders that can't be written, are full, or have names that sockets can't have: the proxy serves and is found.

Each case runs in a mount namespace of its own, in which folders are read-only or full also for root.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from tests.pty.terminal import program
from tests.pty.test_terminal import free_port

pytestmark = pytest.mark.timeout(120)

FOLDERS = ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR")
READ_ONLY = "mount -t tmpfs -o ro,mode=700 tmpfs {0}"
FULL = "mount -t tmpfs -o size=4k,mode=700 tmpfs {0}; cat /dev/zero >{0}/full 2>&-"
OWN = """mkdir -p -m 700 /tmp/ccproxy-0
mount -t tmpfs -o mode=700 tmpfs /tmp/ccproxy-0
mount -t tmpfs -o mode=1777 tmpfs /dev/shm"""  # what all processes of a user share, other tests included
NOWHERE = "mount -o remount,ro /tmp/ccproxy-0; mount -o remount,ro /dev/shm"


class Box:
    """A mount namespace with a proxy in it."""

    def __init__(self, folder: Path, setup: str, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.log = folder / "log"
        self.environ = {**os.environ, **environ, "SERVER__PORT": str(self.port), "HISTORY__ENABLED": "true"}
        self.environ["LOGGING__FILE"] = f"{self.environ['XDG_STATE_HOME']}/proxy.log"
        self.setup = f"{OWN}\n{setup}"

    def start(self, *arguments: str) -> None:
        command = f"{self.setup}\nexec {shlex.join(program(*arguments))}"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", command],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def wait(self, words: str) -> None:
        deadline = time.monotonic() + 30
        while words not in self.printed:
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.05)

    @property
    def printed(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def run(self, *arguments: str) -> tuple[int, str]:
        """Status and output of a command in the same namespace."""
        done = subprocess.run(
            ["nsenter", "-m", "-t", str(self.process.pid), *program(*arguments)],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=40,
            check=False,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def serves(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/live", timeout=5) as answer:
            return bool(answer.status == 200)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


CASES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    # name: what is done to which folders (of all: "*"), and what the log must have
    **{f"{name} read-only": ({name: READ_ONLY}, ()) for name in ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")},
    "all read-only": ({"*": READ_ONLY}, ("No key for hooks can be kept", "sockets are in /")),
    "all full": ({"*": FULL}, ("No key for hooks can be kept", "The control socket is /")),
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
            pytest.fail("read-only folders need root and unshare")
        pytest.skip("read-only folders need root and unshare")
    made = {}
    for name in FOLDERS:
        made[name] = str(tmp_path / "f" / name.lower())
        Path(made[name]).mkdir(mode=0o700, parents=True)
    return made


def check(box: Box) -> None:
    """It serves, every command finds it, nothing shows a traceback."""
    box.wait("serving on")
    assert box.serves()
    status, printed = box.run("status", "--line")
    assert (status, printed) == (0, f":{box.port} 0 live\n")
    status, printed = box.run("ask", "deploy?")
    assert "No proxy runs" not in printed
    status, printed = box.run("stop", str(box.port))
    assert (status, printed) == (0, "stopped\n")
    assert box.process.wait(15) == 0
    assert "Traceback" not in box.printed


@pytest.mark.parametrize("case", CASES)
def test_it_serves_and_is_found(folders: dict[str, str], tmp_path: Path, case: str) -> None:
    changes, words = CASES[case]
    todo = dict.fromkeys(FOLDERS, changes["*"]) if "*" in changes else changes
    box = Box(tmp_path, "\n".join(how.format(shlex.quote(folders[name])) for name, how in todo.items()), folders)
    box.start("serve")
    try:
        check(box)
        for expected in words:
            assert box.printed.count(expected) == 1, box.printed
    finally:
        box.end()


@pytest.mark.parametrize("name", ["long" * 30, os.fsdecode(b"not utf-8 \xff")], ids=["long", "not UTF-8"])
def test_it_is_found_whatever_its_folder_is_called(folders: dict[str, str], tmp_path: Path, name: str) -> None:
    for variable in FOLDERS:
        folders[variable] = str(tmp_path / name / variable.lower())
        Path(folders[variable]).mkdir(mode=0o700, parents=True)
    box = Box(tmp_path, "", folders)
    box.start("serve")
    try:
        check(box)
    finally:
        box.end()


def test_without_any_folder_it_serves_and_says_what_is_missing(folders: dict[str, str], tmp_path: Path) -> None:
    setup = "\n".join(READ_ONLY.format(shlex.quote(folder)) for folder in folders.values())
    box = Box(tmp_path, f"{NOWHERE}\n{setup}", folders)
    box.start("serve")
    try:
        box.wait("serving on")
        assert box.serves()
        assert box.printed.count("No control socket can be made") == 1
        assert "Traceback" not in box.printed
    finally:
        box.end()


def test_a_host_opens_where_all_folders_are_read_only(folders: dict[str, str], tmp_path: Path) -> None:
    setup = "\n".join(READ_ONLY.format(shlex.quote(folder)) for folder in folders.values())
    box = Box(tmp_path, setup, folders)
    box.start("--plain")
    try:
        box.wait("proxy up")
        box.process.terminate()
        assert box.process.wait(20) == 128 + signal.SIGTERM
        assert "Traceback" not in box.printed
    finally:
        box.end()


@pytest.mark.parametrize(
    "arguments", [["trust", "--yes"], ["config", "init"], ["generate-token", "--save"], ["connect", "codex"]]
)
def test_commands_say_in_one_line_what_can_not_be_written(
    folders: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    setup = "\n".join(READ_ONLY.format(shlex.quote(folder)) for folder in folders.values())
    box = Box(tmp_path, setup, folders)
    box.start(*arguments)
    box.process.wait(30)
    assert "Traceback" not in box.printed
    if box.process.returncode:
        assert len([line for line in box.printed.splitlines() if line.startswith("error: ")]) == 1, box.printed
