"""One proxy: the product's own accounts and pool in a process that may stop, die and start again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from ccproxy_tui.core.auth import account
from ccproxy_tui.core.auth.claude_file import ClaudeFile
from ccproxy_tui.core.auth.codex_file import CodexFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.pool import Pool, Turns
from ccproxy_tui.core.auth.renewal import ClaudeRenewal, CodexRenewal
from ccproxy_tui.core.exchange.sending import AccountLadder, Record
from ccproxy_tui.core.provider import Answer, Call
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.providers.login import make_ask
from tests.simulation.approvals import Approvals
from tests.simulation.login import Login
from tests.simulation.process import Process
from tests.simulation.streams import Streams
from tests.simulation.vendor import VENDOR

if TYPE_CHECKING:
    from tests.simulation.world import World

UPKEEP = 60.0
_SETTLE = 5.0
_HTTP = Http()


class Account(account.Account):
    """The product's account, whose history is part of the trace."""

    def __init__(self, process: str, say: Callable[[str, str], None], *args: Any) -> None:
        self._trace = partial(say, process)
        super().__init__(*args)

    def note(self, text: str) -> None:
        self._trace(f"notes for {self.provider}: {text}")
        super().note(text)


class Proxy:
    def __init__(self, world: World, name: str, paths: Paths, logins: Sequence[Login]) -> None:
        self._world, self.name, self._paths, self._logins = world, name, paths, logins
        self.lives = 0
        self.process: Process
        self.pool: Pool
        self.start()

    def start(self) -> None:
        """Begin, or begin again: memory is empty, the disk is as it was left."""
        self.lives += 1
        self.is_stopping = False
        self.process = self._world.process(f"{self.name}.{self.lives}")
        self.pool = self.process.run(self._build)
        self.process.start(self._keep_up(self.pool))
        self.approvals: Approvals = self.process.run(self._open_approvals)

        if self._world.has_streams:
            self.process.start(self.process.run(self._open_streams).run())

    def _open_streams(self) -> Streams:
        return Streams(self._world, self.process, Random(self._world.rng.random()))

    def _open_approvals(self) -> Approvals:
        approvals = Approvals(self._world, self.process, Random(self._world.rng.random()))
        if not self._world.has_agents:
            return approvals
        for name in ("agent1", "agent2"):
            self.process.start(approvals.agent(name))
        for name in ("screens", "handler"):
            self.process.start(approvals.front_end(name))
        return approvals

    async def stop(self) -> None:
        """In good order, as by SIGTERM."""
        self.approvals.close()
        await asyncio.gather(*(one.settle(_SETTLE) for one in self.pool.accounts))
        if self.approvals.history is not None:
            self.approvals.history.close()

    def _build(self) -> Pool:
        clock = self._world.clock
        return Pool([self._account(login, number) for number, login in enumerate(self._logins)], clock)

    def _account(self, login: Login, number: int) -> Account:
        clock, paths = self._world.clock, self._paths
        own: JsonFile = ClaudeFile(paths, clock, {}) if login.kind == "claude" else CodexFile(paths, clock, {})
        file = own
        if number:
            more: Any = {"owner_locks": own.owner_locks} if hasattr(own, "owner_locks") else {}
            file = JsonFile([login.path], login.path, own.parse, clock, keys=own._keys, **more)
        ask = make_ask("the token endpoint", lambda: _HTTP, clock)
        renewal = (ClaudeRenewal if login.kind == "claude" else CodexRenewal)(ask, lambda: "", lambda: "id", clock)
        return Account(
            self.process.name,
            self._world.say,
            f"{login.kind}:{number}",
            login.kind,
            file,
            renewal,
            clock,
            paths.state / "logins",
            "Log in.",
        )

    async def _keep_up(self, pool: Pool) -> None:
        await asyncio.sleep(1)
        while True:
            for one in pool.accounts:
                await one.keep_fresh()
            await asyncio.sleep(UPKEEP)

    async def send(self, on_send: Callable[[], None] = lambda: None) -> Answer:
        """Serve one request of a client. Raises NoCredentials, NoAccountServes."""
        call = Call("x", "messages", "POST", "/v1/messages", "", [], b"{}", model="m")
        record = Record(lambda _: None, "claude_api", call)
        return await AccountLadder(Turns(self.pool, "failover"), call, record, partial(self._serve, on_send)).run()

    async def _serve(self, on_send: Callable[[], None], _: account.Account, credential: Credential) -> Answer:
        on_send()
        return await VENDOR.get().serve(credential.secret)
