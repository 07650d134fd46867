"""Times that depend on one another keep their order; a setting that breaks it is named when the proxy starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core import timeouts
from ccproxy_tui.core.limits import HOOK_SECONDS
from ccproxy_tui.core.permissions import Broker, PermissionRequest
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.timeouts import orders, violations
from tests.attack import box
from tests.fakes.clock import FakeClock


def settings_of(**environ: str) -> Any:
    return load(environ={**os.environ, **environ}).settings


def test_the_defaults_keep_every_order() -> None:
    assert violations(settings_of()) == []
    assert len(list(orders(settings_of()))) > 12


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [
        ("server.keepalive_seconds", "20", "server.stall_seconds"),
        ("server.keepalive_seconds", "120", "watchdog"),
        ("server.stall_seconds", "100", "watchdog"),
        ("server.stall_seconds", "700", "http.read_timeout"),
        ("http.read_timeout", "5", "http.connect_timeout"),
        ("accounts.hold_seconds", "3600", "clients"),
        ("permissions.timeout_seconds", "600", "hooks"),
        ("permissions.session_rule_idle_minutes", "600", "permissions.session_rule_hours"),
        ("server.drain_seconds", "300", "systemd"),
    ],
)
def test_a_setting_that_breaks_an_order_is_named_with_its_value(name: str, value: str, other: str) -> None:
    found = violations(settings_of(**{name.replace(".", "__").upper(): value}))
    assert any(name in one and other in one and " s)" in one for one in found), found


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("TOKEN_SECONDS", 40.0),
        ("LOCK_SECONDS", 25.0),
        ("STALE", 9.0),
        ("OWNER_SECONDS", 60.0),
        ("MARGIN", 100.0),
        ("COPILOT_MARGIN", 60.0),
        ("COPILOT_LIFETIME", 100.0),
        ("STOP_MARGIN", 3.0),
        ("HEARTBEAT", 2.5),
    ],
)
def test_a_constant_that_breaks_an_order_is_found(monkeypatch: pytest.MonkeyPatch, constant: str, value: float) -> None:
    monkeypatch.setattr(timeouts, constant, value)
    assert violations(settings_of())


def test_a_proxy_says_so_in_one_line_and_serves(tmp_path: Path) -> None:
    served = box.start(Path.home(), environ={"SERVER__KEEPALIVE_SECONDS": "30"})
    try:
        (line,) = [one for one in served.printed.splitlines() if "server.keepalive_seconds" in one]
        assert "WARNING" in line
        assert "server.stall_seconds (20 s)" in line
        assert served.request("GET", "/health/live")[0] == 200
    finally:
        served.stop()


async def test_no_extension_outlasts_the_hook_that_waits(clock: FakeClock) -> None:
    broker = Broker(clock)
    entry = broker.ask(PermissionRequest("Bash", {}, "claude-code"), 60.0)
    for _ in range(20):
        clock.advance(30)
        broker.extend(entry.id, 120.0)
        assert entry.deadline - entry.listed < HOOK_SECONDS
    script = broker.ask(PermissionRequest("Bash", {}, "script"), 60.0)
    clock.advance(700)
    broker.extend(script.id, 120.0)
    assert broker.left(script) == 120.0
    broker.close()
