"""What every part of the running proxy shares."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.auth.reach import Reach
from ccproxy_tui.core.control.key import ProofReader
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.exchange.history import ResponseHistory
from ccproxy_tui.core.exchange.preparing import Preparer
from ccproxy_tui.core.exchange.sending import Sender
from ccproxy_tui.core.limits import MB, SETTLE_SECONDS
from ccproxy_tui.core.model_map import Candidate, find_candidates
from ccproxy_tui.core.permissions import Broker, Entry, PermissionRequest
from ccproxy_tui.core.permissions.rule_book import Limits, RuleBook
from ccproxy_tui.core.permissions.rules import Rule, parse_rule
from ccproxy_tui.core.provider import Provider, RunsAgents
from ccproxy_tui.core.records.bus import Bus
from ccproxy_tui.core.records.events import AccountChanged, SettingsChanged
from ccproxy_tui.core.records.kept_bodies import Block
from ccproxy_tui.core.records.store import Store
from ccproxy_tui.core.server.deciders import Deciders
from ccproxy_tui.core.server.desk import Desk, audit_row
from ccproxy_tui.core.server.logins import Logins
from ccproxy_tui.core.server.memory import Memory
from ccproxy_tui.core.server.refusals import Refusals
from ccproxy_tui.core.server.shares import Shares
from ccproxy_tui.core.settings import Loaded, Settings
from ccproxy_tui.core.settings.live import LiveSettings
from ccproxy_tui.core.settings.masked import secrets_of
from ccproxy_tui.core.settings.models import Models, Permissions
from ccproxy_tui.core.storage import Audit
from ccproxy_tui.core.system.ancestry import runs
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.heap import give_back_memory
from ccproxy_tui.core.system.processes import reap_orphans
from ccproxy_tui.core.system.supervisor import Tasks
from ccproxy_tui.core.text.redact import learn_secret

log = logging.getLogger(__name__)

TICK = 1.0
DRAIN_POLL = 0.05
UPKEEP = 60.0
ROUTES_KEPT = 1000


Interruption = Literal["client_gone", "stopped", "drained"]


class Running(Protocol):
    """A live exchange, as the rest of the proxy may treat it."""

    id: str

    def tick(self, now: float) -> None:
        """A second has passed: time for a ping, or to notice a stall."""
        ...

    def interrupt(self, reason: Interruption) -> bool:
        """End it. False when it is over already."""
        ...


class Hub:
    """One per proxy process, on one loop."""

    def __init__(self, loaded: Loaded, clock: Clock, proofs: ProofReader) -> None:
        self.live_settings = LiveSettings(loaded)
        self.clock = clock
        self.bus = Bus(clock)
        self.store = Store()
        self.bus.handle(self.store.apply, essential=True)
        self.tasks = Tasks()
        self.memory = Memory(None)
        self._routes_of: Models | None = None
        self._routes: dict[tuple[str, str], list[Candidate]] = {}
        self.logins = Logins(self.tasks, self.store.notice)
        self.reach = Reach(clock)
        self.shares = Shares(self._memory_limits)
        self.refusals = Refusals(clock, self.store.notice)
        self.history = ResponseHistory()
        self.broker = Broker(clock, self._permission_changed)
        self.rules = RuleBook(clock, self._kept_rules, self._session_rule_limits, runs)
        self.deciders = Deciders(loaded.settings.permissions.deciders, self.tasks)
        self.desk = Desk(self.broker, self.rules, self._permissions, self._is_watched, self.store, self.bus.publish)
        self.on_permission: list[Callable[[], None]] = []  # called at once when a question comes or ends
        self.providers: dict[str, Provider] = {}
        preparer = Preparer(lambda: self.settings, clock, self.history, lambda keys: self.memory.recall(keys))
        self.sender = Sender(self.providers, preparer, self.reach)
        self.audit: Audit | None = None
        self.sdk: RunsAgents | None = None
        self.prefixes: dict[str, str] = {}
        self.running: dict[str, Running] = {}
        self.draining = False
        self.ending = ""  # what asked this proxy to end, and when, in words for front ends
        self.demo = False  # nothing goes out, so nobody needs a login
        self.port = loaded.settings.server.port  # the real one once bound, when the setting is 0
        self.started = clock.now()
        self.last_request = clock.monotonic()
        self.viewers = 0  # front ends where the user can answer
        self.notices: list[str] = []
        self.proofs = proofs  # of who may use the control API over TCP
        self.hook_key = b""  # of the install; without, answers to hooks prove nothing
        self.client_token = ""  # of this install; the configured one is in the settings
        self.client_token_file = ""
        learn_secret(*secrets_of(loaded.settings))
        self.live_settings.subscribe(self._settings_changed)
        self.stop_requested = asyncio.Event()
        self.stopping = asyncio.Event()  # the servers are closing: viewers must let go
        self.drain_seconds = loaded.settings.server.drain_seconds
        self._housekeeping: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> Loaded:
        return self.live_settings.loaded

    @property
    def settings(self) -> Settings:
        return self.live_settings.current

    def _settings_changed(self, changed: SettingsChanged) -> None:
        learn_secret(*secrets_of(self.settings))
        self.bus.publish(changed)

    def _account_reported(self, account: str, what: str) -> None:
        self.bus.publish(AccountChanged(account, what))

    def add_providers(self, providers: Iterable[Provider]) -> None:
        for provider in providers:
            self.providers[provider.name] = provider
            for account in provider.accounts():
                if isinstance(account, Account):
                    account.reported = partial(self._account_reported, account.provider)
            if isinstance(provider, RunsAgents):
                self.sdk = provider
                provider.move_in(self)
        bypass = self.settings.server.bypass_mode and "demo" in self.providers
        for provider in self.providers.values():
            self.prefixes.update(dict.fromkeys(provider.prefixes, "demo" if bypass else provider.name))

    # --- what providers that run agents get (core.provider.Host) ---

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.server.host, self.settings.server.host)  # noqa: S104 - compared
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def ask(self, request: PermissionRequest) -> Entry:
        return await self.desk.settle(request)

    def notice(self) -> None:
        self.store.notice()

    def _memory_limits(self) -> tuple[int, int]:
        server = self.settings.server
        return server.memory_mb * MB, server.client_memory_mb * MB

    def _permissions(self) -> Permissions:
        return self.settings.permissions

    def _is_watched(self) -> bool:
        return self.viewers > 0

    def front_end_came(self) -> None:
        """The user can answer there."""
        self.viewers += 1

    def front_end_left(self) -> None:
        """With the last one, the rules for the session end: they were given by a user who watched."""
        self.viewers -= 1
        if not self.viewers:
            self.rules.detach()

    def _kept_rules(self) -> list[Rule]:
        return [parse_rule(one.rule, one.action, project=one.project) for one in self.settings.permissions.rules]

    def _session_rule_limits(self) -> Limits:
        permissions = self.settings.permissions
        return Limits(permissions.session_rule_idle_minutes * 60, permissions.session_rule_hours * 3600)

    def _permission_changed(self) -> None:
        """Permission requests do not wait for anybody's frame clock."""
        self.store.notice()
        for call in self.on_permission:
            call()

    def accounts(self) -> list[AnyAccount]:
        return [account for provider in self.providers.values() for account in provider.accounts()]

    def candidates(self, model: str, provider: str, home: str) -> list[Candidate]:
        """Who serves `model`, best first. Remembered: the table is long, and tools ask for few models."""
        models = self.settings.models
        if self._routes_of is not models:
            self._routes_of, self._routes = models, {}
        key = (model, provider)
        found = self._routes.get(key)
        if found is None:
            found = find_candidates(model, provider, models.table(), home)
            if len(self._routes) < ROUTES_KEPT:
                self._routes[key] = found
        return found

    def detectors(self) -> list[Detector]:
        return [provider.detector for provider in self.providers.values() if provider.detector is not None]

    def start_upkeep(self) -> None:
        """Renew logins in use ahead of their end, and know the installed tools, for as long as the proxy runs."""
        self.tasks.keep(self._keep_up, name="accounts")
        if self.audit is not None:
            loop = asyncio.get_running_loop()
            self.audit.changed = lambda: _from_thread(loop, self.store.notice)
            self.audit.start()
        if self.demo or self.settings.server.bypass_mode:
            return
        if self.sdk is not None:
            self.sdk.warm_up()
        for detector in self.detectors():
            if getattr(self.settings, detector.tool).detection:
                self.tasks.keep(detector.keep_current, name=f"detection of {detector.tool}")

    async def _keep_up(self) -> None:
        await asyncio.sleep(TICK)  # nothing of this delays readiness
        if not self.demo and not any(account.view().ok for account in self.accounts()):
            log.warning("no account is logged in: run `ccproxy-tui auth login` (or codex, copilot)")
        for account in self.accounts():
            await account.keep_fresh()  # puts back what an earlier proxy could not write
        ended: frozenset[int] = frozenset()
        while True:
            await asyncio.sleep(UPKEEP)
            ended = await asyncio.to_thread(reap_orphans, ended)
            for account in self.accounts():
                await account.keep_fresh()
            self.store.notice()  # the states of accounts are words that change with time

    @property
    def unused_seconds(self) -> float:
        """Return for how long no front end was attached, and no request came or was under way."""
        if self.viewers or self.running:
            self.last_request = self.clock.monotonic()
        return self.clock.monotonic() - self.last_request

    def enter(self, exchange: Running) -> None:
        """An exchange begins. While any is live, the ticker runs; otherwise nothing does."""
        self.running[exchange.id] = exchange
        self.last_request = self.clock.monotonic()
        if self._housekeeping is None or self._housekeeping.done():
            self._housekeeping = self.tasks.start(self._tick(), name="ticker")

    def leave(self, exchange: Running) -> None:
        self.running.pop(exchange.id, None)

    async def _tick(self) -> None:
        """Every second while something is live: pings, stalls; and off the loop, compression of ended bodies."""
        while self.running:
            await asyncio.sleep(TICK)
            now = self.clock.monotonic()
            for exchange in list(self.running.values()):
                exchange.tick(now)
            await self._pack()
        await self._pack()
        await asyncio.to_thread(give_back_memory)

    async def _pack(self) -> None:
        blocks = self.store.seal()
        if blocks:
            compressed = await asyncio.to_thread(_compressed, blocks)
            for block, data in zip(blocks, compressed, strict=True):
                block.pack(data)
        self.store.enforce_budget()

    def request_stop(self, *, drain: bool, by: str = "") -> None:
        """Ask the process to end; its server waits for `stop_requested`. `by` is what asked."""
        if by and not self.ending:
            self.ending = f"stopped by {by} at {time.strftime('%H:%M', time.localtime(self.clock.now()))}"
        if not drain:
            self.drain_seconds = 0.0
        self.stop_requested.set()

    async def drain(self, seconds: float) -> int:
        """Refuse new exchanges and wait for the live ones; then end what is left. How many were cut short."""
        self.draining = True
        self.broker.close()
        self.store.notice()
        deadline = self.clock.monotonic() + seconds
        while self.running and self.clock.monotonic() < deadline:  # noqa: ASYNC110 - the end of any of many, once
            await asyncio.sleep(DRAIN_POLL)
        left = [exchange for exchange in self.running.values() if exchange.interrupt("drained")]
        return len(left)

    def keep_history(self, path: Path) -> None:
        """From now on, every permission request that has ended is kept there."""
        audit = self.audit = Audit(path, self.settings.history.days, self.clock.now())
        self.broker.on_end = lambda entry: audit.note(audit_row(entry))

    async def close(self) -> None:
        await asyncio.gather(*(account.settle(SETTLE_SECONDS) for account in self.accounts()))
        for provider in self.providers.values():
            await provider.close()
        if self.audit is not None:
            await asyncio.to_thread(self.audit.close)
        self.memory.close()
        await self.tasks.close()


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the proxy has ended
        loop.call_soon_threadsafe(call)


def _compressed(blocks: list[Block]) -> list[bytes]:
    return [block.compress() for block in blocks]
