"""Who gets in: hosts, web origins, tokens."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ccproxy_tui.core import client_token
from ccproxy_tui.core.server.viewer import status_of
from ccproxy_tui.core.system import peers
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import Proxy, StartProxy

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
async def guarded(start_proxy: StartProxy) -> Proxy:
    return await start_proxy(SECURITY__AUTH_TOKEN=TOKEN)


ROUTES = [
    ("POST", "/api/v1/messages"),
    ("POST", "/demo/v1/messages"),
    ("GET", "/api/v1/models"),
    ("GET", "/api"),
    ("POST", "/v1/messages"),
    ("GET", "/nothing/here"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": TOKEN + "x"}, {"x-api-key": ""}]
)
async def test_without_the_token_every_route_is_a_401(
    guarded: Proxy, method: str, path: str, headers: dict[str, str]
) -> None:
    response = await guarded.client.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in response.text
    assert len(guarded.hub.store) == 0


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer  {TOKEN}"}, {"x-api-key": TOKEN}]
)
async def test_the_token_opens_by_bearer_and_by_x_api_key(guarded: Proxy, headers: dict[str, str]) -> None:
    response = await guarded.client.get("/demo/v1/models", headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
async def test_health_needs_no_token(guarded: Proxy, path: str) -> None:
    assert (await guarded.client.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/healthy", "/health/../api", "/healthz"])
async def test_nothing_hides_behind_a_name_like_health(guarded: Proxy, path: str) -> None:
    assert (await guarded.client.get(path)).status_code in (401, 404)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "[::1]:8000", "app.localhost", "192.168.1.5", socket.gethostname()],
)
async def test_names_that_no_web_site_can_have_are_let_in(proxy: Proxy, host: str) -> None:
    assert (await proxy.client.get("/demo/v1/models", headers={"host": host})).status_code == 200


REBOUND = [
    *("evil.com", "evil.com:8000", "127.0.0.1.evil.com", "localhost.evil.com", "", "[::1].evil.com", "[::1]evil"),
    # names that a local network's DHCP, mDNS or LLMNR may hand out
    *("attackerbox", "attackerbox:8000", "wpad", "router.local", "localhost.", "xlocalhost", "host.docker.internal"),
    *("0.0.0.0", "0.0.0.0:8000", "[::]:8000"),  # this machine to a browser, which sends no Origin to it
]


@pytest.mark.parametrize("host", REBOUND)
async def test_a_rebound_name_is_refused(proxy: Proxy, host: str) -> None:
    response = await proxy.client.get("/demo/v1/models", headers={"host": host})
    assert response.status_code == 403


async def test_a_name_can_be_allowed(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(SECURITY__ALLOWED_HOSTS="box.example.com, Other")
    for host in ("box.example.com:8000", "other:8000", "OTHER"):
        response = await proxy.client.get("/demo/v1/models", headers={"host": host})
        assert response.status_code == 200


async def test_a_name_that_is_refused_names_the_setting(proxy: Proxy) -> None:
    response = await proxy.client.get("/demo/v1/models", headers={"host": "devcontainer:8000"})
    assert "security.allowed_hosts" in response.text


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "http://localhost:3000", "http://127.0.0.1:1"])
@pytest.mark.parametrize("path", ["/demo/v1/messages", "/control/shutdown", "/health"])
async def test_a_page_from_another_origin_is_refused_everywhere(proxy: Proxy, origin: str, path: str) -> None:
    response = await proxy.client.post(path, headers={"origin": origin}, content=b"{}")
    assert response.status_code == 403


async def test_a_cross_site_request_without_an_origin_is_refused(proxy: Proxy) -> None:
    response = await proxy.client.get("/demo/v1/models", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 403


async def test_our_own_origin_is_let_in(proxy: Proxy) -> None:
    response = await proxy.client.get("/demo/v1/models", headers={"origin": proxy.url, "host": proxy.url[7:]})
    assert response.status_code == 200


async def test_a_configured_origin_is_let_in_and_told_so(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(CORS__ORIGINS='["https://app.example"]', SECURITY__AUTH_TOKEN=TOKEN)
    origin = {"origin": "https://app.example"}
    preflight = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    allowed = await proxy.client.options("/demo/v1/messages", headers=preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answer = await proxy.client.get("/demo/v1/models", headers={**origin, "x-api-key": TOKEN})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in answer.headers


async def test_there_is_no_cors_unless_configured(proxy: Proxy) -> None:
    response = await proxy.client.get("/demo/v1/models")
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/control/status", "/control/settings", "/control/frames/x"])
async def test_the_control_api_over_tcp_needs_a_signature(proxy: Proxy, path: str) -> None:
    assert (await proxy.client.get(path)).status_code == 401
    wrong = await proxy.client.get(path, headers={"x-ccproxy-control": "guess"})
    assert wrong.status_code == 401


async def test_a_signature_opens_the_control_api_over_tcp(guarded: Proxy) -> None:
    response = await guarded.client.get("/control/status", auth=guarded.signed)
    assert response.json()["port"] == guarded.hub.port


async def test_control_verbs_take_json_only(proxy: Proxy) -> None:
    headers = {"content-type": "text/plain"}
    response = await proxy.client.post("/control/shutdown", headers=headers, content=b"{}", auth=proxy.signed)
    assert response.status_code == 415
    assert not proxy.hub.stop_requested.is_set()


# --- where users can't be told apart ---


def _no_lookup(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for module in (peers, client_token):
        monkeypatch.setattr(module, "tcp_lookup", lambda: None)
    return {}


def _by_setting(_: pytest.MonkeyPatch) -> dict[str, str]:
    return {"SECURITY__PEER_CHECK": "token"}


@pytest.mark.parametrize("way", [_no_lookup, _by_setting])
async def test_the_install_s_token_is_asked_for_where_users_can_t_be_told_apart(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], dict[str, str]]
) -> None:
    proxy = await start_proxy(**way(monkeypatch))
    for path in ("/demo/v1/models", "/sdk/status", "/api/usage", "/health", "/health/ready"):
        refused = await proxy.client.get(path)
        assert (refused.status_code, "ccproxy-tui connect" in refused.text) == (401, True)
    assert (await proxy.client.get("/health/live")).status_code == 200
    status = status_of(proxy.hub)
    assert status.auth_required
    file = Path(status.token_file)
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text()
    for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        assert (await proxy.client.get("/demo/v1/models", headers=headers)).status_code == 200
    assert client_token.client_token(Paths.of_user()) == token, "it is made once"


async def test_no_token_is_asked_of_the_proxy_s_own_user(proxy: Proxy) -> None:
    status = status_of(proxy.hub)
    assert not status.auth_required
    assert status.token_file == ""


async def test_a_peer_is_looked_up_once_for_each_connection(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    def count(sock: socket.socket) -> peers.Peer:
        nonlocal looked
        looked += 1
        return real(sock)

    real = peers.tcp_peer
    monkeypatch.setattr(peers, "tcp_peer", count)
    for _ in range(5):
        assert (await proxy.client.get("/demo/v1/models")).status_code == 200
    assert looked == 1
