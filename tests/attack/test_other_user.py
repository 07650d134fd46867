"""Another user of the machine wants the accounts, the agents and the permission requests of the one that serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from ccproxy_tui.core.server.app import create_app
from ccproxy_tui.core.server.hub import Hub
from tests.attack.box import as_nobody
from tests.conftest import StartProxy

pytestmark = [pytest.mark.attack, pytest.mark.usefixtures("second_user")]

Request = tuple[str, str]
TOKEN = "correct-horse-battery-staple"
BELOW = (  # of every provider's prefix
    *("", "v1", "status", "usage", "v1/models", "models/x", "anything/else", "api/hello", "api/oauth/profile"),
    *("v1/messages", "v1/messages/count_tokens", "v1/chat/completions", "v1/responses", "responses/compact"),
    *("session-1/v1/messages", "v1/embeddings", "files"),
)
PROBE = """
requests, host, headers = json.loads(%r)
answers = []
for method, path in requests:
    connection = http.client.HTTPConnection(host, %d, timeout=3)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None,
                           {"content-type": "application/json", "host": "localhost", **headers})
        answer = connection.getresponse()
        answers.append([answer.status, answer.read(2000).decode("utf-8", "replace") if answer.status >= 400 else ""])
    except TimeoutError:
        answers.append([0, "it was taken"])
    connection.close()
print(json.dumps(answers))
"""


def routes_of(hub: Hub) -> list[Request]:
    """Every route of the running application, and the kinds of paths below each provider's prefix."""
    app: Any = create_app(hub)
    while not hasattr(app, "routes"):  # CORS, the gate, the dispatch, Starlette
        app = next(getattr(app, name) for name in ("app", "_app", "_rest") if hasattr(app, name))
    found = [(method, _filled(route.path)) for route in app.routes for method in sorted(_methods(route))]
    below = [f"{prefix}/{rest}" for prefix in hub.prefixes for rest in BELOW]
    return [*found, *((method, path) for path in (*below, "/nothing") for method in ("GET", "POST"))]


def _methods(route: Any) -> set[str]:
    assert isinstance(route, Route)
    return set(route.methods or ())


def _filled(path: str) -> str:
    return "/".join("1" if part.startswith("{") else part for part in path.split("/"))


async def probe(hub: Hub, requests: list[Request], host: str, **headers: str) -> Iterator[tuple[Request, int, str]]:
    """What each request of the other user is answered."""
    code = PROBE % (json.dumps([requests, host, headers]), hub.port)
    answers = json.loads(await asyncio.to_thread(as_nobody, code))
    return ((request, status, text) for request, (status, text) in zip(requests, answers, strict=True))


@pytest.mark.parametrize(
    ("bound", "host"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1")]
)
async def test_uses_a_route_of_a_proxy_on_loopback(start_proxy: StartProxy, bound: str, host: str) -> None:
    proxy = await start_proxy(SERVER__HOST=bound)
    requests = routes_of(proxy.hub)
    assert len(requests) > 200
    served = [
        (request, status)
        for request, status, _ in await probe(proxy.hub, requests, host)
        if status not in (401, 403) and request[1] != "/health/live"
    ]
    assert served == []
    assert len(proxy.hub.store) == 0
    assert not proxy.hub.broker.pending


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::"])
async def test_uses_a_route_of_a_proxy_whose_token_it_lacks(start_proxy: StartProxy, bound: str) -> None:
    proxy = await start_proxy(SERVER__HOST=bound, SECURITY__AUTH_TOKEN=TOKEN, CORS__ORIGINS="https://app.example")
    # The proof shows that the proxy has its key, for a nonce of 16 characters; it opens nothing.
    open_to_all = {"/health/live", "/health", "/health/ready", "/oauth/callback", "/control/proof"}
    served = [
        (request, status)
        for request, status, _ in await probe(proxy.hub, routes_of(proxy.hub), "127.0.0.1", **{"x-api-key": "guess"})
        if status not in (401, 403) and request[1] not in open_to_all
    ]
    assert served == []


async def test_uses_what_settings_open_to_others(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(
        SERVER__BYPASS_MODE="true",
        CORS__ORIGINS="https://app.example",
        SECURITY__ALLOWED_HOSTS="localhost",
    )
    requests = [("POST", "/sdk/v1/messages"), ("GET", "/sdk/status"), ("POST", "/permissions"), ("GET", "/api/usage")]
    answers = await probe(proxy.hub, requests, "127.0.0.1", origin="https://app.example")
    assert {status for _, status, _ in answers} == {403}


async def test_learns_the_logins_from_health(start_proxy: StartProxy) -> None:
    """A probe without the token learns that the proxy runs, and nothing of its accounts."""
    proxy = await start_proxy(SECURITY__AUTH_TOKEN=TOKEN)
    told = await proxy.client.get("/health")  # of the proxy's own user
    assert "claude_api_credentials" in told.json()["checks"]
    code = f"print(request({proxy.hub.port}, 'GET', '/health')[1])"
    assert list(json.loads(await asyncio.to_thread(as_nobody, code))["checks"]) == ["proxy_service"]


async def test_is_refused_in_the_words_of_its_client_with_a_way_in(start_proxy: StartProxy) -> None:
    proxy = await start_proxy()
    paths = {"/api/v1/messages": "permission_error", "/codex/v1/responses": "permission_error", "/v1/models": ""}
    answers = await probe(proxy.hub, [("POST", path) for path in paths], "127.0.0.1")
    for (_, path), status, text in answers:
        error = json.loads(text)["error"]
        assert status == 403
        assert "security.auth_token" in error["message"]
        assert error["type"] == paths[path] or not paths[path]


async def test_opens_a_websocket(start_proxy: StartProxy) -> None:
    proxy = await start_proxy()
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    answers = await probe(
        proxy.hub,
        [("GET", "/codex/v1/responses"), ("GET", "/codex/responses"), ("GET", "/nothing")],
        "127.0.0.1",
        **upgrade,
        **{"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="},
    )
    assert {status for _, status, _ in answers} == {403}


async def test_hides_behind_a_connection_that_it_closes_at_once(start_proxy: StartProxy) -> None:
    """A closed socket has no owner any more: the system calls it root's, which here is the proxy's own user."""
    proxy = await start_proxy()
    code = f"""
import socket
body = b'{{"tool_name": "Bash", "input": {{}}}}'
head = b"POST /permissions HTTP/1.1\\nhost: localhost\\ncontent-type: application/json\\ncontent-length: %d\\n\\n"
head = head.replace(b"\\n", b"\\r\\n")
for reset in (False, True) * 20:
    sock = socket.create_connection(("127.0.0.1", {proxy.hub.port}))
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(head % len(body) + body)
    sock.close()
"""
    await asyncio.to_thread(as_nobody, code)
    assert (await proxy.client.get("/health/live")).status_code == 200  # all that came before has been read
    assert not proxy.hub.broker.pending
    assert not proxy.hub.broker.ended


async def test_gets_in_with_the_token_that_it_was_given(start_proxy: StartProxy) -> None:
    """Not an attack: the way that the refusal names."""
    proxy = await start_proxy(SECURITY__AUTH_TOKEN=TOKEN)
    answers = await probe(proxy.hub, [("GET", "/demo/v1/models")], "127.0.0.1", **{"x-api-key": TOKEN})
    assert [status for _, status, _ in answers] == [200]
