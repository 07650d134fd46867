"""What every full screen has: status bar, tab line, a body, the last notice, the keys; how it hears of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from ccproxy_tui.core.control.frames import Watch
from ccproxy_tui.core.control.protocol import Control, ControlError, ControlLost
from ccproxy_tui.screens.ui.mirror import Changes, Mirror
from ccproxy_tui.screens.ui.session import Session
from ccproxy_tui.screens.ui.status_line import status_parts
from ccproxy_tui.screens.widgets.bars import AskLine, KeyLine, NoticeLine, StatusBar, TabLine, TrustLine

if TYPE_CHECKING:
    from ccproxy_tui.app import CCProxyApp

log = logging.getLogger(__name__)

T = TypeVar("T")

NARROW, WIDE = 72, 110
SHORT, TALL = 20, 30
READ_SECONDS = 1.0  # that keys wait for the first reading


class BaseScreen(Screen[None]):
    """Subclasses compose a body, say what they watch, and take changes."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-mid"), (WIDE, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (SHORT, "-normal"), (TALL, "-tall")]
    READS = False  # its rows are read from the proxy, not from the mirror
    TAB = ""  # the name of the tab that is marked while this screen is open
    HELP = ""  # a few sentences for the help screen

    def __init__(self) -> None:
        super().__init__()
        self._waits_until: float | None = None

    @property
    def proxy_app(self) -> CCProxyApp:

        return cast("CCProxyApp", self.app)

    @property
    def session(self) -> Session:
        return self.proxy_app.session

    @property
    def mirror(self) -> Mirror:
        return self.session.mirror

    @property
    def control(self) -> Control:
        """Raises ControlLost while there is no connection."""
        return self.session.control

    def compose(self) -> ComposeResult:
        yield StatusBar(id="status-bar")
        yield TrustLine(id="trust-line")
        yield TabLine(id="tab-line")
        yield from self.compose_body()
        yield AskLine(id="ask-line")
        yield NoticeLine(id="notice-line")
        yield KeyLine(id="key-line")

    def compose_body(self) -> Iterable[Widget]:
        raise NotImplementedError

    def watching(self) -> Watch:
        """What this screen needs frames of. Called when it opens and whenever `watch_anew` is."""
        return Watch()

    def take(self, changes: Changes) -> None:
        """The mirror has changed while this screen is open."""

    def fresh(self) -> BaseScreen:
        """Return a new screen of the same things, for the place of this one after a fault."""
        return type(self)()

    def keys(self) -> Sequence[tuple[str, str]]:
        """The keys of the last line, for where the focus is."""
        return ()

    @property
    def is_alive(self) -> bool:
        """Whether its widgets are there: it is built, and neither removed nor ended by a fault."""
        return self.is_mounted and self.is_running

    @property
    def is_ready(self) -> bool:
        """Whether keys can act on what the screen shows, or have waited long enough for it."""
        return self._waits_until is None or asyncio.get_running_loop().time() >= self._waits_until

    def read_again(self, read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Read what the screen shows from the proxy, in the background. Keys are held until it was read once."""

        async def run() -> None:
            await read()
            self._waits_until = None

        self.background(run, group="read")

    # --- called by the app and by Textual ---

    def on_mount(self) -> None:
        if self.READS:
            self._waits_until = asyncio.get_running_loop().time() + READ_SECONDS
        self.refresh_bars()
        self.set_interval(1.0, self._count_down_asks)

    def on_unmount(self) -> None:
        self.proxy_app.free_soon()

    def _count_down_asks(self) -> None:
        """Nothing moves when nothing waits."""
        if self.is_current and self.query_one(AskLine).display:
            self.query_one(AskLine).ask(self.proxy_app.ask_words())

    def on_screen_resume(self) -> None:
        self.watch_anew()
        self.refresh_bars()
        self.take(Changes(reset=True, rows=set(self.mirror.rows), status=True, detail=True))

    def on_resize(self) -> None:
        self.call_after_refresh(self.refresh_bars)

    def on_descendant_focus(self) -> None:
        self.refresh_keys()

    def background(self, work: Callable[[], Coroutine[Any, Any, None]], *, group: str = "") -> None:
        """Run `work` while this screen lives; new work of a group replaces its old one."""
        worker: Worker[None] = self.run_worker(work, group=group or "default", exclusive=bool(group))
        log.debug("started %s", worker.name)

    def carry_out(self, name: str, verb: Callable[[], Awaitable[str]]) -> None:
        """A verb on the thing of that name, in the background; what came of it, or what was wrong, is said."""

        async def run() -> None:
            try:
                if said := await verb():
                    self.proxy_app.say(f"{name}: {said}")
            except ControlError as error:
                self.proxy_app.say(str(error), "error")
            await self.carried_out()

        self.background(run)

    async def fetch(self, read: Callable[[], Awaitable[T]]) -> T | None:
        """What the proxy answers; None when it does not. A refusal is said here; that the connection is lost stands in
        the status bar, and everything is read again when it is back.
        """
        try:
            return await read()
        except ControlLost:
            return None
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
            return None

    async def carried_out(self) -> None:
        """A verb has come to its end, good or bad: time to read anew."""

    def watch_anew(self) -> None:
        if self.is_current:
            self.proxy_app.look_at(self.watching())

    def refresh_bars(self) -> None:
        if not self.is_alive:
            return
        session = self.session
        left, right = status_parts(self.mirror.status, session.state, session.problem, self.size.width)
        self.query_one(StatusBar).say(left, right)
        self.query_one(TrustLine).warn(self.mirror.status.project)
        tabs = self.query_one(TabLine)
        tabs.show(self.proxy_app.tabs(self.size.width), self.TAB, "^p commands")
        self.query_one(AskLine).ask("" if self.TAB == "approvals" else self.proxy_app.ask_words())
        self.query_one(NoticeLine).notice(*self.proxy_app.last_notice)
        self.refresh_keys()

    def refresh_keys(self) -> None:
        self.query_one(KeyLine).show(self.keys())

    def on_tab_line_picked(self, event: TabLine.Picked) -> None:
        self.proxy_app.open_tab(event.name)
