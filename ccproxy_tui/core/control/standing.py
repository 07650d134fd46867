"""A proxy that stands still while its answer is waited for: small requests beside that one show whether it runs."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator

from ccproxy_tui.core.control.frames import HEARTBEAT, SILENCE
from ccproxy_tui.core.control.instances import Instance

_PROBE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nuser-agent: ccproxy-tui\r\nconnection: close\r\n\r\n"


def silence_words(port: int, seconds: int, pid: int) -> str:
    return f"the proxy on {port} has not responded for {seconds} s (pid {pid})"


@contextlib.contextmanager
def watched(instance: Instance) -> Iterator[None]:
    """Write to standard error when `instance` stops responding, and when it responds again. The body keeps waiting."""
    ended = threading.Event()
    threading.Thread(target=_watch, args=(instance, ended), name="proxy watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(instance: Instance, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.connect(instance.socket)
                sock.sendall(_PROBE)
                _await_answer(sock, instance, ended)
        except OSError:  # it has ended, which the request that is waited for shows as well
            continue


def _await_answer(sock: socket.socket, instance: Instance, ended: threading.Event) -> None:
    """Wait for any answer. Seconds are counted only while this process runs, as its own stop is no silence."""
    seconds = 0
    while not select.select([sock], [], [], 1.0)[0]:
        seconds += 1
        if ended.is_set():
            return
        if seconds == SILENCE:
            _say(f"{silence_words(instance.port, seconds, instance.pid)}; still waiting")
    if seconds >= SILENCE and sock.recv(1):
        _say(f"the proxy on {instance.port} is responding again")


def _say(words: str) -> None:
    """Write a line, past the buffers of `sys.stderr`: a thread that holds one when the process ends breaks its end."""
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode())
