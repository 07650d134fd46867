"""Health in the form of the IETF draft (draft-inadarei-api-health-check), under the names the older programs used."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ccproxy_tui import __version__
from ccproxy_tui.core.server.gate import KNOWN
from ccproxy_tui.core.server.hub import Hub

SERVICE_ID = "claude-code-proxy"
_HEADERS = {"cache-control": "no-cache, no-store, must-revalidate"}


class _HealthResponse(JSONResponse):
    media_type = "application/health+json"


def health_routes(hub: Hub) -> list[BaseRoute]:
    async def live(_: Request) -> Response:
        body = {"status": "pass", "version": __version__, "output": "Application process is running"}
        return _HealthResponse(body, headers=_HEADERS)

    async def ready(request: Request) -> Response:
        checks = _checks(hub, accounts=bool(request.scope.get(KNOWN)))
        status = _worst(checks)
        body = {
            "status": status,
            "version": __version__,
            "output": "Shutting down" if hub.draining else "Ready to serve",
            "checks": checks,
        }
        return _HealthResponse(body, 503 if status == "fail" else 200, headers=_HEADERS)

    async def full(request: Request) -> Response:
        checks = _checks(hub, accounts=bool(request.scope.get(KNOWN)))
        status = _worst(checks)
        body = {
            "status": status,
            "version": __version__,
            "serviceId": SERVICE_ID,
            "description": "ccproxy-tui",
            "time": datetime.fromtimestamp(hub.clock.now(), UTC).isoformat(),
            "checks": checks,
        }
        return _HealthResponse(body, 503 if status == "fail" else 200, headers=_HEADERS)

    return [Route("/health/live", live), Route("/health/ready", ready), Route("/health", full)]


def _checks(hub: Hub, *, accounts: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the checks; those of `accounts` are for clients that may use them.

    A missing login is a warning: the proxy itself is ready, and other providers may serve.
    """
    now = datetime.fromtimestamp(hub.clock.now(), UTC).isoformat()
    checks: dict[str, list[dict[str, Any]]] = {
        "proxy_service": [
            {
                "componentId": "proxy-service",
                "componentType": "service",
                "time": now,
                "status": "fail" if hub.draining else "pass",
                "output": "Shutting down" if hub.draining else "Proxy service is operational",
            }
        ]
    }
    if not accounts:
        return checks
    views = [(one, account.view()) for one in hub.providers.values() for account in one.accounts()]
    usable = any(account.ok for _, account in views)
    for provider, account in views:
        unused = usable and account.state == "missing"  # one login is enough; the others are not needed
        checks.setdefault(f"{provider.name}_credentials", []).append(
            {
                "componentId": f"{provider.name.replace('_', '-')}-credentials",
                "componentType": "authentication",
                "time": now,
                "status": "pass" if account.ok or unused else "warn",
                "output": account.state,
            }
        )
    return checks


def _worst(checks: dict[str, list[dict[str, Any]]]) -> str:
    found = {check["status"] for group in checks.values() for check in group}
    return next((status for status in ("fail", "warn") if status in found), "pass")
