"""One client that sends much at once: it waits for itself, and the others are served."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.attack.box import Served
from tests.attack.conftest import StartServe
from tests.attack.hostile import MB, Cost, Upstream, whole

pytestmark = pytest.mark.attack

MANY, SIZE, SHARE = 16, 16 * MB, 32 * MB
ALLOWANCE = 64 * MB  # code, the 4 MB that are kept of each body, and what the sockets buffer

# Sends the same large body on many connections, framed in one way, and prints the status of each answer.
CLIENT = """
import random, socket, sys, threading
port, many, size, path, framing = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
text = b'{"model":"m","max_tokens":1,"type":"response.create","input":"hi","messages":[{"role":"user","content":"'
body = text + random.randbytes(2**20).hex().encode() * (size // 2**21) + b'"}]}'
head = f"POST {path} HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\ncontent-type: application/json\\r\\n"
if framing == "chunked":
    data = [head.encode() + b"transfer-encoding: chunked\\r\\n\\r\\n%x\\r\\n" % len(body), body, b"\\r\\n0\\r\\n\\r\\n"]
elif framing == "gzip":
    import gzip
    packed = gzip.compress(body, 1)
    data = [f"{head}content-encoding: gzip\\r\\ncontent-length: {len(packed)}\\r\\n\\r\\n".encode(), packed]
elif framing == "socket":
    upgrade = "connection: upgrade\\r\\nupgrade: websocket\\r\\nsec-websocket-version: 13\\r\\n"
    key = "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n"
    opening = f"GET {path} HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\n{upgrade}{key}\\r\\n".encode()
    data = [opening, b"\\x81\\xff" + len(body).to_bytes(8, "big") + bytes(4), body[:-1]]  # it never ends
else:
    data = [f"{head}content-length: {len(body)}\\r\\n\\r\\n".encode(), body]
statuses = []
def send():
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            for piece in data:
                connection.sendall(piece)
                if framing == "socket" and piece is data[0]:
                    connection.recv(4096)
            statuses.append(connection.recv(12)[9:].decode())
        except ConnectionError:
            statuses.append("cut")
threads = [threading.Thread(target=send, daemon=True) for _ in range(many)]
for thread in threads: thread.start()
print("begun", flush=True)
for thread in threads: thread.join()
print(*statuses, flush=True)
"""


@contextlib.contextmanager
def flood(served: Served, path: str, framing: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that sends many large bodies at once."""
    arguments = [str(served.port), str(MANY), str(SIZE), path, framing]
    with subprocess.Popen([sys.executable, "-c", CLIENT, *arguments], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        yield client
        client.kill()


@pytest.mark.parametrize("framing", ["length", "chunked", "gzip", "socket"])
def test_many_large_bodies_of_one_process(serve: StartServe, framing: str) -> None:
    release = threading.Event()
    arrived = threading.Semaphore(0)

    def hold(connection: socket.socket) -> None:
        arrived.release()
        release.wait(60)
        whole(b"{}")(connection)

    upstream = Upstream(hold)
    served = serve(
        PROVIDERS__COMPATIBLE__MAL__BASE_URL=f"{upstream.url}/v1",
        SERVER__CLIENT_MEMORY_MB=str(SHARE // MB),
        SERVER__MEMORY_MB="128",
        SERVER__MAX_BODY_MB="20",
    )
    path = "/codex/v1/responses" if framing == "socket" else "/mal/v1/chat/completions"
    small = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    large = {**small, "messages": [{"role": "user", "content": "a" * SIZE}]}
    assert served.request("POST", "/demo/v1/messages", large)[0] == 200  # the code is there before anything is measured
    cost = Cost(served.process.pid)
    with flood(served, path, framing) as client:
        if framing != "socket":
            assert arrived.acquire(timeout=30)
        status, answer = served.request("POST", "/demo/v1/messages", large)
        assert status == 200, answer[:300]
        for _ in range(5):
            assert served.request("POST", "/demo/v1/messages", small)[0] == 200
        assert cost.peak() < 2 * (SHARE + SIZE) + ALLOWANCE
        release.set()
        if framing in ("length", "chunked"):
            assert client.stdout is not None
            ends = client.stdout.readline().split()
            assert ends.count("200") > SHARE // SIZE, "those that waited have their turn"
            assert set(ends) <= {"200", "429"}
    upstream.stop()
