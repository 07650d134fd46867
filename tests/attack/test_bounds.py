"""Exhausting the proxy: every body, head, event and answer is bounded in size and time, whoever sends it."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard
from starlette.routing import Route

from ccproxy_tui.core.clock import SystemClock
from ccproxy_tui.core.server.account_routes import oauth_routes
from ccproxy_tui.core.server.control_routes import control_routes
from ccproxy_tui.core.server.health import health_routes
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.settings import load
from tests.attack.box import Served
from tests.attack.conftest import StartServe
from tests.attack.hostile import MB, Cost, Script, Upstream, exchange, post_endlessly, whole

pytestmark = pytest.mark.attack

CHAT = "/mal/v1/chat/completions"  # what the server speaks: relayed
MESSAGES = "/mal/v1/messages"  # converted
ASK = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
Serving = Callable[..., Served]


@pytest.fixture
def serve_with(serve: StartServe) -> Iterator[Serving]:
    """Starts the program with one compatible server, which runs a script."""
    upstreams: list[Upstream] = []

    def begin(script: Script, **environ: str) -> Served:
        upstreams.append(Upstream(script))
        return serve(PROVIDERS__COMPATIBLE__MAL__BASE_URL=f"{upstreams[-1].url}/v1", **environ)

    yield begin
    for upstream in upstreams:
        upstream.stop()


def ask(served: Served, path: str, body: Any = None, **more: Any) -> tuple[int, bytes]:
    return served.request("POST", path, {**ASK, **more} if body is None else body)


def last_row(served: Served) -> dict[str, Any]:
    """The newest exchange, as a front end sees it: its row, and the marks on its timeline."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(served.socket))
        connection.settimeout(20)
        connection.sendall(b"GET /control/frames/x HTTP/1.1\r\nhost: localhost\r\n\r\n")
        data = b""
        while b"\n\n" not in data.partition(b"\r\n\r\n")[2]:
            data += connection.recv(64 * 1024)
    frame = json.loads(data.partition(b"data: ")[2].partition(b"\n\n")[0])
    row: dict[str, Any] = frame["rows"][-1]
    return row


# --- compressed answers ---


def _bombs() -> dict[str, tuple[str, bytes]]:
    zeros = bytes(4 * MB)
    packer = zlib.compressobj(9, wbits=31)
    gz = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    return {
        "gzip": ("gzip", gz),
        "deflate": ("deflate", zlib.compress(bytes(256 * MB), 9)),
        "zstd": ("zstd", zstandard.ZstdCompressor().compress(bytes(256 * MB))),
        "gzip twice": ("gzip, gzip", gzip.compress(gz)),
        "members": ("gzip", gzip.compress(zeros) * 200),
    }


@pytest.fixture(scope="module")
def bombs() -> dict[str, tuple[str, bytes]]:
    return _bombs()


JSON, EVENTS = "application/json", "text/event-stream"


@pytest.mark.parametrize(
    ("kind", "path", "content_type"),
    [
        ("gzip", CHAT, JSON),
        ("gzip", CHAT, EVENTS),
        ("gzip", MESSAGES, JSON),
        ("gzip", MESSAGES, EVENTS),
        ("deflate", MESSAGES, JSON),
        ("zstd", CHAT, JSON),
        ("zstd", MESSAGES, JSON),
        ("gzip twice", CHAT, JSON),
        ("gzip twice", MESSAGES, EVENTS),
        ("members", MESSAGES, JSON),
    ],
)
def test_an_answer_that_unpacks_without_end(
    serve_with: Serving, bombs: dict[str, tuple[str, bytes]], kind: str, path: str, content_type: str
) -> None:
    encoding, bomb = bombs[kind]
    served = serve_with(whole(bomb, f"content-encoding: {encoding}", content_type=content_type))
    ask(served, path, ASK | {"stream": False})  # connections and code are there before anything is measured
    cost = Cost(served.process.pid)
    with ThreadPoolExecutor() as pool:
        hostile = pool.submit(ask, served, path)
        while not hostile.done():
            assert served.request("GET", "/health/live")[0] == 200
        status, body = hostile.result()
    assert cost.peak() < max(4 * len(bomb), 64 * MB)
    if path == CHAT:
        assert status == 200
        assert body == bomb, "a relayed answer is the client's business: byte for byte"
    else:
        assert status == 502
        assert json.loads(body)["error"]["type"] == "api_error"


# --- request bodies ---


def _post_routes() -> list[str]:
    """Every route of the real application that takes POST, and one path of each kind below a provider."""
    hub = Hub(load(environ={}), SystemClock(), "t" * 40)
    routes = [*health_routes(hub), *control_routes(hub), *oauth_routes(hub)]
    found = [route.path for route in routes if isinstance(route, Route) and "POST" in (route.methods or ())]
    assert len(found) > 20, "the table was not found"
    below = ["/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/messages/count_tokens", "/v1/embeddings"]
    paths = [*found, *(f"{prefix}{path}" for prefix in ("", "/api", "/codex", "/copilot", "/sdk") for path in below)]
    return [path for path in paths if path != "/control/shutdown"]


def test_bodies_without_end_on_every_route(serve: StartServe) -> None:
    served = serve(SERVER__MAX_BODY_MB="16")
    cost = Cost(served.process.pid)
    for path in _post_routes():
        named = path.replace("{", "").replace("}", "").replace(":path", "")
        answer = post_endlessly(str(served.socket), named, 60 * MB)
        assert answer.status >= 400, path
        assert answer.sent <= 16 * MB + 2 * MB, path  # the largest limit, and what the system buffers
        assert json.loads(answer.body), path
        if answer.sent > 2 * MB:  # else it was refused for what it is, before its body
            assert answer.status == 413, (path, answer)
    assert cost.peak() < 4 * 16 * MB


def test_a_body_whose_length_says_that_it_is_too_large(serve: StartServe) -> None:
    served = serve()
    for path in ("/permissions", "/mcp", "/hooks/claude-code", "/api/v1/messages", "/mcp/permission/check"):
        lines = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        status, body = exchange(("127.0.0.1", served.port), f"{lines}content-length: 300000000\r\n\r\n".encode())
        assert status == 413, path
        assert b"larger than" in body
