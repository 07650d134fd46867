"""The world of one seed: who is in it, what happens to them, and the rules that hold all the time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from ccproxy_tui.core.errors import NoAccountServes, NoCredentials
from ccproxy_tui.core.system.paths import Paths
from tests.simulation import database
from tests.simulation.approvals import quick_look
from tests.simulation.clock import WorldClock
from tests.simulation.disk import Disk
from tests.simulation.history import rows_on_disk
from tests.simulation.login import Login
from tests.simulation.loop import SimulationLoop, Stuck
from tests.simulation.process import Killed, Process
from tests.simulation.proxy import UPKEEP, Proxy
from tests.simulation.tool import Tool
from tests.simulation.trace import Line
from tests.simulation.vendor import VENDOR, WALL, Asked, Family, TokenConnection, Vendor, Weather

_SECONDS = 800.0  # of trouble
_CALM = 700.0  # seconds of none, after which all must be well: longer than any pause or cooldown
_PUT_BACK = 15.0  # seconds in which a proxy puts back what was kept while the disk was full
_HANGS = 400.0  # seconds after which a request hangs
_LOOKS = 0.5  # seconds after which a proxy has looked at a file again
_KEPT_NAME = re.compile(r"(?<=kept/credentials.json).[0-9a-f]{16}")  # made from a path, which differs with each run
_AT_ONCE = 1.0  # seconds in which a request whose token lives is on its way


@dataclass(eq=False)
class Request:
    proxy: Proxy
    process: Process
    began: float
    living: list[str]  # the access tokens on the disk that live, all of them or none
    ends: float  # when the first of them ends, by the wall clock
    lost: float  # seconds that its process and the machine had been stopped for when it began
    sent: float | None = None


class World:
    def __init__(self, seed: int, root: Path) -> None:
        self.rng = Random(seed)
        self.loop = SimulationLoop(Random(self.rng.random()))
        self.loop.set_exception_handler(lambda _, context: self._failed(context))
        self.clock = WorldClock(self.loop)
        self.disk = Disk(root, self.clock.now)
        self.disk.on_call = lambda who, what, path: self.say(who, f"{what} {path}")
        self.trace: list[Line] = []
        self.broken: list[str] = []
        self._processes: list[Process] = []
        self._root = root
        self._requests: dict[asyncio.Task[Any], Request] = {}
        self.seen_on_disk: set[str] = set()  # rows of the history
        self.has_lost_room = False  # for the history
        self.judging = False  # all is calm, and every request must be served

    # --- what is noted ---

    def say(self, who: str, what: str) -> None:
        self.trace.append(Line(self.loop.time(), who, _KEPT_NAME.sub("", what.replace(f"{self._root}/", ""))))

    def breaks(self, rule: str) -> None:
        """A rule does not hold: the run ends here."""
        self.say("RULE", rule)
        self.broken.append(rule)
        self.loop.stop()

    def _failed(self, context: dict[str, Any]) -> None:
        if not isinstance(error := context.get("exception"), Killed):
            self.breaks(f"an error that no one has taken: {error or context['message']}")

    # --- who is here ---

    def process(self, name: str) -> Process:
        process = Process(self.loop, name)
        process.on_kill.append(lambda: self.disk.release(process))
        self._processes.append(process)
        return process

    def _settle(self) -> None:
        rng = self.rng
        home = self._root / "home"
        self.paths = Paths.of_user({"HOME": str(home), "XDG_RUNTIME_DIR": str(self._root / "run")})
        self.history = self.paths.data / "history.duckdb"
        self._holding: list[str] = []
        database.HELD.set(self._holding)
        self.vendor = Vendor(self.process("vendor"), Random(rng.random()), self.clock.true, self.say, self.breaks)
        self.vendor.kept_aside = self._is_kept_aside
        self.vendor.lifetime = rng.choice([360.0, 500.0, 900.0])
        self.vendor.on_disk = lambda family: next(
            (login.read()[1] for login in self.logins if login.family is family), ""
        )
        VENDOR.set(self.vendor)
        WALL.set(self.clock.now)
        kind = "codex" if rng.random() < 0.25 else "claude"
        own = home / (".claude/.credentials.json" if kind == "claude" else ".codex/auth.json")
        places = [own, home / "work" / own.name][: 1 + (rng.random() < 0.3)]
        self.logins = [Login(kind, place, self.vendor, self.disk, self.clock.now) for place in places]
        self.has_agents, self.has_streams = rng.random() < 0.25, rng.random() < 0.2
        self.has_history = self.has_agents and rng.random() < 0.5  # it costs more than all else
        self.proxies = [Proxy(self, f"proxy{n}", self.paths, self.logins) for n in range(rng.randint(1, 3))]

    def _is_kept_aside(self, family: Family, renewal: Asked) -> bool:
        """Whether the newest login is not in its file yet, and no proxy has had the time to put it there."""
        folders = [login.path.parent for login in self.logins] + [self.paths.state / "logins" / "kept"]
        files = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file()]
        is_there = any(f'"{family.refresh}"' in file.read_text(errors="replace") for file in files)
        dead = renewal.by is not None and renewal.by.dead
        since = renewal.by.killed_at if renewal.by is not None and dead else 0.0
        seconds = UPKEEP + _PUT_BACK if dead else _PUT_BACK  # another proxy has to find it
        return is_there and not any(self._could_put_back(proxy, since, seconds) for proxy in self.proxies)

    def _could_put_back(self, proxy: Proxy, since: float, seconds: float) -> bool:
        """Whether a proxy has run for so long, while there was room, to write what was kept aside."""
        since = max(since, proxy.process.runs_since, self.disk.had_room_since, self.loop.awake_since)
        runs = not (proxy.process.dead or proxy.process.stopped or self.disk.full)
        return runs and self.loop.time() - since > seconds

    # --- the history ---

    def rows_on_disk(self) -> set[str]:
        found = rows_on_disk(self.history)
        self.seen_on_disk |= found
        return found

    def stood_still(self, process: Process) -> float:
        """For how many seconds a process could not run."""
        return process.lost + self.loop.skipped

    def has_run(self, process: Process) -> float:
        """For how many seconds a process has run while nothing was full or held."""
        return self.loop.time() - max(process.runs_since, self.disk.had_room_since, self.loop.awake_since)

    # --- one life ---

    def live(self) -> None:
        main = self.loop.create_task(self._main())
        main.add_done_callback(lambda _: self.loop.stop())
        try:
            self.loop.run_forever()
        except Stuck:
            self.breaks("nothing can ever happen again")
        if not self.broken:
            main.result()

    def end(self) -> None:
        """Close all that was left."""
        for process in self._processes:
            process.kill()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            self._processes[0].bury(task)
        self.loop.close()

    async def _main(self) -> None:
        self._settle()
        rng = self.rng
        troubles = [self._tools, self._requests_of_clients, self._weather]
        troubles += [
            one
            for one, share in (
                (self._kills, 0.5),
                (self._full_disks, 0.4),
                (self._jumps, 0.25),
                (self._suspends, 0.25),
                (self._stops, 0.25),
                (self._users, 0.3),
                (self._other_readers, 0.3 * self.has_history),
            )
            if rng.random() < share
        ]
        self.say(
            "world",
            f"{len(self.proxies)} proxies, {len(self.logins)} {self.logins[0].kind} logins: "
            + " ".join(one.__name__.strip("_") for one in troubles),
        )
        tasks = [self.loop.create_task(one()) for one in troubles]
        watching = self.loop.create_task(self._watch())
        await asyncio.sleep(_SECONDS)
        for task in tasks:
            task.cancel()
        await self._calm_down()
        watching.cancel()

    async def _calm_down(self) -> None:
        """Everything works again: in the end, whoever has a login is served."""
        self.say("world", "all is calm now")
        self.vendor.weather = Weather()
        self.disk.full.clear()
        self.disk.dies_at.clear()
        self.disk.dies_writing.clear()
        self.disk.had_room_since = self.loop.time()
        self._holding.clear()
        self.clock.wrong = 0.0
        for proxy in self.proxies:
            self.loop.let_go_on(proxy.process)
            if proxy.is_stopping:
                proxy.process.kill()
            if proxy.process.dead:
                proxy.start()
        await asyncio.sleep(_CALM)
        await self._ask_all()
        if self.has_history:
            await self._judge_history()
        for login in self.logins:
            self._check_owner(login)
            if login.family.dead or not login.read()[1]:
                if not login.family.excuse:
                    return self.breaks(f"the login {login.family.name} is lost")
                login.sign_in()
        await asyncio.sleep(1)
        self.judging = True
        await self._ask_all()

    async def _judge_history(self) -> None:
        histories = [proxy.approvals.history for proxy in self.proxies]
        known = {row for one in histories if one is not None for row in one.noted}
        for proxy, history in zip(self.proxies, histories, strict=True):
            if history is None:
                continue
            judged, _ = await asyncio.wait({proxy.process.start(history.judge(known))}, timeout=60)
            if not judged:
                return self.breaks(f"the history of {proxy.name} has no answer")
            judged.pop().result()

    async def _ask_all(self) -> None:
        for proxy in self.proxies:
            for account in proxy.pool.accounts:
                proxy.process.start(account.keep_fresh())
            done, _ = await asyncio.wait({self._ask(proxy)}, timeout=300)
            if not done:
                return self.breaks(f"a request to {proxy.name} hangs although all is calm")

    # --- requests ---

    def _ask(self, proxy: Proxy) -> asyncio.Task[Any]:
        now = self.loop.time()
        tokens = [login.read() for login in self.logins]
        wall = self.clock.now()
        sound = all(
            self.vendor.lives(access) and wall < ends and refresh == login.family.refresh and now - login.since > _LOOKS
            for login, (access, refresh, ends) in zip(self.logins, tokens, strict=True)
        )
        living = [access for access, _, _ in tokens] if sound else []
        ends = min(ends for _, _, ends in tokens)
        request = Request(proxy, proxy.process, now, living, ends, proxy.process.lost + self.loop.skipped)
        task = proxy.process.start(self._serve(request))
        self._requests[task] = request
        task.add_done_callback(self._served)
        return task

    def _served(self, task: asyncio.Task[Any]) -> None:
        request = self._requests.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(f"{request.process.name}: a request", error)

    def failed(self, what: str, error: BaseException) -> None:
        """Something ended with an error, which counts unless its process was killed in it."""
        if not isinstance(error, Killed):
            self.breaks(f"{what} ended with {error!r}")

    async def _serve(self, request: Request) -> None:
        def sent() -> None:
            if request.sent is None:
                request.sent = self.loop.time()
                waited = self._waited(request)
                if self._lives(request) and waited > _AT_ONCE:
                    self.breaks(f"a request to {request.process.name} waited {waited:.1f} s although its token lives")

        try:
            status = (await request.proxy.send(sent)).status
        except (NoCredentials, NoAccountServes) as error:
            status = 401
            self.say(request.process.name, f"refuses a request: {error}")
        if status == 401 and self._lives(request):
            self.breaks(f"{request.process.name} refused a request although its token lives")
        if self.judging and status != 200:
            self.breaks(f"{request.process.name} answers {status} although all is calm")

    def _waited(self, request: Request) -> float:
        """For how many seconds it has waited while its process could run."""
        return self.loop.time() - request.began - (request.process.lost + self.loop.skipped - request.lost)

    def _lives(self, request: Request) -> bool:
        if not request.living or self.clock.now() >= request.ends:
            return False
        now = [login.read()[0] for login in self.logins]  # none where the user has logged out since
        return all(map(self.vendor.lives, [*request.living, *now]))

    async def _requests_of_clients(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 30))
            proxy = self.rng.choice(self.proxies)
            if proxy.process.dead:
                continue
            tasks = [self._ask(proxy) for _ in range(self.rng.choice([1, 1, 1, 2, 5]))]
            if self.rng.random() < 0.1:
                await asyncio.sleep(self.rng.random() * 3)
                tasks[0].cancel()

    async def _watch(self) -> None:
        """No request waits for ever."""
        while True:
            await asyncio.sleep(30)
            for proxy in self.proxies:
                proxy.approvals.check()
            for request in list(self._requests.values()):
                alive = not request.process.dead and not request.process.stopped
                if alive and self._waited(request) > _HANGS:
                    self.breaks(f"a request to {request.process.name} hangs")

    # --- what happens ---

    async def _tools(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 60))
            number += 1
            process = self.process(f"tool{number}")
            login = self.rng.choice(self.logins)
            process.start(Tool(login, self.rng, self.clock.now, self.disk).run())
            if self.rng.random() < 0.05:
                self.loop.call_later(self.rng.random() * 3, self._kill, process)

    async def _weather(self) -> None:
        while True:
            self.vendor.weather = Weather.drawn(self.rng)
            await asyncio.sleep(self.rng.uniform(60, 400))

    def _kill(self, process: Process) -> None:
        if not process.dead:
            self.say(process.name, "is killed")
            process.kill()

    async def _kills(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 200))
            proxy = self.rng.choice(self.proxies)
            way = self.rng.random()
            if way < 0.25 and not proxy.process.dead:
                self.say(proxy.process.name, "stops")
                proxy.is_stopping = True
                proxy.process.start(proxy.stop())
                await asyncio.sleep(6)
                proxy.process.kill()
            elif way < 0.6:
                self._kill(proxy.process)
            elif way < 0.8:
                self.disk.dies_writing.add(proxy.process)
            else:
                self.disk.dies_at[proxy.process] = self.disk.calls.get(proxy.process, 0) + self.rng.randint(1, 40)
            await asyncio.sleep(self.rng.uniform(0, 90))
            if proxy.process.dead:
                proxy.start()
                self.say(proxy.process.name, "starts")

    async def _full_disks(self) -> None:
        folders = [
            self.logins[0].path.parent,
            self.paths.state,
            self.paths.data if self.has_history else self.paths.state,
        ]
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 300))
            self.disk.full = set(
                self.rng.choice([folders, folders[:1], folders[-1:] if self.has_agents else folders[:1]])
            )
            self.has_lost_room |= self.disk.is_full(self.history)
            self.say("disk", f"{' and '.join(sorted(one.name for one in self.disk.full))} is full")
            await asyncio.sleep(self.rng.uniform(30, 900))
            self.disk.full = set()
            self.disk.had_room_since = self.loop.time()
            self.say("disk", "has room again")

    async def _other_readers(self) -> None:
        """Another program has the database open, and no proxy can write it."""
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 200))
            self._holding.append("another program")
            await asyncio.sleep(self.rng.uniform(1, 100))
            self._holding.clear()
            self.disk.had_room_since = self.loop.time()

    async def _jumps(self) -> None:
        while True:
            await self._moment(500)
            self.clock.wrong = self.rng.choice([-86_400.0, 86_400.0, -3600.0, 3600.0, 0.0])
            self.say("clock", f"is wrong by {self.clock.wrong:+.0f} s")

    async def _moment(self, seconds: float) -> None:
        """Wait for about so long, and often for the moment in which a login is renewed under a lock of its tool."""
        await asyncio.sleep(self.rng.expovariate(1 / seconds))
        if self.rng.random() < 0.6:
            for _ in range(60):
                if any(folder.suffix == ".lock" for folder in self.disk.makers):
                    break
                await asyncio.sleep(1)
            await asyncio.sleep(self.rng.random())

    async def _suspends(self) -> None:
        while True:
            await self._moment(400)
            counted = self.rng.random() < 0.5
            seconds = self.rng.choice([70.0, 500.0])
            self.say("machine", f"sleeps for {seconds:.0f} s")
            self.clock.sleep(seconds, counted=counted)

    async def _stops(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 400))
            process = self.rng.choice(self.proxies).process
            if process.dead:
                continue
            seconds = self.rng.uniform(1, 45)
            self.loop.stop_process(process)
            self.say(process.name, f"is stopped for {seconds:.0f} s")
            await asyncio.sleep(seconds)
            self.loop.let_go_on(process)

    async def _users(self) -> None:
        while True:
            await self._moment(500)
            login = self.rng.choice(self.logins)
            if self.rng.random() < 0.3:
                self.say("user", f"logs out at {login.path.name}")
                login.sign_out()
                await asyncio.sleep(self.rng.uniform(1, 200))
                self._check_owner(login)
            self.say("user", f"logs in again at {login.path.name}")
            login.family.excuse = "another login has taken its place"
            login.sign_in()

    def _check_owner(self, login: Login) -> None:
        """Break the run when the file has another login than the user, or one after the user has logged out."""
        refresh = login.read()[1]
        if refresh and (login.signed_out or not refresh.startswith(f"{login.family.name}r")):
            self.breaks(f"{refresh} is back after the user has logged out, or in with {login.family.name}")


@dataclass
class Run:
    """What came out of a seed."""

    seed: int
    broken: str
    trace: list[Line]
    steps: int
    excused: list[str]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {self.broken or 'every rule holds'}", *map(str, self.trace)])


def run(seed: int, around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext) -> Run:
    """Run one seed; `around` may make the product faulty, to see whether it is found."""
    root = Path(tempfile.mkdtemp(prefix="ccproxy-simulation-", dir=_memory()))
    world = World(seed, root)
    try:
        with _quiet(), world.disk.mounted(), _replaced(Random(seed)):
            with around():
                world.live()
                excused = [family.excuse for family in world.vendor.families.values() if family.excuse]
            world.end()
    finally:
        shutil.rmtree(root)
    return Run(seed, "; ".join(world.broken[:1]), world.trace, world.loop.steps, excused)


@contextlib.contextmanager
def _replaced(rng: Random) -> Iterator[None]:
    """Replace what the product would do over sockets, by chance, or apart from what is tested."""
    with (
        mock.patch("secrets.token_hex", lambda size: rng.randbytes(size).hex()),
        mock.patch("secrets.randbits", rng.getrandbits),
        mock.patch("ccproxy_tui.providers.login.Upstream", TokenConnection),
        mock.patch("ccproxy_tui.core.server.desk.look_at", quick_look),
        mock.patch("ccproxy_tui.core.storage.audit.time", _Time),
        mock.patch("ccproxy_tui.core.storage.audit._MOST_IN_MEMORY", 5),
        mock.patch.dict("sys.modules", {"duckdb": database}),
    ):
        yield


class _Time:
    """In the place of the module `time` for what is a thread in the product."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    def sleep(_: float) -> None:
        """What would change in that time does not: nothing else runs in a step."""


def _memory() -> str | None:
    """A folder whose files are in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        yield
    finally:
        logging.disable(before)
        gc.enable()
