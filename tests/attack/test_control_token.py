"""A program that listens where the proxy is looked for wants something that opens the real one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import pty
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import Watch
from ccproxy_tui.core.control.key import PROOF_PATH, ControlKey, find_key
from ccproxy_tui.core.system.paths import Paths
from tests.attack.box import PROGRAM, Served, run
from tests.attack.conftest import StartServe
from tests.conftest import Proxy, StartProxy, until

pytestmark = pytest.mark.attack

ASKED = {"tool_name": "Bash", "input": {"command": "make deploy"}}


@dataclass
class Squatter:
    """Listens on `host`, keeps what it gets, and hands it on to the real proxy when there is one."""

    host: str
    port: int = 0
    real: tuple[str, int] | None = None
    got: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Squatter:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def text(self) -> bytes:
        return b"".join(self.got)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while piece := client.recv(65536):
                self.got.append(piece)
                client.sendall(self._answer(piece))

    def _answer(self, piece: bytes) -> bytes:
        if self.real is None:
            return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
        with socket.create_connection(self.real) as real:
            real.sendall(piece)
            return real.recv(65536)


def handle(*arguments: str, cwd: Path) -> str:
    """What `permission-handler` prints in a terminal."""
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            [*PROGRAM, "permission-handler", *arguments], stdin=follower, stdout=follower, stderr=follower, cwd=cwd
        )
        os.close(follower)
        printed = b""
        with contextlib.suppress(OSError):  # the end of the terminal
            while b"waiting" not in printed and (piece := os.read(leader, 65536)):
                printed += piece
        if process.poll() is None and b"waiting" in printed:
            process.terminate()
        process.wait(20)
        return printed.decode()
    finally:
        os.close(leader)


def key_of(served: Served) -> ControlKey:
    key = find_key(Paths.of_user(), served.port)
    assert key is not None
    return key


def test_gets_the_key_of_a_proxy_that_is_not_up(tmp_path: Path) -> None:
    with Squatter("127.0.0.1") as squatter:
        for arguments in (["--port", str(squatter.port)], ["--host", "127.0.0.1", "--port", str(squatter.port)]):
            assert "No proxy" in handle(*arguments, cwd=tmp_path)
    assert squatter.got == []


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
@pytest.mark.parametrize("relays", [True, False])
def test_stands_between_a_front_end_and_the_proxy(serve: StartServe, tmp_path: Path, host: str, relays: bool) -> None:
    served = serve()
    real = ("127.0.0.1", served.port) if relays else None
    with Squatter(host, served.port, real) as squatter:
        assert "Another program listens" in handle("--host", host, "--port", str(served.port), cwd=tmp_path)
    assert squatter.text.count(b"HTTP/1.1\r\n") == 1  # the wish for a proof, and nothing after it
    assert squatter.text.startswith(b"GET /control/proof?nonce=")
    assert key_of(served).secret not in squatter.text


def test_the_front_end_that_it_wants_to_fool_reaches_the_real_one(serve: StartServe, tmp_path: Path) -> None:
    """Not an attack: the same command, without a squatter."""
    served = serve()
    for arguments in ([], ["--port", str(served.port)], ["--host", "127.0.0.1", "--port", str(served.port)]):
        assert "waiting for permission requests" in handle(*arguments, cwd=tmp_path)


def _capture(proxy: Proxy, *, path: str = "/control/shutdown", content: bytes = b'{"drain": false}') -> httpx.Request:
    """A signed request as it would be on the wire."""
    request = proxy.client.build_request("POST", path, content=content)
    return next(proxy.signed.auth_flow(request))


Change = Callable[[httpx.Request], httpx.Request]


def _with(**changes: str) -> Change:
    def change(request: httpx.Request) -> httpx.Request:
        parts = {"url": str(request.url), "content": request.content.decode(), **changes}
        return httpx.Request(request.method, parts["url"], content=parts["content"], headers=request.headers)

    return change


async def test_replays_what_it_has_seen(proxy: Proxy) -> None:
    request = _capture(proxy, path="/control/watch/none")
    assert (await proxy.client.send(request)).status_code == 404  # accepted: there is no such front end
    assert (await proxy.client.send(request)).status_code == 401


async def test_changes_what_it_has_seen(proxy: Proxy) -> None:
    url = f"{proxy.url}/control/watch/none"
    for change in (
        _with(content='{"drain": true }'),
        _with(url=f"{proxy.url}/control/shutdown"),
        _with(url=f"{url}?now=1"),
    ):
        refused = await proxy.client.send(change(_capture(proxy, path="/control/watch/none")))
        assert refused.status_code == 401
    assert not proxy.hub.stop_requested.is_set()


async def test_takes_it_to_another_proxy_or_another_address(proxy: Proxy) -> None:
    key = proxy.hub.proofs.key
    now = proxy.hub.proofs._clock.now()
    path = "/control/shutdown"
    for address in ("127.0.0.2 1", f"::1 {proxy.hub.port}", f"127.0.0.1 {proxy.hub.port + 1}"):
        header = key.sign("POST", path, b"{}", address, now)
        assert (await proxy.client.post(path, content=b"{}", headers={"x-ccproxy-control": header})).status_code == 401
    other = ControlKey(b"\0" * 32).sign("POST", path, b"{}", f"127.0.0.1 {proxy.hub.port}", now)
    assert (await proxy.client.post(path, content=b"{}", headers={"x-ccproxy-control": other})).status_code == 401
    assert not proxy.hub.stop_requested.is_set()


@pytest.mark.parametrize("seconds", [-40, 40])
async def test_keeps_it_for_later(proxy: Proxy, seconds: float) -> None:
    now = proxy.hub.proofs._clock.now() + seconds
    header = proxy.hub.proofs.key.sign("GET", "/control/status", b"", f"127.0.0.1 {proxy.hub.port}", now)
    assert (await proxy.client.get("/control/status", headers={"x-ccproxy-control": header})).status_code == 401


@pytest.mark.parametrize("header", ["", "x", "[] x", "[1,2,3] x", '[1e999,"a","b"] c', "\u00ff \u00ff", "[" * 9000])
async def test_guesses(proxy: Proxy, header: str) -> None:
    headers = [(b"x-ccproxy-control", header.encode("latin-1"))]
    assert (await proxy.client.get("/control/status", headers=headers)).status_code == 401


async def test_sends_the_key_itself(proxy: Proxy) -> None:
    """It never travels: a copy of it as a header opens nothing."""
    for header in (proxy.hub.proofs.key.secret.hex(), f"Bearer {proxy.hub.proofs.key.secret.hex()}"):
        headers = {"x-ccproxy-control": header}
        assert (await proxy.client.get("/control/status", headers=headers)).status_code == 401


async def test_has_the_proxy_prove_for_it(proxy: Proxy) -> None:
    """A proof holds for the nonce and address of the front end that wants it; it is no signature."""
    nonce = "n" * 32
    given = await proxy.client.get(PROOF_PATH, params={"nonce": nonce})
    key = proxy.hub.proofs.key
    assert given.text == key.prove(nonce, f"127.0.0.1 {proxy.hub.port}")
    assert given.text != key.prove(nonce, f"127.0.0.2 {proxy.hub.port}")
    for wrong in ("", "n", "n" * 65):
        assert (await proxy.client.get(PROOF_PATH, params={"nonce": wrong})).status_code == 400


async def test_a_front_end_over_tcp_sees_and_answers(start_proxy: StartProxy) -> None:
    """Not an attack: frames and verbs over signed TCP."""
    proxy = await start_proxy(PERMISSIONS__DECIDERS="any")
    control = ControlClient(url=proxy.url, key=proxy.hub.proofs.key)

    async def watch() -> None:
        async for _ in control.frames(Watch()):
            pass

    watching = asyncio.create_task(watch())
    await until(lambda: proxy.hub.viewers == 1)
    asking = asyncio.create_task(proxy.client.post("/permissions", json=ASKED))
    await until(lambda: bool(proxy.hub.broker.pending))
    assert (await control.status()).waiting == 1
    await control.answer_permission(proxy.hub.broker.pending[0].id, allowed=True)
    assert (await asking).json()["allowed"] is True
    watching.cancel()
    await control.close()


def test_finds_the_key_of_yesterday(serve: StartServe, tmp_path: Path) -> None:
    old = Paths.of_user().state / "control-token"
    old.parent.mkdir(parents=True)
    old.write_text("x" * 43)
    first = serve()
    key, path = key_of(first), Paths.of_user().runtime / f"{first.port}.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not old.exists()
    first.stop()
    assert not path.exists()
    second = serve("--port", str(first.port))
    assert key_of(second) != key
    assert run("status", cwd=tmp_path)[0] == 0


@pytest.fixture
def connection(serve: StartServe) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection("127.0.0.1", serve().port, timeout=20)
    yield opened
    opened.close()


def test_smuggles_a_request_behind_a_signed_one(connection: http.client.HTTPConnection) -> None:
    """The proof of a connection is the front end's; each request is signed for itself."""
    connection.request("GET", f"{PROOF_PATH}?nonce={'n' * 32}")
    assert connection.getresponse().read()
    connection.request("GET", "/control/status")
    assert connection.getresponse().status == 401
