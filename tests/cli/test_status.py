"""`status` and `stop` while proxies end: over real sockets, by programs of this user."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from click.testing import CliRunner

from ccproxy_tui.cli import cli
from ccproxy_tui.core.control.instances import Instance, register
from ccproxy_tui.core.system.paths import Paths, private_dir

STATUS = b'{"version": "1", "pid": 7, "host": "127.0.0.1", "port": 2, "started": 0, "accounts": [], "project": ""}'


@pytest.fixture
def paths(clean_environment: None) -> Paths:
    return Paths.of_user()


@contextmanager
def proxy(paths: Paths, port: int, reply: bytes | None) -> Iterator[None]:
    """A registered proxy that gives `reply` to every request; without one, it ends after the first look at it."""
    path = private_dir(paths.runtime) / f"{port}.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    register(Instance(os.getpid(), "127.0.0.1", port, str(path), "1", float(port)))

    def run() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                if reply is None:
                    listener.close()
                    path.unlink()
                    return
                if client.recv(65536):
                    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(reply)
                    client.sendall(head + reply)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        if listener.fileno() >= 0:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        thread.join()


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_proxy_that_ends_when_it_is_asked_does_not_run(paths: Paths, command: str) -> None:
    with proxy(paths, 1, None):
        result = CliRunner().invoke(cli, [command])
    assert result.exit_code == 4
    assert "No proxy runs." in result.output


def test_a_proxy_that_ends_hides_no_other(paths: Paths) -> None:
    with ExitStack() as stack:
        stack.enter_context(proxy(paths, 1, None))
        stack.enter_context(proxy(paths, 2, STATUS))
        result = CliRunner().invoke(cli, ["status", "--line"])
    assert (result.exit_code, result.output) == (0, ":2 0 live\n")


def test_a_proxy_that_can_not_be_read_hides_no_other(paths: Paths) -> None:
    with ExitStack() as stack:
        stack.enter_context(proxy(paths, 1, b"no status"))
        stack.enter_context(proxy(paths, 2, STATUS))
        result = CliRunner().invoke(cli, ["status", "--line"])
    assert result.exit_code == 1
    assert result.output.startswith(":2 0 live :1 The proxy's reply can't be read")
    assert "error: 127.0.0.1:1  pid" in result.output


def test_an_account_without_a_label_is_one_line_without_a_gap(paths: Paths) -> None:
    account = b'"accounts": [{"provider": "codex", "label": "", "state": "missing"}]'
    with proxy(paths, 2, STATUS.replace(b'"accounts": []', account)):
        result = CliRunner().invoke(cli, ["status"])
    assert "\n  codex  missing\n" in result.output


def test_the_warnings_of_a_proxy_are_shown(paths: Paths) -> None:
    notices = b'"notices": ["a.toml: no setting \\u001b[2Jx", "a folder is missing"], "accounts"'
    with proxy(paths, 2, STATUS.replace(b'"accounts"', notices)):
        result = CliRunner().invoke(cli, ["status"])
    assert "\n  warning: a.toml: no setting \\x1b[2Jx\n  warning: a folder is missing\n" in result.output
