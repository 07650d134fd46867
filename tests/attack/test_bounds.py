"""Exhausting the proxy: every body, head, event and answer is bounded in size and time, whoever sends it."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard
from starlette.routing import Route

from ccproxy_tui.core.server.account_routes import oauth_routes
from ccproxy_tui.core.server.control_routes import control_routes
from ccproxy_tui.core.server.health import health_routes
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.system.clock import SystemClock
from tests.attack.box import Served, run
from tests.attack.conftest import StartServe
from tests.attack.hostile import (
    MB,
    Cost,
    Script,
    Upstream,
    endless,
    exchange,
    post_endlessly,
    send_bytes,
    stream,
    whole,
)

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


def last_exchange(served: Served) -> dict[str, Any]:
    """The newest exchange, as a front end sees it: its row, and the marks on its timeline."""
    frame = _get(served, "/control/frames/x", until=b"\n\n").partition(b"data: ")[2].partition(b"\n\n")[0]
    newest = json.loads(frame)["rows"][-1]
    found: dict[str, Any] = json.loads(_get(served, f"/control/exchanges/{newest['id']}"))
    return found


def _get(served: Served, path: str, until: bytes = b"") -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(served.socket))
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        data = b""
        while piece := connection.recv(64 * 1024):
            data += piece
            if until and until in data.partition(b"\r\n\r\n")[2]:
                break
    return data.partition(b"\r\n\r\n")[2]


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
        assert "not decoded" in str(last_exchange(served)["marks"])
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


# --- events, heads and what comes between pieces ---


def test_an_event_without_end(serve_with: Serving) -> None:
    sent = [0]
    served = serve_with(stream(endless(b"data: ", b"x" * 65_536, 120 * MB, sent)))
    ask(served, MESSAGES)  # nothing is measured before the code is there
    for streamed in (True, False):
        cost = Cost(served.process.pid)
        status, body = ask(served, MESSAGES, stream=streamed)
        assert (status, json.loads(body)["error"]["type"]) == (502, "api_error")
        assert b"An event of the stream is larger than 32 MB" in body
        assert sent[0] < 50 * MB, "the upstream was let go"
        assert cost.peak() < 64 * MB
        assert "larger than" in last_exchange(served)["row"]["error"]
    with pytest.raises(http.client.IncompleteRead) as cut:  # it has no end: a cut is what it is
        ask(served, CHAT, stream=True)
    assert len(cut.value.partial) >= 100 * MB, "a relayed stream is the client's business"


def test_an_event_of_tiny_pieces_does_not_cost_more_with_each(serve_with: Serving) -> None:
    sent = [0]
    served = serve_with(stream(endless(b"data: ", b"xy", 200_000, sent), b"\n\n", b"data: [DONE]\n\n"))
    cost = Cost(served.process.pid)
    assert ask(served, MESSAGES, stream=True)[0] in (200, 502)
    assert cost.peak() < 16 * MB


@pytest.mark.parametrize(
    "opening",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ",  # a trailer
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=",  # a chunk's extension
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 103 Early Hints\r\nx: ",
    ],
    ids=["trailer", "extension", "head", "interim"],
)
def test_framing_of_an_upstream_without_end(serve_with: Serving, opening: bytes) -> None:
    sent = [0]
    served = serve_with(send_bytes(endless(opening, b"a" * 65_536, 60 * MB, sent)))
    cost = Cost(served.process.pid)
    with contextlib.suppress(http.client.HTTPException):  # an answer that had begun just ends
        assert ask(served, CHAT)[0] in (200, 502)
    assert sent[0] < 20 * MB
    assert cost.peak() < 24 * MB


def test_a_head_of_an_upstream_that_trickles(serve_with: Serving) -> None:
    gone = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        with contextlib.suppress(OSError):
            while not gone.wait(0.2):
                connection.sendall(b"a")

    served = serve_with(trickle, HTTP__READ_TIMEOUT="2")
    try:
        assert ask(served, CHAT)[0] == 504
    finally:
        gone.set()


POST = b"POST /api/v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [(POST, 408), (POST + b"content-length: 9\r\n\r\n{", 408), (b"", 0)],
    ids=["half a head", "half a body", "nothing"],
)
def test_a_client_that_does_not_go_on(serve: StartServe, data: bytes, status: int) -> None:
    served = serve(SERVER__HEAD_SECONDS="0.5", SERVER__BODY_SECONDS="0.5")
    found, body = exchange(("127.0.0.1", served.port), data)
    assert found == status
    if status:
        assert json.loads(body)["error"]["type"] == "timeout_error"


def test_heads_that_are_never_finished_make_room_for_others(serve: StartServe) -> None:
    served = serve(SERVER__HEAD_SECONDS="600")
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(1300):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=20))
            connection.sendall(b"GET / HTTP/1.1\r\nx: ")
            opened.append(connection)
        assert served.request("GET", "/health/live")[0] == 200
        assert opened[0].recv(1) == b"", "the one that waited longest was closed"


@pytest.mark.parametrize("between", [b"0\r\nx: ", b"2;x="], ids=["trailer", "extension"])
def test_framing_of_a_client_without_end(serve: StartServe, between: bytes) -> None:
    served = serve()
    cost = Cost(served.process.pid)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n" + between)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 60 * MB:
                connection.sendall(b"a" * 65_536)
                sent += 65_536
    assert sent < 20 * MB
    assert cost.peak() < 24 * MB


def test_a_message_of_a_socket_in_a_million_fragments(serve: StartServe) -> None:
    served = serve()
    head = (
        b"GET /codex/v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head)
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        connection.sendall(b"\x01\x81\0\0\0\0a")  # a text's first fragment
        with pytest.raises(ConnectionError):
            for _ in range(100):
                connection.sendall(b"\x00\x81\0\0\0\0a" * 10_000)


# --- what a small request can ask for ---


def test_a_models_name_of_forty_megabytes(serve_with: Serving) -> None:
    served = serve_with(whole(b"{}"), SERVER__MAX_BODY_MB="64")
    cost = Cost(served.process.pid)
    status, body = ask(served, MESSAGES, model="a" * (40 * MB))
    assert status == 400
    assert b"longer than 512" in body
    assert len(body) < 1000
    assert cost.peak() < 4 * 40 * MB
    assert len(json.dumps(last_exchange(served))) < 10_000


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
def test_eight_hundred_thousand_messages(serve_with: Serving, path: str) -> None:
    served = serve_with(whole(b'{"choices":[]}'))
    body = b'{"model":"m","max_tokens":1,"messages":[' + b'{"role":"user","content":"a"},' * 800_000 + b"{}]}"
    cost = Cost(served.process.pid)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    status, answer = exchange(("127.0.0.1", served.port), f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    assert status == (400 if path == MESSAGES else 200), answer
    assert cost.peak() < 4 * len(body)


_NOTHINGS = b"[],".join([b""] * 4_000_000)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/mcp", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[%b0]}'),
        ("/permissions", b'{"tool_name":"a","input":[%b0]}'),
        ("/hooks/claude-code", b'{"hook_event_name":"Stop","x":[%b0]}'),
        ("/demo/v1/messages", b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"x":[%b0]}'),
        (MESSAGES, b'{"model":"m","max_tokens":1,"messages":[%b0]}'),
    ],
)
def test_four_million_values_that_take_nothing_on_the_wire(serve_with: Serving, path: str, body: bytes) -> None:
    served = serve_with(whole(b"{}"))
    raw = body % _NOTHINGS
    cost = Cost(served.process.pid)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    status, answer = exchange(("127.0.0.1", served.port), f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    assert (status, b"more values" in answer) == (400, True), answer
    assert cost.peak() < 5 * len(raw)


def test_sessions_that_a_page_opens_and_forgets(serve: StartServe) -> None:
    served = serve()
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(66):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=20))
            connection.sendall(b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            begun = b""
            while b"endpoint" not in begun:
                begun += connection.recv(4096)
            opened.append(connection)
        assert opened[0].recv(4096) == b"0\r\n\r\n", "the first one ended"


def test_a_token_endpoint_that_never_ends(serve: StartServe, claude_login: Path, folder: Path) -> None:
    sent = [0]
    upstream = Upstream(send_bytes(endless(b"HTTP/1.1 200 OK\r\n\r\n{", b" " * 65_536, 200 * MB, sent)))
    environ = {"PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": f"{upstream.url}/token"}
    status, printed = run("auth", "refresh", cwd=folder, environ=environ)
    assert status != 0, printed
    assert 0 < sent[0] < 20 * MB
    upstream.stop()


def test_a_client_that_does_not_read(serve_with: Serving) -> None:
    sent = [0]
    served = serve_with(stream(endless(b"", b"data: {}\n\n" * 6_000, 200 * MB, sent)))
    cost = Cost(served.process.pid)
    body = json.dumps({**ASK, "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        before = -1
        while sent[0] != before or not sent[0]:  # until nothing moves any more
            before = sent[0]
            assert served.request("GET", "/health/live")[0] == 200
            time.sleep(0.3)
        assert sent[0] < 60 * MB
        assert cost.peak() < 16 * MB


# --- four times its size ---

ALLOWANCE = 24 * MB  # code that is loaded for the first of its kind, the kept 4 MB and 64 KB, buffers of the sockets
SIZE = 24 * MB
TEXT = "word and more of it. " * (SIZE // 21)
COMPLETION = {
    "id": "c",
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
}
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def _chunk(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


ANSWERS: dict[str, Script] = {
    "nothing": whole(b'{"id":"c","model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'),
    "json": whole(json.dumps(COMPLETION).encode()),
    "events": stream(*[_chunk(TEXT[start : start + 20_000]) for start in range(0, len(TEXT), 20_000)], DONE),
    "one event": stream(_chunk(TEXT), DONE),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_costs_more_than_four_times_its_size(serve_with: Serving, answer: str) -> None:
    served = serve_with(ANSWERS[answer])
    text = TEXT if answer == "nothing" else "hi"
    said = [{"role": "user", "content": text}]
    for path, body in {
        CHAT: {"messages": said},
        MESSAGES: {"messages": said, "max_tokens": 1},
        "/mal/v1/responses": {"input": text},
    }.items():
        for streamed in (False, True) if answer != "nothing" else (False,):
            cost = Cost(served.process.pid)
            status, got = ask(served, path, {"model": "m", "stream": streamed, **body})
            assert status == 200, (path, got[:200])
            assert cost.peak() < 4 * max(SIZE, len(got)) + ALLOWANCE, (path, streamed, cost.peak() / SIZE)
