"""Requests that a running proxy must refuse, sent to it over TCP as a web page, another user or a thief would."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from ccproxy_tui.core.probes.finding import Finding

_SECONDS = 5.0
_NOBODY = 65534  # the uid that Linux and the BSDs call nobody


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: who would send it, its request line, the headers that make it what it is, and how to close it."""

    who: str
    line: str
    headers: tuple[str, ...] = ()
    fix: str = ""
    body: bytes = b""


ATTEMPTS = (
    Attempt("A web page by DNS rebinding", "GET /health", ("Host: rebound.example",), "security.allowed_hosts"),
    Attempt("A web page by a name of the local network", "GET /health", ("Host: rebound",), "security.allowed_hosts"),
    Attempt("A web page of another origin", "GET /v1/models", ("Origin: https://page.example",), "cors.origins"),
    Attempt("A web page's image", "GET /v1/models", ("Sec-Fetch-Site: cross-site",), "cors.origins"),
    Attempt("A client without the control key", "GET /control/status"),
    Attempt("A client that decides for you", "POST /permissions/probe/respond", body=b'{"allowed": true}'),
    Attempt("A client that leaves a provider's path", "GET /demo/v1/../../conversations"),
    Attempt("A client that leaves it encoded", "GET /demo/v1/%2e%2e/%2e%2e/conversations"),
    Attempt("A client that wants more of an account than models", "GET /demo/me"),
)


def probe_proxy(host: str, port: int, token: str) -> list[Finding]:
    """Return how the proxy at `host`:`port` answers each attempt. `token` is the one that clients send, or empty."""
    return [_try(host, port, token, attempt) for attempt in ATTEMPTS] + [_as_another_user(host, port, token)]


def _try(host: str, port: int, token: str, attempt: Attempt) -> Finding:
    try:
        status = request_status(host, port, attempt, token)
    except OSError as error:
        return Finding("not tried", f"{attempt.who}: {error.strerror or error}.", "Is the proxy running?")
    if 400 <= status < 500:
        return Finding("ok", f"{attempt.who} is refused ({status}).")
    closing = f"Look at {attempt.fix}." if attempt.fix else "Please report it: see SECURITY.md."
    return Finding("open", f"{attempt.who} gets an answer ({status}): {attempt.line}.", closing)


def request_status(host: str, port: int, attempt: Attempt, token: str = "") -> int:
    """Send one attempt and return the status of the answer. Raises OSError."""
    lines = [f"{attempt.line} HTTP/1.1", *attempt.headers]
    if not any(header.startswith("Host:") for header in attempt.headers):
        lines.append(f"Host: localhost:{port}")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines += ["Connection: close", "Content-Type: application/json", f"Content-Length: {len(attempt.body)}", "", ""]
    with socket.create_connection((host, port), _SECONDS) as connection:
        connection.sendall("\r\n".join(lines).encode() + attempt.body)
        answer = b""
        while b"\r\n" not in answer and (more := connection.recv(4096)):
            answer += more
    status = answer.split(b" ", 2)[1:2]
    return int(status[0]) if status and status[0].isdigit() else 0


def _as_another_user(host: str, port: int, token: str) -> Finding:
    """Ask for models as another user of this machine, which only root can become."""
    who = "Another user of this machine"
    if token:
        return Finding("ok", f"{who} needs your token (security.auth_token).")
    if os.getuid() != 0:
        return Finding(
            "not tried", f"{who}: only root can try it.", "sudo -u nobody curl " + f"http://{host}:{port}/v1/models"
        )
    status = _status_as(_NOBODY, host, port)
    if 400 <= status < 500:
        return Finding("ok", f"{who} is refused ({status}).")
    return Finding("open", f"{who} gets an answer ({status}).", "ccproxy-tui generate-token --save")


def _status_as(uid: int, host: str, port: int) -> int:
    """The status that a child of another uid gets; 0 when it got none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.write(writing, str(request_status(host, port, Attempt("", "GET /v1/models"))).encode())
        except OSError:
            pass
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return int(text) if text.isdigit() else 0
