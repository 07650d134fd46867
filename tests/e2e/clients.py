"""Where the real command-line clients are, and how a test says that one is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

INSTALLED = Path(__file__).parents[2] / ".e2e" / "node_modules" / ".bin"


def find(name: str) -> str:
    """The path of a client. Where all must be there (`CCPROXY_TEST_REQUIRE_ALL`) a missing one fails the test."""
    path = INSTALLED / name
    found = str(path) if path.exists() else shutil.which(name)
    if found:
        return found
    message = f"{name} is not installed (.ci/run installs it)"
    if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
        pytest.fail(message)
    pytest.skip(message)
