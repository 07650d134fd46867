"""Asking the proxy of this user over its socket, for hook commands and scripts: only a proven answer counts.

One is started for each tool that an agent runs, so it imports little and speaks HTTP by hand.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import Any

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.hook_proof import NONCE, PROOF, key_file, proves, read_key
from ccproxy_tui.core.control.standing import watched
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.system.peers import unix_peer

_WAIT = 3700.0  # seconds; the proxy itself ends a permission request long before
_LARGEST = 64 * 1024 * 1024


class NotAsked(Exception):
    """There is no answer that counts. The message says why."""


class NothingRuns(NotAsked):
    """No proxy of this user runs."""


def ask(paths: Paths, path: str, body: bytes, port: int | None = None) -> dict[str, Any]:
    """Send JSON as it is; return the answer of the first proxy (on `port`, if any) that proves to be ours.

    One that stands still is waited for, with a line on standard error.

    Raises NotAsked; NotOurs for a folder of another user.
    """
    running = [instance for instance in instances.running(paths) if port in (None, instance.port)]
    if not running:
        raise NothingRuns(instances.none_runs(paths, port))
    key = read_key(key_file(paths))
    if key is None:
        raise NotAsked(f"The key of this install ({key_file(paths)}) can't be read, so no answer can be checked.")
    problem = NotAsked("No proxy has answered.")
    for instance in running:
        try:
            with watched(instance):
                return _ask(instance.socket, key, path, body)
        except NotAsked as error:
            problem = error
    raise problem


def _ask(where: str, key: bytes, path: str, body: bytes) -> dict[str, Any]:
    nonce = secrets.token_hex(16)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: ccproxy-tui\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{NONCE}: {nonce}\r\n\r\n"
    )
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_WAIT)
            sock.connect(where)
            if unix_peer(sock).uid not in (None, os.geteuid()):
                raise NotAsked("Another user listens on the proxy's socket, so nothing was asked.")
            sock.sendall(head.encode("ascii") + body)
            status, headers, answer = _read(sock)
    except OSError as error:
        raise NotAsked(f"The proxy has gone: {error}.") from error
    if status == 200 and not proves(headers.get(PROOF, ""), key, nonce, path, body, answer):
        raise NotAsked("The answer does not prove that it is your proxy's, so it does not count.")
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotAsked(f"The proxy answered {status}.")
    if status != 200:
        problem = found.get("error")
        raise NotAsked(str(problem.get("message")) if isinstance(problem, dict) else f"The proxy answered {status}.")
    return found


def _read(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer that ends with the connection. Raises OSError, NotAsked."""
    parts: list[bytes] = []
    size = 0
    while piece := sock.recv(65536):
        parts.append(piece)
        size += len(piece)
        if size > _LARGEST:
            raise NotAsked("The answer is too large.")
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[1].isdigit():
        raise NotAsked("The answer is not HTTP.")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(words[1]), headers, body
