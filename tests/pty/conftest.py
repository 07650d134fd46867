"""Programs in a terminal decide as users do: with the checks on."""

from __future__ import annotations

import signal

import pytest

# Under nohup, programs would begin with the hang-up signal ignored, which no terminal does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def defaults(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERMISSIONS__DECIDERS")
