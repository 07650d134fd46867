"""Programs in a terminal decide as users do: with the checks on."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def defaults(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERMISSIONS__DECIDERS")
