"""The proxy process: sockets, two servers on one loop, readiness, signals, the leash of a host, a bounded end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from ccproxy_tui import __version__
from ccproxy_tui.core.client_token import client_token, client_token_file, is_wanted
from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.hook_proof import install_key
from ccproxy_tui.core.control.instances import Instance
from ccproxy_tui.core.control.key import ProofReader, new_key
from ccproxy_tui.core.limits import KB, LAST_SECONDS, MB, WAITING_CONNECTIONS
from ccproxy_tui.core.provider import Provider
from ccproxy_tui.core.server.acceptor import Acceptor
from ccproxy_tui.core.server.app import create_app
from ccproxy_tui.core.server.client_noise import quiet_clients
from ccproxy_tui.core.server.gate import LOCAL, is_loopback
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.memory import Memory
from ccproxy_tui.core.server.protocol import protocol_with_limits
from ccproxy_tui.core.server.registration import Registration
from ccproxy_tui.core.settings import Loaded
from ccproxy_tui.core.settings.models import Server
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.heap import keep_large_blocks_apart
from ccproxy_tui.core.system.paths import Paths, readable
from ccproxy_tui.core.system.patience import SECOND_LOOK
from ccproxy_tui.core.system.processes import adopt_orphans
from ccproxy_tui.core.text.redact import learn_secret
from ccproxy_tui.core.timeouts import violations

log = logging.getLogger(__name__)

KEEP_ALIVE = 75
BACKLOG = 2048
IDLE_CHECK = 60.0
REGISTRATION_CHECK = 20.0
# Below core.hosting.START_SECONDS: a host waits that long for its proxy.
TURN_SECONDS = 10.0
ENDING_SECONDS = 15.0
_ENDING_POLL = 0.05
_OLD_TOKEN = "control-token"  # of versions whose token never changed
MAX_FILES = 65_536  # children get the limit, too, and some close every number up to it
FEW_FILES = 1024
ENOUGH_FILES = 16_384
OWN_FILES = 40  # sockets, pipes, logs, databases, front ends, children that start


class StartError(Exception):
    """The proxy can't start; the message says why and what to do. `code` is the exit status.

    `other` is the control socket of a proxy of this user that serves on the port.
    """

    def __init__(self, message: str, code: int, other: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.other = other


EXIT_USAGE = 2
EXIT_PORT_BUSY = 3


@dataclass(frozen=True, slots=True)
class Leash:
    """File descriptors that a host hands down: one to say "ready" on, one whose end means that the host is gone."""

    ready: int | None = None
    parent: int | None = None

    def say(self, message: dict[str, Any]) -> None:
        """Send the host a line: that the proxy is ready, or why it is not; and why it ends."""
        if self.ready is not None:
            with contextlib.suppress(OSError):  # the host is gone, which the other descriptor shows, too
                os.write(self.ready, json.dumps(message).encode() + b"\n")  # paths may not be UTF-8


class EmbeddedServer(uvicorn.Server):
    """A uvicorn server whose life is ours: it takes no signals and runs no clock of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def open(self, sock: socket.socket, most: int = 0) -> None:
        """Serve on `sock`; with `most`, so many connections at once."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        if not most:
            await self.startup(sockets=[sock])
            return
        await self.startup(sockets=[])
        self.servers.append(Acceptor(sock, most, self.server_state.connections, self._protocol))  # type: ignore[arg-type]  # it has what is used of a server

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    async def close(self, sock: socket.socket) -> None:
        await self.shutdown(sockets=[sock])


class ProxyServer:
    """One proxy: `run` returns when it was asked to stop and has stopped."""

    def __init__(
        self,
        loaded: Loaded,
        clock: Clock,
        paths: Paths,
        load_providers: Callable[[Callable[[], Any]], Iterable[Provider]],
        *,
        leash: Leash | None = None,
        demo: bool = False,
        take_signals: bool = True,
    ) -> None:
        check_bind(loaded)
        self._paths = paths
        self._leash = leash or Leash()
        self._demo = demo
        self._take_signals = take_signals
        self.on_ready: Callable[[Hub], None] | None = None
        self.missing: list[str] = []  # what does not work here, one line each
        self._turn = instances.Turn(paths, TURN_SECONDS if loaded.settings.server.port else 0.0)
        try:
            self._tcp = bind_port(loaded.settings.server, paths, demo=demo)
        except BaseException:  # Ctrl+C, too: the next start must not wait for this one
            self._turn.end()
            raise
        port, key = self._tcp.getsockname()[1], new_key()
        self._registration = Registration(paths, port, key)
        self._unix = self._registration.open()
        self._look_at_registration()
        self._local: list[tuple[EmbeddedServer, socket.socket]] = []
        self.hub = Hub(loaded, clock, ProofReader(key, clock))
        self.hub.client_token = _client_token(loaded, paths)
        self.hub.client_token_file = readable(client_token_file(paths))
        learn_secret(self.hub.client_token)
        self.hub.hook_key = self._hook_key()
        self.hub.memory = Memory(paths.data / "memory.sqlite3")
        if loaded.settings.history.enabled:
            self.hub.keep_history(paths.data / "history.duckdb")
        self.hub.demo = demo
        self.hub.port = port
        with contextlib.suppress(OSError):
            (paths.state / _OLD_TOKEN).unlink()
        self.hub.add_providers(load_providers(lambda: self.hub.settings))
        self._detached = False
        self._signal: int | None = None

    async def run(self) -> int:
        """Serve until stopped. The exit status."""
        hub = self.hub
        quiet_clients()
        keep_large_blocks_apart()
        if (files := raise_file_limit()) < FEW_FILES:
            log.warning("only %d files may be open at once: each stream takes two (raise it with `ulimit -n`)", files)
        for violation in violations(hub.settings):
            log.warning("%s", violation)
            hub.notices.append(violation)
        app = create_app(hub)
        public = self._server(app)
        await public.open(self._tcp, most_connections())
        if self._unix is not None:
            await self._open_local(_local(app), self._unix)
        self._publish()
        self._turn.end()
        hub.tasks.keep(partial(self._stay_registered, _local(app)), name="registration")
        self._listen_to_the_world()
        if self._take_signals:  # the process is ours
            adopt_orphans()
        hub.start_upkeep()
        log.info("serving on %s:%d", hub.settings.server.host, hub.port)
        self._leash.say({"ready": True, "pid": os.getpid(), "port": hub.port, "socket": self._registration.socket})
        if self.on_ready is not None:
            self.on_ready(hub)
        try:
            await hub.stop_requested.wait()
            self._registration.mark_ending()
            self._leash.say({"ending": hub.ending})
            cut = await hub.drain(hub.drain_seconds)
            log.info("stopping%s", f", {cut} live streams were cut" if cut else "")
        finally:
            hub.stopping.set()
            hub.store.notice()
            for wake in hub.on_permission:
                wake()
            await asyncio.gather(
                public.close(self._tcp), *(local.close(sock) for local, sock in self._local), return_exceptions=True
            )
            self._registration.end()
            await hub.close()
        return 128 + self._signal if self._signal in (signal.SIGINT, signal.SIGQUIT) else 0

    def _server(self, app: ASGIApp) -> EmbeddedServer:
        settings = self.hub.settings.server
        return EmbeddedServer(
            uvicorn.Config(
                app,
                http=protocol_with_limits(settings.max_header_kb * KB, settings.head_seconds, waiting_connections()),
                ws="none",  # the protocol class sees to it
                ws_max_size=settings.max_body_mb * MB,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=LAST_SECONDS,
                backlog=BACKLOG,
            )
        )

    # --- where front ends find it ---

    def _look_at_registration(self) -> None:
        """Note what is in the way of the control socket. Raises StartError where a host would have none."""
        problem, path = self._registration.problem, self._registration.socket
        if path and problem:
            self.missing.append(f"The control socket is {path}, because of {problem}.")
        elif not path and self._leash.ready is not None:
            raise StartError(
                f"The control socket can't be made ({problem}). Set XDG_RUNTIME_DIR to a folder of yours, or run "
                "`ccproxy-tui serve`, which runs without it.",
                EXIT_USAGE,
            )
        elif not path:
            self.missing.append(
                f"No control socket can be made ({problem}): `status`, `attach`, `stop` and hook commands do not find "
                "this proxy."
            )

    async def _open_local(self, app: ASGIApp, sock: socket.socket) -> None:
        server = self._server(app)
        await server.open(sock)
        self._local.append((server, sock))

    def _publish(self) -> None:
        hub = self.hub
        instance = Instance(os.getpid(), hub.settings.server.host, hub.port, "", __version__, hub.started, self._demo)
        try:
            self._registration.publish(instance)
        except OSError as error:
            log.warning("this proxy can't be registered (%s): `status` and `attach` do not find it yet", error)

    async def _stay_registered(self, app: ASGIApp) -> None:
        """Make socket and files again when they are gone: cleaners of temporary folders delete what is a few days old.

        Front ends that are connected stay so.
        """
        reported = ""
        while True:
            await asyncio.sleep(REGISTRATION_CHECK)
            problem = ""
            try:
                if self._registration.lost():
                    sock = self._registration.open()
                    problem = "" if self._registration.socket else self._registration.problem
                    if sock is not None:
                        await self._open_local(app, sock)
                        self._registration.republish()
                        why = f", because of {self._registration.problem}" if self._registration.problem else ""
                        log.warning("the control socket was gone; it is %s now%s", self._registration.socket, why)
            except OSError as error:
                problem = str(error)
            if problem and problem != reported:
                log.warning("front ends do not find this proxy, since its control socket was deleted: %s", problem)
            reported = problem

    def _hook_key(self) -> bytes:
        """Return the key that answers to hooks are proved with; empty without one."""
        try:
            return install_key(self._paths)
        except OSError as error:
            self.missing.append(
                f"No key for hooks can be kept ({error}): hook commands will ask in their tool's own terminal."
            )
            return b""

    # --- signals and the host ---

    def _listen_to_the_world(self) -> None:
        loop = asyncio.get_running_loop()
        if self._leash.parent is not None:
            loop.add_reader(self._leash.parent, self._on_leash)
        if not self._take_signals:
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def _on_signal(self, number: int) -> None:
        """The first asks for a graceful end; a second one, or SIGQUIT, for an end at once."""
        again = self.hub.stop_requested.is_set()
        self._signal = number
        self.hub.request_stop(drain=not again and number != signal.SIGQUIT, by=signal.Signals(number).name)
        if again:
            for exchange in list(self.hub.running.values()):
                exchange.interrupt("drained")

    def _on_leash(self) -> None:
        """The host wrote (it lets go on purpose) or is gone."""
        assert self._leash.parent is not None
        word = os.read(self._leash.parent, 64)
        asyncio.get_running_loop().remove_reader(self._leash.parent)
        if word == b"keep" and not self._demo:
            self._detach("the screens let go")
        else:
            self._on_hangup()

    def _on_hangup(self) -> None:
        if self._demo:  # a toy: nobody's work is lost with it, and nobody would look for one that goes on
            log.warning("the terminal is gone: the demo ends")
            self.hub.request_stop(drain=False)
        elif self.hub.settings.server.on_hangup == "stop":
            log.warning("the terminal is gone: stopping (server.on_hangup = stop)")
            self.hub.request_stop(drain=True)
        else:
            self._detach("the terminal is gone: going on (server.on_hangup = keep); `ccproxy-tui attach` comes back")

    def _detach(self, why: str) -> None:
        log.warning("%s", why)
        if not self._detached:
            self._detached = True
            self.hub.tasks.start(self._stop_when_forgotten(), name="idle stop")

    async def _stop_when_forgotten(self) -> None:
        """A proxy that nobody owns, watches or uses ends by itself."""
        hub = self.hub
        while True:
            await asyncio.sleep(IDLE_CHECK)
            limit = hub.settings.server.idle_stop_hours * 3600
            if limit and hub.unused_seconds >= limit:
                await asyncio.sleep(SECOND_LOOK)  # a stop of the process is no idleness of its clients
            if limit and hub.unused_seconds >= limit:
                log.warning("unused for %.0f hours: stopping", limit / 3600)
                hub.request_stop(drain=True, by=f"server.idle_stop_hours ({limit / 3600:.0f} h without use)")
                return


def _local(app: ASGIApp) -> ASGIApp:
    """Marks what comes over the unix socket: only this user can open it."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        scope[LOCAL] = True
        await app(scope, receive, send)

    return marked


