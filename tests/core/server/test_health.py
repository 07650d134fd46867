"""Health routes, in the form and under the names that existing monitors know."""

from __future__ import annotations

from pathlib import Path

from ccproxy_tui import __version__
from tests.conftest import Proxy


async def test_live_says_that_the_process_runs(proxy: Proxy) -> None:
    response = await proxy.client.get("/health/live")
    assert response.headers["content-type"] == "application/health+json"
    assert response.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    assert response.json() == {"status": "pass", "version": __version__, "output": "Application process is running"}


async def test_a_missing_login_is_a_warning_and_the_proxy_is_ready(proxy: Proxy) -> None:
    (Path.home() / ".claude" / ".credentials.json").unlink()
    response = await proxy.client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "warn")
    assert response.json()["checks"]["claude_api_credentials"][0]["output"] == "missing"


async def test_health_in_full(proxy: Proxy) -> None:
    body = (await proxy.client.get("/health")).json()
    assert (body["status"], body["serviceId"]) == ("pass", "claude-code-proxy")
    assert set(body) == {"status", "version", "serviceId", "description", "time", "checks"}


async def test_a_draining_proxy_is_not_ready(proxy: Proxy) -> None:
    proxy.hub.draining = True
    response = await proxy.client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (503, "fail")


async def test_base_paths_answer_probes_without_asking_upstream(proxy: Proxy) -> None:
    for path in ("/api", "/claude", "/demo", "/api/v1", "/api/api/hello"):
        assert (await proxy.client.head(path)).status_code == 200
        assert (await proxy.client.get(path)).json()["service"] == "ccproxy-tui"
    assert len(proxy.hub.store) == 0
