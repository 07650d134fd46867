"""Fixtures: a clean environment, a scripted upstream, and a proxy on real sockets in the test's own loop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.transport import Signature
from ccproxy_tui.core.records.events import Event, Finished, PermissionAsked, PermissionDecided
from ccproxy_tui.core.records.record import ExchangeRecord
from ccproxy_tui.core.records.store import Store
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.server.serve import ProxyServer
from ccproxy_tui.core.server.viewer import detail_of
from ccproxy_tui.core.settings import load
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.providers.registry import Context, load_providers
from tests.fakes.clock import FakeClock
from tests.fakes.upstream import ScriptedUpstream

ACCESS_TOKEN = "sk-ant-oat01-test-access-token-0123456789"
REFRESH_TOKEN = "sk-ant-ort01-test-refresh-token-0123456789"
# The same examples each time, so that a change fails for what it changed; `make fuzz` looks for new ones.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("fuzz", max_examples=3000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")

NOWHERE = "http://127.0.0.1:9/nobody-listens"  # no test renews a token at a real provider
FAR_FUTURE = 2_106_000_000_000


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[None]:
    """No test sees the machine's own settings, credentials or proxies, or leaves a proxy behind."""
    kept = {"PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST", "CCPROXY_TEST_REQUIRE_ALL"}
    kept |= {name for name in os.environ if name.startswith(("PYTEST_", "COV_"))}
    for name in list(os.environ):
        if name not in kept:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PERMISSIONS__DECIDERS", "any")  # tests have no terminal; tests/attack and tests/pty want one
    monkeypatch.setenv("CODEX__DETECTION", "false")  # no test runs a tool of the machine by itself
    monkeypatch.setenv("CLAUDE__DETECTION", "false")
    monkeypatch.chdir(home)
    yield
    if _STARTS_PROGRAMS & set(request.path.parts):
        end_leftovers(home)
    assert_no_secret_in(tmp_path)


_STARTS_PROGRAMS = {"attack", "cli", "e2e", "pty"}  # folders of tests that start the program, with hosts that they kill


def end_leftovers(home: Path) -> None:
    """End every process whose home is `home`: a killed host leaves its proxy running, also one that still starts."""
    mark = f"HOME={home}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environ.parent.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in environ.read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)


_CREDENTIAL_FILES = (".credentials.json", "auth.json", "credentials.json")


def assert_no_secret_in(folder: Path) -> None:
    """Nothing that a test left on disk (logs, databases, traces, state) holds a login, but the logins themselves."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(_CREDENTIAL_FILES):
            content = path.read_bytes()
            for secret in (ACCESS_TOKEN, REFRESH_TOKEN):
                assert secret.encode() not in content, f"{path} holds a secret"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def claude_login() -> Path:
    """A credential file as the Claude CLI leaves it."""
    return write_claude_login()


def write_claude_login(**changes: Any) -> Path:
    path = Path.home() / ".claude" / ".credentials.json"
    path.parent.mkdir(exist_ok=True)
    oauth = {
        "accessToken": ACCESS_TOKEN,
        "refreshToken": REFRESH_TOKEN,
        "expiresAt": FAR_FUTURE,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
        **changes,
    }
    path.write_text(json.dumps({"claudeAiOauth": oauth}))
    return path


@pytest.fixture
def other_logins() -> None:
    """Credential files as the Codex CLI and the older systems' Copilot login leave them."""
    claims = {"exp": FAR_FUTURE // 1000, "https://api.openai.com/auth": {"chatgpt_plan_type": "pro"}}
    token = ".".join(["e30", base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), "sig"])
    codex = Path.home() / ".codex" / "auth.json"
    codex.parent.mkdir()
    tokens = {"access_token": token, "id_token": token, "refresh_token": "rt", "account_id": "acct-1"}
    codex.write_text(json.dumps({"OPENAI_API_KEY": None, "tokens": tokens}))
    copilot = Path.home() / ".config" / "copilot" / "credentials.json"
    copilot.parent.mkdir(parents=True)
    copilot.write_text(
        json.dumps(
            {"copilot_token": {"token": "copilot-token", "expires_at": FAR_FUTURE // 1000}, "account_type": "pro"}
        )
    )


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    await scripted.stop()


@dataclass
class Proxy:
    """A running proxy, a client on it, and a look into its store."""

    server: ProxyServer
    client: httpx.AsyncClient
    task: asyncio.Task[int]

    @property
    def hub(self) -> Hub:
        return self.server.hub

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.hub.port}"

    @property
    def socket(self) -> str:
        return str(Paths.of_user().runtime / f"{self.hub.port}.sock")

    @property
    def signed(self) -> Signature:
        """Signs requests over TCP as a front end does."""
        return Signature(self.hub.proofs.key)

    def control(self) -> ControlClient:
        return ControlClient(socket=self.socket)

    @property
    def last(self) -> ExchangeRecord:
        return list(self.hub.store)[-1]

    async def ended(self) -> ExchangeRecord:
        """The last exchange, once it is over."""
        await until(lambda: len(self.hub.store) > 0 and not self.last.live)
        return self.last


@pytest.fixture
def login_ports() -> Iterator[None]:
    """The ports that browsers come back to after a login are those of the vendors: one test at a time has them."""
    with Path("/tmp/ccproxy-test-login-ports.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def until(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait for something that must happen soon; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


StartProxy = Callable[..., Awaitable[Proxy]]


@asynccontextmanager
async def running_proxy(**environ: str) -> AsyncIterator[Proxy]:
    """A proxy with settings from `environ`, on a free port."""
    paths = Paths.of_user()
    loaded = load(environ={**os.environ, "SERVER__PORT": "0", **environ})

    def providers(settings: Any) -> Any:
        return load_providers(Context(settings, SystemClock(), paths))

    server = ProxyServer(loaded, SystemClock(), paths, providers, take_signals=False)
    facts: list[tuple[Event, float]] = []
    server.hub.bus.handle(lambda event, at: facts.append((event, at)))
    task = asyncio.ensure_future(server.run())
    await until(lambda: Path(paths.runtime / f"{server.hub.port}.json").exists() or task.done())
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.hub.port}", headers=headers, timeout=20, trust_env=False
    ) as client:
        yield Proxy(server, client, task)
    server.hub.request_stop(drain=False)
    await task
    assert_no_secret_in_memory(server.hub)
    assert_told_by_events(server.hub.store, facts)


