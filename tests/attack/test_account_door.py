"""A client of models is not a client of the account: paths, headers, redirects, renewals and logins, seen on bytes."""

from __future__ import annotations

import json
import posixpath
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from websockets.sync.client import connect

from tests.attack.box import Loot, Served
from tests.attack.conftest import StartServe
from tests.conftest import FAR_FUTURE, write_claude_login

pytestmark = pytest.mark.attack
MESSAGE = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
RESPONSE = {"model": "gpt-5", "input": "hi", "stream": True}


@dataclass
class Upstream:
    """A server that keeps the bytes of each request and answers with what `answer` holds."""

    url: str = ""
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    refuses: bytes = b""  # requests that hold this get a 401

    @property
    def targets(self) -> list[str]:
        return [request.split(b" ")[1].decode() for request in self.requests]

    @property
    def text(self) -> str:
        return b"\n".join(self.requests).decode("latin-1").lower()


def _receive(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _serve(upstream: Upstream, connection: socket.socket) -> None:
    with connection:
        while request := _receive(connection):
            upstream.requests.append(request)
            token = b'{"access_token":"sk-ant-oat01-renewed-0123456789-%d","expires_in":3600}' % len(upstream.requests)
            if b" /token" in request.split(b"\r\n")[0]:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(token), token))
            elif upstream.refuses and upstream.refuses in request:
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}")
            else:
                connection.sendall(upstream.answer)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found.port = listener.getsockname()[1]
        found.url = f"http://127.0.0.1:{found.port}"

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_serve, args=(found, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield found


@pytest.fixture
def served(serve: StartServe, upstream: Upstream) -> Served:
    """A proxy with three logins and two compatible servers, all of them at the scripted upstream."""
    write_claude_login()
    codex = Path.home() / ".codex" / "auth.json"
    codex.parent.mkdir()
    codex.write_text(
        json.dumps({"tokens": {"access_token": "codex-token-0123", "refresh_token": "r", "account_id": "a"}})
    )
    copilot = Path.home() / ".config" / "copilot" / "credentials.json"
    copilot.parent.mkdir(parents=True)
    copilot.write_text(json.dumps({"copilot_token": {"token": "copilot-token", "expires_at": FAR_FUTURE // 1000}}))
    return serve(
        PROVIDERS__CLAUDE_API__BASE_URL=f"{upstream.url}/anthropic",
        PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL=f"{upstream.url}/token",
        PROVIDERS__CODEX__BASE_URL=f"{upstream.url}/backend-api/codex",
        PROVIDERS__CODEX__OAUTH__TOKEN_URL=f"{upstream.url}/token",
        PROVIDERS__COPILOT__BASE_URL=f"{upstream.url}/copilot",
        PROVIDERS__COMPATIBLE__PLAIN__BASE_URL=f"{upstream.url}/plain/v1",
        PROVIDERS__COMPATIBLE__PLAIN__API_KEY="plain-key-0123456789",
        PROVIDERS__COMPATIBLE__CLOSE__BASE_URL=f"{upstream.url}/close",
        PROVIDERS__COMPATIBLE__CLOSE__FORMAT="anthropic_messages",
        SERVER__NETWORK_CALLS="false",
        PERMISSIONS__DECIDERS="any",
    )


def raw(served: Served, data: bytes) -> bytes:
    """The whole answer to bytes on a connection of their own."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(data)
        connection.settimeout(20)
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except TimeoutError:
            pass
        return answer


def ask(served: Served, method: str, target: str, headers: str = "", body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return raw(served, f"{head}{headers}\r\n".encode("latin-1") + body)


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1]) if answer else 0


NOT_FOR_CLIENTS = [
    ("GET", "/codex/../conversations"),
    ("GET", "/codex/conversations"),
    ("GET", "/codex/me"),
    ("GET", "/codex/wham/usage"),
    ("POST", "/codex/analytics-events/events"),
    ("POST", "/codex/alpha/search"),
    ("POST", "/api/api/oauth/claude_cli/create_api_key"),
    ("GET", "/api/api/oauth/profile"),
    ("GET", "/api/api/oauth/account"),
    ("POST", "/api/api/event_logging/batch"),
    ("POST", "/api/api/claude_code/metrics"),
    ("GET", "/api/v1/organizations/me"),
    ("GET", "/api/v1/organizations/api_keys"),
    ("GET", "/api/v1/skills"),
    ("POST", "/api/v1/sessions"),
    ("DELETE", "/api/v1/models/claude-x"),
    ("PUT", "/api/v1/files/file_1"),
    ("PATCH", "/api/v1/messages/batches/b"),
    ("GET", "/api/admin"),
    ("GET", "/api/v1/../../admin"),
    ("GET", "/copilot/../../user"),
    ("GET", "/copilot/user"),
    ("GET", "/copilot/agents"),
    ("GET", "/plain/../admin"),
    ("GET", "/plain/v1/organization/users"),
    ("POST", "/plain/v1/fine_tuning/jobs"),
    ("GET", "/close/v1/organizations/me"),
    ("GET", "/claude/v1/me"),
    ("GET", "/demo/x"),
    ("GET", "/sdk/x"),
]


def test_reach_the_account_behind_the_models(served: Served, upstream: Upstream) -> None:
    answered = {
        path: status(ask(served, method, path, body=b"{}" if method in ("POST", "PUT", "PATCH") else b""))
        for method, path in NOT_FOR_CLIENTS
    }
    assert upstream.requests == []
    assert {path: code for path, code in answered.items() if code not in (400, 404)} == {}


_DOTS = r"""
.. . %2e%2e .%2e %2E. ..; ..;x=y %2e%2e%3b %252e%252e %25252e%25252e ..%2f.. x%2f.. ..%5c %5c.. ..\ %2e%2e%2f
..%20 %20.. ... %c0%ae%c0%ae %ef%bc%8e%ef%bc%8e ..%00 %00 %0d%0a x%0d%0ahost:%20y %7f %c2%85 %ff % %2 %zz x\y %255c
"""
DOTS = _DOTS.split()


@pytest.mark.parametrize(
    "prefix", ["/api/v1/files/", "/codex/models/", "/copilot/", "/plain/models/", "/close/v1/models/"]
)
def test_climb_out_of_the_base_url(served: Served, upstream: Upstream, prefix: str) -> None:
    answered = {
        dots: status(ask(served, "GET", f"{prefix}{dots}{end}")) for dots in DOTS for end in ("", "/x", "/../x")
    }
    assert upstream.requests == []
    assert {dots: code for dots, code in answered.items() if code not in (400, 404)} == {}


_NAMES = "v1 files models messages batches organizations x %2F %3F ; api oauth me"
BITS = [*DOTS, "", *(_NAMES.split() * 6)]


def test_any_path_stays_below_its_base_url(served: Served, upstream: Upstream) -> None:
    """Random paths of names and tricks, as the upstream sees them on bytes, however often it decodes them."""
    chosen = random.Random(7)
    for _ in range(400):
        prefix = chosen.choice(["/api", "/claude", "/codex", "/copilot", "/plain", "/close", ""])
        path = f"{prefix}/{'/'.join(chosen.choices(BITS, k=chosen.randint(1, 5)))}"
        ask(served, chosen.choice(["GET", "POST", "DELETE"]), path)
    assert len(upstream.targets) > 3
    for target in upstream.targets:
        seen = target
        for _ in range(4):
            seen = unquote(seen, errors="surrogateescape").replace("\\", "/")
            place = posixpath.normpath(seen.split("?")[0])
            assert place.startswith(("/anthropic/v1/", "/plain/v1/", "/close/v1/", "/copilot/models"))
        assert re.match("/(anthropic/v1|plain/v1|close/v1|copilot)/(files|models|messages/batches)", target)


def test_climb_by_a_web_socket(served: Served, upstream: Upstream) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    upgrade += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    for path in ("/codex/../responses", "/codex/%2e%2e/responses", "/codex/x/..%2fresponses", "/codex/%00/responses"):
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n{upgrade}\r\n".encode()
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            connection.sendall(head)
            assert status(connection.recv(65536)) in (400, 404)
    assert upstream.requests == []


def test_turn_a_part_of_the_path_into_a_query(served: Served, upstream: Upstream) -> None:
    ask(served, "GET", "/api/v1/files/a%3Fbeta=true&x%2Fy%23z?limit=1&q=%20%2e%2e'\"")
    assert upstream.targets == ["/anthropic/v1/files/a%3Fbeta=true&x%2Fy%23z?limit=1&q=%20%2e%2e'\""]


SERVED = [
    ("POST", "/api/v1/messages?beta=true", "/anthropic/v1/messages?beta=true"),
    ("POST", "/claude/messages/count_tokens", "/anthropic/v1/messages/count_tokens"),
    ("GET", "/api/v1/files?limit=2", "/anthropic/v1/files?limit=2"),
    ("POST", "/api/v1/messages/batches", "/anthropic/v1/messages/batches"),
    ("GET", "/api/v1/messages/batches/b_1/results", "/anthropic/v1/messages/batches/b_1/results"),
    ("GET", "/api/api/oauth/usage", "/anthropic/api/oauth/usage"),
    ("POST", "/plain/v1/embeddings", "/plain/v1/embeddings"),
    ("POST", "/plain/v1/chat/completions", "/plain/v1/chat/completions"),
    ("GET", "/close/v1/models/a%2Fb", "/close/v1/models/a%2Fb"),
]  # fmt: skip


def test_what_clients_of_models_use_is_served(served: Served, upstream: Upstream) -> None:
    for method, path, target in SERVED:
        answer = ask(
            served,
            method,
            path,
            "anthropic-version: 2023-06-01\r\n",
            json.dumps(MESSAGE).encode() if method == "POST" else b"",
        )
        assert (status(answer), upstream.targets[-1]) == (200, target)


def test_a_setting_opens_a_path(serve: StartServe, upstream: Upstream) -> None:
    write_claude_login()
    served = serve(
        PROVIDERS__CLAUDE_API__BASE_URL=upstream.url,
        PROVIDERS__CLAUDE_API__EXTRA_PATHS="GET v1/skills, GET v1/skills/*",
    )
    codes = [
        status(ask(served, method, path))
        for method, path in [
            ("GET", "/api/v1/skills"),
            ("GET", "/api/v1/skills/s"),
            ("DELETE", "/api/v1/skills/s"),
            ("GET", "/api/v1/skills/s/t"),
        ]
    ]
    assert (codes, upstream.targets) == ([200, 200, 404, 404], ["/v1/skills", "/v1/skills/s"])


CREDENTIALS = """
Authorization: Bearer {}
X-API-Key: {}
x-goog-api-key: {}
API-Key: {}
X-Auth-Token: {}
X-Auth-Key: {}
X-Amz-Security-Token: {}
X-Amz-Date: {}
X-Amz-Content-Sha256: {}
Proxy-Authorization: Basic {}
Cookie: a={}
Ocp-Apim-Subscription-Key: {}
X-CSRF-Token: {}
X-XSRF-TOKEN: {}
CF-Access-Client-Secret: {}
Cf-Access-Jwt-Assertion: {}
CF-Connecting-IP: {}
True-Client-IP: {}
X-Real-IP: {}
Forwarded: for={}
X-Forwarded-For: {}
X-Forwarded-Host: {}
Via: 1.1 {}
X-Original-URL: /{}
X-Rewrite-URL: /{}
X-HTTP-Method-Override: {}
ChatGPT-Account-Id: {}
OpenAI-Organization: {}
OpenAI-Project: {}
Anthropic-Organization-Id: {}
Anthropic-Workspace-Id: {}
X-Ccproxy-Thing: {}
X-Vault-Token: {}
Private-Token: {}
Job-Token: {}
X-Password: {}
X-Session-Secret: {}
X-Signature: {}
X-Hub-Signature-256: {}
X-JWT: {}
Set-Cookie: {}
X-Access-Key: {}
Authentication: {}
X-Credentials: {}
X-Passwd: {}
X-Goog-IAP-JWT-Assertion: {}
X-Note: Bearer {}
X-Note: sk-ant-api03-{}
X-Note: ghp_{}
X-Note: https://me:{}@example.com/
x-custom-apikey: {}
X_API_KEY: {}
api_key: {}
x_auth_token: {}
chatgpt_account_id: {}
x_forwarded_for: {}
X-Pwd: {}
X-Remote-User: {}
""".strip().splitlines()
CANARY = "Canary0123456789abcdefCanary0123456789"


BODIES = [
    ("/api/v1/messages", MESSAGE),
    ("/codex/responses", RESPONSE),
    ("/plain/v1/chat/completions", MESSAGE),
    ("/copilot/v1/chat/completions", {**MESSAGE, "model": "gpt-4o"}),
    ("/api/v1/chat/completions", MESSAGE),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_hand_the_clients_own_credentials_on(served: Served, upstream: Upstream, path: str, body: object) -> None:
    lines = "".join(f"{line.format(CANARY)}\r\n" for line in CREDENTIALS)
    lines += "".join(f"{line.format(CANARY).replace(': ', ':', 1).swapcase()}\r\n" for line in CREDENTIALS[:10])
    ask(
        served,
        "POST",
        path,
        lines + "X-Harmless: yes\r\nanthropic-beta: some-beta\r\nIdempotency-Key: i-1\r\n",
        json.dumps(body).encode(),
    )
    assert len(upstream.requests) == 1
    assert CANARY.lower() not in upstream.text
    assert "x-harmless: yes" in upstream.text
    assert "idempotency-key: i-1" in upstream.text


def test_hand_the_clients_own_credentials_on_by_a_web_socket(served: Served, upstream: Upstream) -> None:
    given = [tuple(line.format(CANARY).split(": ", 1)) for line in CREDENTIALS if not line.startswith("Forwarded")]
    with connect(f"ws://127.0.0.1:{served.port}/codex/responses", additional_headers=given, proxy=None) as client:
        client.send(json.dumps({"type": "response.create", **RESPONSE}))
        deadline = time.monotonic() + 20
        while not any(request.startswith(b"POST") for request in upstream.requests):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert [request.split(b" ")[0] for request in upstream.requests] == [b"GET", b"POST"]  # by its socket, then HTTP
    assert CANARY.lower() not in upstream.text


def test_have_the_login_sent_elsewhere_by_a_redirected_handshake(
    served: Served, upstream: Upstream, loot: Loot
) -> None:
    upstream.answer = f"HTTP/1.1 307 Go\r\nlocation: {loot.url}/x\r\ncontent-length: 0\r\n\r\n".encode()
    with connect(f"ws://127.0.0.1:{served.port}/codex/responses", proxy=None) as client:
        client.send(json.dumps({"type": "response.create", **RESPONSE}))
        assert json.loads(client.recv(timeout=20))["status"] == 502
    assert len(upstream.requests) == 2  # its socket was tried, then HTTP
    assert loot.requests == []


def test_smuggle_a_credential_in_a_trailer(served: Served, upstream: Upstream) -> None:
    body = json.dumps(MESSAGE).encode()
    head = f"POST /api/v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: x-goog-api-key\r\n\r\n"
    trailer = f"X-Goog-Api-Key: {CANARY}\r\nX-Amz-Security-Token: {CANARY}\r\n\r\n"
    raw(served, head.encode() + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + trailer.encode())
    assert len(upstream.requests) == 1
    assert CANARY.lower() not in upstream.text


FROM_UPSTREAM = """
Set-Cookie: a={}
set-cookie2: {}
Access-Control-Allow-Origin: {}
Access-Control-Allow-Credentials: {}
Access-Control-Expose-Headers: {}
Strict-Transport-Security: max-age={}
Clear-Site-Data: {}
Location: https://{}/
Content-Location: {}
Alt-Svc: {}
Public-Key-Pins: {}
Public-Key-Pins-Report-Only: {}
Content-Security-Policy: {}
Content-Security-Policy-Report-Only: {}
Refresh: 0;url={}
Link: <{}>
WWW-Authenticate: Basic realm={}
Proxy-Authenticate: Basic realm={}
NEL: {}
Report-To: {}
Reporting-Endpoints: {}
Server-Timing: {}
X-Ccproxy-Note: {}
X-Ccproxy-Conversion: {}
Cross-Origin-Opener-Policy: {}
Permissions-Policy: {}
X-Frame-Options: {}
Service-Worker-Allowed: {}
SourceMap: {}
X-Accel-Redirect: {}
X-Sendfile: {}
Authentication-Info: {}
Timing-Allow-Origin: {}
Origin-Agent-Cluster: {}
Set-Login: {}
X-Amz-Security-Token: {}
Expect-CT: {}
Accept-CH: {}
Set_Cookie: a={}
Activate-Storage-Access: {}
Document-Policy: {}
Supports-Loading-Mode: {}
""".strip().splitlines()


def test_speak_to_the_browser_for_the_proxys_origin(served: Served, upstream: Upstream) -> None:
    lines = "".join(f"{line.format('Hostile1')}\r\n" for line in FROM_UPSTREAM)
    kept = "request-id: req_1\r\nanthropic-ratelimit-tokens-remaining: 7\r\nretry-after: 3\r\nx-vendor: v\r\n"
    for code in (200, 400, 403, 429, 500):
        head = f"HTTP/1.1 {code} X\r\n{lines}{kept}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        upstream.answer = head.encode()
        answer = ask(served, "POST", "/api/v1/messages", body=json.dumps(MESSAGE).encode())
        assert status(answer) == code
        assert b"Hostile1" not in answer
        assert all(line.encode() in answer for line in kept.split("\r\n"))


PATHS = ["/api/v1/messages", "/codex/responses", "/plain/v1/chat/completions", "/api/v1/chat/completions"]


def test_send_the_client_and_its_prompt_elsewhere(served: Served, upstream: Upstream) -> None:
    for code in (300, 301, 302, 303, 304, 305, 307, 308, 399):
        upstream.answer = (
            f"HTTP/1.1 {code} Go\r\nlocation: https://evil.example/x\r\ncontent-length: 0\r\n\r\n".encode()
        )
        for path in PATHS:
            before = len(upstream.requests)
            answer = ask(served, "POST", path, body=json.dumps(RESPONSE if "codex" in path else MESSAGE).encode())
            assert (status(answer), str(code).encode() in answer, b"evil.example" in answer) == (502, True, False)
            assert len(upstream.requests) == before + 1


def test_have_a_login_renewed_with_each_request(served: Served, upstream: Upstream) -> None:
    upstream.refuses = b"POST /"
    for number in range(6):
        headers = f"chatgpt-account-id: wrong-{number}\r\nauthorization: Bearer x{number}\r\nx-odd: {number}\r\n"
        assert status(ask(served, "POST", "/api/v1/messages", headers, json.dumps(MESSAGE).encode())) == 401
        assert status(ask(served, "POST", "/codex/responses", headers, json.dumps(RESPONSE).encode())) == 401
    renewed = [request for request in upstream.requests if request.startswith(b"POST /token")]
    assert len(renewed) <= 2  # one for each of the two logins
    assert "wrong-" not in upstream.text


def control(served: Served, method: str, path: str, body: object = None) -> Any:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(served.socket)), base_url="http://proxy") as client:
        headers = {"content-type": "application/json"}
        answer = client.request(method, f"/control{path}", json=body, headers=headers)
        return answer.json() if answer.content else None


def login_state(served: Served) -> str:
    accounts = control(served, "GET", "/accounts")
    return str(next(one["login"]["state"] for one in accounts if one["view"]["provider"] == "claude"))


def listens(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def visit(port: int, target: str, headers: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\n{headers}\r\n".encode())
        return status(connection.recv(65536))


@pytest.mark.usefixtures("login_ports")
def test_end_or_take_over_a_login_from_a_web_page(served: Served, upstream: Upstream) -> None:
    view = control(served, "POST", "/accounts/claude/login")
    assert "url" in view, view
    state = parse_qs(urlsplit(view["url"]).query)["state"][0]
    listens(54545)
    own = "Host: localhost:54545\r\n"
    foreign = [
        ("/callback?code=x&state=y", own),
        ("/callback?code=x", own),
        ("/callback?error=access_denied&state=y", own),
        (f"/callback?code=x&state={state}", "Host: evil.example:54545\r\n"),
        (f"/callback?code=x&state={state}", own + "Origin: https://evil.example\r\n"),
        (f"/callback?code=x&state={state}", own + "Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\n"),
        (f"/callback?code=x&state={state}", own + "Sec-Fetch-Dest: iframe\r\nSec-Fetch-Mode: navigate\r\n"),
    ]
    for target, headers in [*foreign, *(("/callback?code=x&state=flood", own) for _ in range(100))]:
        assert visit(54545, target, headers) == 400
    idle = [socket.create_connection(("127.0.0.1", 54545)) for _ in range(100)]
    for target, headers in foreign[:3]:
        host = f"Host: 127.0.0.1:{served.port}\r\n{headers.removeprefix(own)}"
        assert visit(served.port, target.replace("/callback", "/oauth/callback"), host) == 400
    assert control(served, "POST", "/accounts/claude/login/answer", {"answer": "code#another-state"})["error"]
    assert login_state(served) == "waiting"
    good = own + "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    assert visit(54545, f"/callback?code=the-code&state={state}", good) == 200
    deadline = time.monotonic() + 10
    while login_state(served) == "waiting" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert login_state(served) == "done"
    assert b"the-code" in next(request for request in upstream.requests if request.startswith(b"POST /token"))
    for connection in idle:
        connection.close()
