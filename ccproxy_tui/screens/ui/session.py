"""The connection of a front end to its proxy: start or find it, mirror its frames, come back when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.frames import SILENCE, Frame, Watch
from ccproxy_tui.core.control.protocol import Control, ControlError, ControlLost, differs
from ccproxy_tui.core.control.standing import silence_words
from ccproxy_tui.core.hosting import ProxyDied, ProxyProcess
from ccproxy_tui.screens.ui.mirror import Changes, Mirror

log = logging.getLogger(__name__)

State = Literal["starting", "up", "silent", "lost", "stopped", "failed"]
HEART = Frame()  # of a heartbeat
BACKOFF_FIRST = 0.5
BACKOFF_LAST = 15.0
LOOK_SECONDS = 2.0  # between two looks for a proxy that others start
STEADY = 10.0  # seconds up after which the next failure starts with a short pause again
FATAL_CODES = frozenset({2, 3})  # bad settings, port taken: trying again can't help


class Ending(NamedTuple):
    """How a connection ended, as far as it is known. A proxy that was `stopped` is not started again unasked."""

    words: str
    stopped: bool = False
    gone: bool = False  # the proxy has ended; else the connection alone is known to have


class Source(Protocol):
    """Where the proxy comes from. `owned` says whether this front end started it."""

    @property
    def owned(self) -> bool: ...

    @property
    def socket(self) -> str:
        """Where the proxy listens; empty while that is not known."""
        ...

    async def connect(self) -> Control:
        """A connection, after starting the proxy when it is owned. Raises ProxyDied or ControlLost."""
        ...

    def start_here(self) -> None:
        """Start a proxy with the next connection, whoever had started the last one."""
        ...

    async def found_again(self) -> bool:
        """Return whether a proxy runs where the last one did. The next connection is to that one."""
        ...

    async def ending(self) -> Ending:
        """Return how the connection ended."""
        ...

    def release(self) -> None:
        """Leave an owned proxy running."""
        ...

    async def stop(self, seconds: float) -> None:
        """End an owned proxy."""
        ...

    def abandon(self, outcome: str) -> None:
        """Do at once, from any thread, what becomes of an owned proxy: "stop" asks it to end."""
        ...


class Hosted:
    """A proxy of our own: a child process. Where another one of this user has taken the port, that one."""

    def __init__(
        self,
        make: Callable[[], ProxyProcess],
        connect: Callable[[str], Control],
        first: ProxyProcess | None = None,
        *,
        other: str = "",
    ) -> None:
        """`first` is a process that was spawned ahead; `other` the socket of a proxy that runs already."""
        self._make = make
        self._connect = connect
        self._starting = first  # it does not serve yet
        self._process: ProxyProcess | None = None
        self._socket = ""
        self._is_wanted_here = False
        self._other = Attached(other, connect) if other else None

    @property
    def owned(self) -> bool:
        return self._other is None

    @property
    def socket(self) -> str:
        return self._socket if self._other is None else self._other.socket

    def start_here(self) -> None:
        self._is_wanted_here = True  # from the next connection on: one to another proxy may be under way

    async def found_again(self) -> bool:
        if not await asyncio.to_thread(instances.accepts, self.socket):
            return False
        self._other = self._other or Attached(self._socket, self._connect)
        return True

    async def connect(self) -> Control:
        if self._is_wanted_here:
            self._other, self._is_wanted_here = None, False
        if self._other is None and self._process is None:
            await self._start()
        if self._other is not None:
            return await self._other.connect()
        return await asyncio.to_thread(self._connect, self._socket)

    async def _start(self) -> None:
        """Start a child, or attach to the proxy that it finds in its place. Raises ProxyDied."""
        self._starting = self._starting or self._make()
        try:
            self._socket = (await self._starting.start()).socket
        except ProxyDied as error:
            self._starting = None
            if not error.other:
                raise
            self._other = Attached(error.other, self._connect)
        else:
            self._process, self._starting = self._starting, None

    async def ending(self) -> Ending:
        if self._other is not None:
            return await self._other.ending()
        if self._process is None:
            return Ending("")
        try:
            async with asyncio.timeout(1.0):
                died = await self._process.wait()
        except TimeoutError:
            return Ending("the connection ended, but the proxy is running")
        self._process = None
        return Ending(str(died), died.stopped, gone=True)

    def release(self) -> None:
        if self._process is not None:
            self._process.release()

    async def stop(self, seconds: float) -> None:
        if (process := self._process or self._starting) is not None:
            await process.stop(seconds)

    def abandon(self, outcome: str) -> None:
        process = self._process or self._starting
        if process is not None and outcome == "stop":
            process.terminate()


class Attached:
    """A proxy that somebody else runs, on a socket of this machine."""

    owned = False

    def __init__(self, socket: str, connect: Callable[[str], Control]) -> None:
        self._socket = socket
        self._connect = connect

    @property
    def socket(self) -> str:
        return self._socket

    async def connect(self) -> Control:
        if not Path(self._socket).exists():  # noqa: ASYNC240 - one stat of a local file
            raise ControlLost("the proxy is no longer running")
        return await asyncio.to_thread(self._connect, self._socket)

    def start_here(self) -> None:
        """Nothing can be started."""

    async def found_again(self) -> bool:
        return await asyncio.to_thread(instances.accepts, self._socket)

    async def ending(self) -> Ending:
        return Ending("the connection to the proxy ended", gone=not await self.found_again())

    def release(self) -> None:
        """Nothing is owned."""

    async def stop(self, seconds: float) -> None:
        """Nothing is owned."""

    def abandon(self, outcome: str) -> None:
        """Nothing is owned."""


class Session:
    """Keeps a mirror up to date and tells a front end what changed. One per front end."""

    def __init__(
        self,
        source: Source,
        on_changes: Callable[[Changes], None],
        on_state: Callable[[State, str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.mirror = Mirror(monotonic)
        self.watch = Watch()
        self.state: State = "starting"
        self.problem = ""
        self.is_gone = False  # the last proxy has ended, as far as is known
        self.fatal_code = 0
        self._on_changes = on_changes
        self._on_state = on_state
        self._control: Control | None = None
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._wanted = asyncio.Event()  # set when a proxy that was stopped is to start
        self._silent = 0

    @property
    def control(self) -> Control:
        """The live connection. Raises ControlLost while there is none."""
        if self._control is None:
            raise ControlLost(self.problem or "the proxy is still starting")
        return self._control

    async def run(self) -> None:
        """Until cancelled, or until the first proxy can't start and trying again can't help (state "failed").

        A proxy that was stopped on purpose, or that can't start again, stays so (state "stopped") until `start_again`.
        """
        pause = BACKOFF_FIRST
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            ending = Ending("")
            try:
                await self._follow()
            except ProxyDied as error:
                self.fatal_code = error.code if error.code in FATAL_CODES else 0
                ending = Ending(str(error), error.stopped or self.fatal_code > 0, gone=True)
                if self.fatal_code and not self.mirror.status.pid:  # there was none before
                    self.problem = ending.words
                    self._say("failed")
                    return
            except ControlLost as error:
                ending = await self.source.ending()
                asked = self.mirror.status.ending
                ending = ending._replace(
                    words=asked or ending.words or str(error), stopped=ending.stopped or (ending.gone and bool(asked))
                )
            except ControlError as error:  # it lives, and refuses or can't be understood
                ending = Ending(str(error))
            except Exception:  # any fault of ours in what frames become: it must not end the session without a word
                log.exception("the session with the proxy failed")
                ending = Ending(
                    "A message of the proxy could not be shown (details are in the log file of the screens)"
                )
            self.problem, self.is_gone = ending.words, ending.gone
            if ending.gone:
                self._on_changes(self.mirror.lose(ending.words))
            if ending.stopped:
                await self._stay_stopped()
                continue
            pause = BACKOFF_FIRST if loop.time() - started > STEADY else min(pause * 2, BACKOFF_LAST)
            self._wanted.clear()
            self._say("lost")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)

    async def _stay_stopped(self) -> None:
        """Until it is wanted again, or another one runs where this one was."""
        self._wanted.clear()
        self._say("stopped")
        while not self._wanted.is_set() and not await self.source.found_again():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LOOK_SECONDS)
        self.problem = ""
        self._say("starting")

    def start_again(self) -> None:
        """Start a proxy in place of one that was stopped, or that is lost. No-op in any other state."""
        if self.state in ("stopped", "lost"):
            self.source.start_here()
            self._wanted.set()

    async def _follow(self) -> None:
        control = await self.source.connect()
        silence = asyncio.get_running_loop().create_task(self._count_silence())
        try:
            watch = self.watch
            async for frame in control.frames(watch):
                self._silent = 0
                changes = self.mirror.apply(frame)
                if self._control is None:
                    self._control = control
                    self.mirror.connected = True
                    self._say("up")
                    if self.watch != watch:  # changed while this connection was made
                        self._send_latest()
                elif self.state == "silent":
                    self._say("up")
                if frame != HEART:
                    self._on_changes(changes)
        finally:
            silence.cancel()
            self._control = None
            self.mirror.connected = False
            await control.close()

    async def _count_silence(self) -> None:
        """Say that the proxy stands still. Seconds are counted only while this process runs and reads."""
        self._silent = 0
        while True:
            await asyncio.sleep(1.0)
            self._silent += 1
            beats = self._control is None or self.mirror.status.protocol > 1
            if beats and self._silent % SILENCE == 0:
                self.problem = self._silence_words()
                self._say("silent")

    def _silence_words(self) -> str:
        """Who does not answer. Before the first frame, only its files say so."""
        known = instances.at(self.source.socket) if self.source.socket else None
        port = known.port if known is not None else self.mirror.status.port
        pid = known.pid if known is not None else self.mirror.status.pid
        return silence_words(port, self._silent, pid)

    @property
    def difference(self) -> str:
        """What to do about a proxy of another version; nothing when it is of this one."""
        status = self.mirror.status
        return differs(status.protocol, status.port) if self.mirror.connected and status.port else ""

    def _say(self, state: State) -> None:
        self.state = state
        if state == "up":
            self.problem, self.is_gone, self.fatal_code = "", False, 0
        self._on_state(state, self.problem)

    def look_at(self, watch: Watch) -> None:
        """Change what is watched. Calls in quick succession send the last one."""
        if watch == self.watch:
            return
        self.watch = watch
        if self._control is not None:  # a new connection begins with the latest
            self._send_latest()

    def _send_latest(self) -> None:
        if self._looking is not None and not self._looking.done():
            self._look_again = True
            return
        # In a context of its own: time-outs keep theirs for a while after they were cancelled, and the screen in it.
        self._looking = asyncio.get_running_loop().create_task(self._send_watch(), context=contextvars.Context())

    async def _send_watch(self) -> None:
        """Until the proxy has the latest. The mirror forgets what the proxy knows it has let go, and no more."""
        self._look_again = True
        while self._look_again:
            self._look_again = False
            watch = self.watch
            try:
                await self.control.look_at(watch)
            except ControlError as error:
                if self._control is None:
                    return  # a reconnect sends the watch anyway
                log.debug("watch not changed: %s", error)
                self._look_again = True
                await asyncio.sleep(BACKOFF_FIRST)
            else:
                self.mirror.forget(watch)
