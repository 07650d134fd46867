"""What `permission-handler` prints of a request."""

from __future__ import annotations

import pytest

from ccproxy_tui.cli.connect import _show
from ccproxy_tui.core.control.frames import AskView


def test_no_key_of_the_screens_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    _show(AskView("1", "Bash", "pending", client="claude-code", exchange="x1", input='{"command": "ls"}'))
    shown = capsys.readouterr().out
    assert "$ ls" in shown
    assert "claude-code" in shown
    assert "opens its stream" not in shown