def check_bind(loaded: Loaded) -> None:
    """Refuse to offer somebody's accounts to a whole network without a token."""
    server = loaded.settings.server
    if not is_loopback(server.host) and loaded.settings.security.auth_token is None:
        raise StartError(
            f"Listening on {server.host} would offer your accounts to everyone who can reach this machine. "
            "Set a token first: `ccproxy-tui generate-token --save`, or --auth-token.",
            EXIT_USAGE,
        )


def raise_file_limit() -> int:
    """Allow as many open files as the system lets this process have, and return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS allows less than it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft if soft != resource.RLIM_INFINITY else MAX_FILES


def waiting_connections() -> int:
    """Return how many connections may wait for a request: never so many that none is left for one that comes."""
    limit = most_connections() or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(WAITING_CONNECTIONS, max(1, limit // 2))


def most_connections() -> int:
    """Return how many clients may be connected where few files may be open; 0 where there are enough.

    Each stream takes two files, and this process some of its own.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY or files >= ENOUGH_FILES:
        return 0
    return max(2, (files - OWN_FILES) // 2)


def _client_token(loaded: Loaded, paths: Paths) -> str:
    """Return the token of this install. A state folder that can't be written costs it only where clients need one."""
    try:
        return client_token(paths)
    except OSError as error:
        if not is_wanted(loaded.settings.security):
            return ""
        raise StartError(
            f"Clients need a token here, and none can be kept: {error}. Set security.auth_token instead.", EXIT_USAGE
        ) from error


def bind_port(server: Server, paths: Paths, *, demo: bool) -> socket.socket:
    """Return the listening socket of the settings; for a demo, of any port where theirs is taken. Raises StartError."""
    try:
        if server.port and not demo:
            _wait_for_end(paths, server.port)
        return bind_tcp(server.host, server.port, paths)
    except StartError as error:
        if not demo or error.code != EXIT_PORT_BUSY:
            raise
        return bind_tcp(server.host, 0, paths)


def _wait_for_end(paths: Paths, port: int) -> None:
    """Let a proxy of this user that ends on the port do so. Raises StartError when it takes long."""
    ending = instances.ending_on(paths, port)
    if ending is None:
        return
    name = f"ccproxy-tui (pid {ending.pid}) on port {port}"
    print(f"waiting for {name} to end its live streams", file=sys.stderr, flush=True)  # noqa: T201 - no log yet
    deadline = time.monotonic() + ENDING_SECONDS
    while instances.ending_on(paths, port) is not None:
        if time.monotonic() > deadline:
            raise StartError(
                f"{name} still ends its live streams. Start again later, or end them with "
                f"`ccproxy-tui stop {port} --now`.",
                EXIT_PORT_BUSY,
            )
        time.sleep(_ENDING_POLL)


def bind_tcp(host: str, port: int, paths: Paths) -> socket.socket:
    """A listening socket. Raises StartError that says who holds the port."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise StartError(f"{host} is not an address of this machine: {error.strerror or error}.", EXIT_USAGE) from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        ours = instances.on_port(paths, port)
        if ours is not None:
            message = (
                f"ccproxy-tui (pid {ours.pid}) serves on port {port} already; `ccproxy-tui attach` opens its screens."
            )
            raise StartError(message, EXIT_PORT_BUSY, ours.socket) from error
        holder = _other_install(paths, port) or instances.port_holder(port)
        by = f" by {holder}" if holder else ""
        message = f"Port {port} on {host} can't be taken: {error.strerror}{by}. Try --port {port + 1}."
        raise StartError(message, EXIT_PORT_BUSY) from error
    sock.setblocking(False)
    return sock


def _other_install(paths: Paths, port: int) -> str:
    """Return which proxy of this user serves on the port for another install; nothing without one."""
    found = (one for one in instances.answering(paths) if one.port == port)
    return next((f"ccproxy-tui (pid {one.pid}) of another HOME or XDG_STATE_HOME ({one.install})" for one in found), "")
