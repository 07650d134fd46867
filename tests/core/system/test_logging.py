"""The log file on disks that fill, in folders that others tidy up."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccproxy_tui.core.system import logging as our_logging
from ccproxy_tui.core.system.logging import JsonFormatter, LogFile, LogLine

log = logging.getLogger("test")


@pytest.fixture
def lines() -> Iterator[list[LogLine]]:
    """The lines of the Logs screen; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    found: list[LogLine] = []
    our_logging.configure(level="INFO", style="plain", file=Path("logs") / "x.log", stderr=False, sink=found.append)
    yield found
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)


def written(path: Path = Path("logs") / "x.log") -> list[str]:
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


def test_a_full_disk_costs_one_line_and_its_end_another() -> None:
    """The disk is a file-size limit of a process of its own, which it lifts."""
    code = """
import logging, resource, signal
from pathlib import Path
from ccproxy_tui.core.system import logging as ours
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ours.configure(level="INFO", style="plain", file=Path("x.log"), stderr=True)
log = logging.getLogger("test")
log.info("before")
size = Path("x.log").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
for number in range(30):
    log.info("lost %d", number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.info("after")
"""
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=30, check=True)
    assert "Traceback" not in done.stderr
    about = [line for line in done.stderr.splitlines() if "x.log" in line]
    assert len(about) == 2, done.stderr
    assert "log lines are lost: x.log can't be written (File too large)" in about[0]
    assert "30 log lines could not be written to x.log before this one" in about[1]
    whole = [line for line in Path("x.log").read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["message"] for line in whole] == ["before", "after", about[1].partition("logging ")[2]]


def test_a_file_that_was_deleted_or_moved_is_made_again(lines: list[LogLine]) -> None:
    path = Path("logs") / "x.log"
    log.info("first")
    path.rename("moved")
    log.info("second")
    assert written() == ["second"]
    path.unlink()
    path.parent.rmdir()
    log.info("third")
    assert written() == ["third"]
    assert len(lines) == 3


def test_it_is_rotated_and_grows_where_it_can_not_be(lines: list[LogLine]) -> None:
    path = Path("logs") / "small.log"
    handler = LogFile(path, size=300, backups=2)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    for number in range(20):
        log.info("line %d", number)
    assert sorted(one.name for one in path.parent.iterdir() if one.name.startswith("small")) == [
        "small.log",
        "small.log.1",
        "small.log.2",
    ]
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in path.parent.iterdir())
    (path.parent / "small.log.2").unlink()
    (path.parent / "small.log.2").mkdir()  # in the way
    lines.clear()
    for number in range(20):
        log.info("more %d", number)
    about = [line.message for line in lines if "can't be rotated" in line.message]
    assert about
    assert len(about) < 10, "not for each line"
    assert written(path)[-1] == "more 19"


def test_a_stream_without_a_reader_costs_nothing() -> None:
    code = """
import logging, os, sys
from ccproxy_tui.core.system import logging as ours
ours.configure(level="INFO", style="plain", file=None, stderr=True)
logging.getLogger("test").warning("nobody reads")
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stderr=writer, timeout=30, check=False)
    os.close(writer)
    assert done.returncode in (0, 120), "120: Python could not flush its streams"


def test_a_pipe_in_its_place_holds_nothing_up(lines: list[LogLine]) -> None:
    Path("logs").mkdir()
    os.mkfifo(Path("logs") / "x.log")
    log.info("one")
    log.info("two")
    reasons = [line.message for line in lines if "can't be written" in line.message]
    assert len(reasons) == 1
    assert os.strerror(errno.ENXIO) in reasons[0]
