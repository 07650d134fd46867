"""A web page whose name is made to lead to this machine (DNS rebinding) wants to use the proxy as its own origin."""

from __future__ import annotations

import pytest

from tests.attack.conftest import StartServe

pytestmark = pytest.mark.attack

# Names that an attacker can have resolved: by the public DNS, a local network's DHCP, mDNS or LLMNR, or by a browser.
NAMES = (
    "evil.example",
    "127.0.0.1.evil.example",
    "attackerbox",
    "wpad",
    "router.local",
    "[::1].evil.example",
    "0.0.0.0",
    "[::]",
    "[::ffff:0.0.0.0]",
)
UPGRADE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_reads_and_sends_as_its_own_origin(serve: StartServe) -> None:
    served = serve()
    for name in NAMES:
        host = f"{name}:{served.port}"
        page = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        image = {"host": host}  # browsers send neither Origin nor Sec-Fetch-Site to an origin that is not trustworthy
        for method, path, headers in (
            ("POST", "/demo/v1/messages", page),
            ("GET", "/api/usage", image),
            ("GET", "/health", image),
            ("GET", "/mcp", image),
            ("GET", "/codex/v1/responses", {**page, **UPGRADE}),
        ):
            status, _ = served.request(method, path, {} if method == "POST" else None, headers)
            assert status == 403, (name, method, path)


def test_is_let_in_by_a_name_that_is_ours(serve: StartServe) -> None:
    """Not an attack: the names of this machine, and one that its user has configured."""
    served = serve(SECURITY__ALLOWED_HOSTS="box.example")
    for name in ("127.0.0.1", "localhost", "app.localhost", "[::1]", "box.example"):
        assert served.request("GET", "/demo/v1/models", headers={"host": f"{name}:{served.port}"})[0] == 200, name