_LIVE = {"upstream_body", "client_body", "last_byte", "revision", "request_body", "upstream_request_body"}


def assert_told_by_events(store: Store, facts: Sequence[tuple[Event, float]]) -> None:
    """The events alone make the same records again, and each exchange has one end: its last event."""
    again = Store()
    for event, at in facts:
        again.apply(event, at)
    names = {field.name for field in dataclasses.fields(ExchangeRecord)} - _LIVE
    for record in store:
        same = again.get(record.id)
        assert same is not None
        assert {name: getattr(same, name) for name in names} == {name: getattr(record, name) for name in names}
        own = [event for event, _ in facts if getattr(event, "exchange", None) == record.id]
        ends = [event for event in own if isinstance(event, Finished)]
        assert len(ends) == 1
        after = own[own.index(ends[0]) + 1 :]
        assert all(isinstance(event, PermissionDecided | PermissionAsked) for event in after), after
    assert (again.total, again.errors, again.live_count) == (store.total, store.errors, store.live_count)


def assert_no_secret_in_memory(hub: Hub) -> None:
    """Nor does anything that a proxy would show: log lines, details, rows."""
    shown = [repr(line) for line in hub.store.logs_since(0)] + [
        repr(detail_of(record, time.monotonic(), 20)) for record in hub.store
    ]
    for secret in (ACCESS_TOKEN, REFRESH_TOKEN):
        assert not any(secret in text for text in shown), "a secret would be shown"


@pytest.fixture
async def start_proxy(claude_login: Path, upstream: ScriptedUpstream) -> AsyncIterator[StartProxy]:
    """Starts a proxy that is logged in and whose upstream is the scripted one."""
    async with asyncio.timeout(50):
        stack: list[Any] = []

        async def start(**environ: str) -> Proxy:
            urls = {
                "PROVIDERS__CLAUDE_API__BASE_URL": upstream.url,
                "PROVIDERS__CODEX__BASE_URL": f"{upstream.url}/codex",
                "PROVIDERS__COPILOT__BASE_URL": f"{upstream.url}/copilot",
                "PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": NOWHERE,
                "PROVIDERS__CODEX__OAUTH__TOKEN_URL": NOWHERE,
                "PROVIDERS__COPILOT__OAUTH__COPILOT_TOKEN_URL": NOWHERE,
            }
            context = running_proxy(**{**urls, **environ})
            proxy = await context.__aenter__()
            stack.append(context)
            return proxy

        yield start
        for context in reversed(stack):
            await context.__aexit__(None, None, None)


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    return await start_proxy()
