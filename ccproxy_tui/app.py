"""The Textual app: modes, keys, signals, the session with the proxy. No domain logic."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from textual import events
from textual._styles_cache import StylesCache
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker

from ccproxy_tui.core.control.frames import Watch
from ccproxy_tui.core.records.events import SettingsChanged
from ccproxy_tui.core.settings.live import LiveSettings
from ccproxy_tui.core.settings.models import Ui
from ccproxy_tui.core.settings.offer import Offer
from ccproxy_tui.core.settings.trust import TrustStore
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.heap import give_back_memory
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.accounts import AccountsScreen
from ccproxy_tui.screens.approvals import ApprovalsScreen, ask_line
from ccproxy_tui.screens.base import NARROW, BaseScreen
from ccproxy_tui.screens.codex import CodexScreen
from ccproxy_tui.screens.confirm import QuitDialog
from ccproxy_tui.screens.help import HelpScreen
from ccproxy_tui.screens.inspector import InspectorScreen
from ccproxy_tui.screens.logs import LogsScreen
from ccproxy_tui.screens.pool import PoolScreen
from ccproxy_tui.screens.recovery import FATAL_EXIT, RecoveringApp
from ccproxy_tui.screens.settings import SettingsScreen
from ccproxy_tui.screens.split import SplitScreen
from ccproxy_tui.screens.streams import StreamsScreen
from ccproxy_tui.screens.trust import TrustDialog
from ccproxy_tui.screens.ui import terminal
from ccproxy_tui.screens.ui.driver import lasting
from ccproxy_tui.screens.ui.keyboard import Keyboard
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.ui.palette import Commands, Palette
from ccproxy_tui.screens.ui.session import Session, Source, State
from ccproxy_tui.screens.ui.session_state import SessionState, load_state, save_state
from ccproxy_tui.screens.ui.status_line import START_KEY, notices_words
from ccproxy_tui.screens.ui.themes import THEMES
from ccproxy_tui.screens.welcome import WelcomeScreen

log = logging.getLogger(__name__)

# Tab -> (key, title, short title, screen).
TABS: dict[str, tuple[str, str, str, type[BaseScreen]]] = {
    "streams": ("1", "Streams", "Str", StreamsScreen),
    "approvals": ("2", "Approvals", "App", ApprovalsScreen),
    "accounts": ("3", "Accounts", "Acc", AccountsScreen),
    "pool": ("4", "Pool", "Pool", PoolScreen),
    "codex": ("5", "Codex", "Cdx", CodexScreen),
    "logs": ("7", "Logs", "Log", LogsScreen),
    "settings": ("8", "Settings", "Set", SettingsScreen),
}
BLURRED_HZ = 1.0
SLOW_HZ = 0.5
LOG_FILE = "screens.log"  # in the state folder
TERMINAL_SECONDS = 2.0
NOTICE_SECONDS = 60.0
FREE_SECONDS = 1.0  # after a screen was left, whose own timers of a second have ended then
_DECLINED_KEPT = 200


class CCProxyApp(RecoveringApp):
    """Draws a mirror of the proxy. Ends with what becomes of the proxy: "stop", "leave" or "hangup"."""

    CSS_PATH = "app.tcss"
    TITLE = "ccproxy-tui"
    COMMANDS = {Commands}
    MODES: ClassVar[dict[str, Any]] = {name: screen for name, (_, _, _, screen) in TABS.items()}
    DEFAULT_MODE = "streams"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "ask_quit", "quit", id="app.quit", priority=True),
        Binding("q", "ask_quit", "quit", id="app.quit_plain", show=False),
        Binding("question_mark", "help", "help", id="app.help"),
        Binding("ctrl+p,colon", "command_palette", "commands", id="app.commands"),
        Binding("w", "welcome", "connect a tool", id="app.welcome"),
        Binding("ctrl+l", "redraw", "redraw", id="app.redraw", show=False),
        Binding("ctrl+z", "suspend_process", "suspend", id="app.suspend", show=False),
        Binding("ctrl+g", "answer", "answer", id="app.answer", show=False, priority=True),
        Binding("exclamation_mark", "answer", show=False, id="app.answer_plain"),
        Binding(START_KEY, "start_again", "start the proxy", id="app.start", show=False),
        Binding("minus", "last_tab", "last screen", id="app.last_tab", show=False),
        *(
            Binding(key, f"open_tab('{name}')", title, id=f"app.{name}", show=False)
            for name, (key, title, _, _) in TABS.items()
        ),
    ]

    def __init__(
        self,
        source: Source,
        settings: LiveSettings,
        clock: Clock,
        paths: Paths,
        *,
        is_demo: bool = False,
        notice: str = "",
        remember: bool = True,
        offers: Sequence[Offer] = (),
    ) -> None:
        self.settings = settings  # of this terminal, not of the proxy; the driver, which is made at once, asks for them
        # Textual's own answer to NO_COLOR is grey tones; ours is the mono theme, which sends no colour at all.
        self.environ = dict(os.environ)
        os.environ.pop("NO_COLOR", None)
        super().__init__(clock, str(paths.state / LOG_FILE))
        self.paths = paths
        self._keyboard = Keyboard(self)
        self.is_demo = is_demo
        self.session = Session(source, self._on_changes, self._on_state, clock.monotonic)
        self.last_notice: tuple[str, str] = (notice, "dim")
        self.state_file: Path | None = (
            paths.state / ("demo-screens.json" if is_demo else "screens.json") if remember else None
        )
        self.remembered = load_state(self.state_file) if self.state_file else SessionState(welcomed=True)
        self._offers = [offer for offer in offers if offer.digest not in self.remembered.declined]
        self._tab = "streams"
        self._previous_tab = "streams"
        self._notice_timer: Timer | None = None
        self._owned = source.owned
        self._state: tuple[State, str] = ("starting", "")
        self._lost: tuple[int, int] | None = None  # what was shown when the proxy was lost
        self._alarms: dict[str, str] = {}
        self._notices: list[str] = []
        self._history = ""  # why permission requests were not kept, at the last look
        self._heard: set[str] = set()  # questions that wait, as far as the person was told
        self._title = ""
        self._freeing: asyncio.TimerHandle | None = None
        self._free_again = False
        self._focused = True

    @property
    def ui(self) -> Ui:
        return self.settings.current.ui

    # --- life ---

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """For Textual's own themes, which have no grounds for differences."""
        return {"added-ground": "transparent", "removed-ground": "transparent"}

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        configured = "theme" in self.ui.model_fields_set  # what was chosen here before is for when nothing is said
        self.use_theme(self.ui.theme if configured else self.remembered.theme or self.ui.theme, remember=False)
        if self.ui.keys:
            self.set_keymap(self.ui.keys)
        if terminal.over_ssh(self.environ) or self.ui.slow:
            self.animation_level = "none"
        self.settings.subscribe(self._setting_changed)
        self._look_around()
        self.app_resume_signal.subscribe(self, lambda _: self.action_redraw())
        self._show_notice(*self.last_notice)
        self._write(terminal.PUSH_TITLE)
        self.run_worker(self.session.run(), name="session")
        self.run_worker(self._read_keys(), name="keyboard")
        if self.remembered.tab in TABS and not self.is_demo:  # a demo begins with its streams
            self.open_tab(self.remembered.tab)
        if not self.remembered.welcomed and not self.is_demo:
            self.remembered.welcomed = True
            self.push_screen(WelcomeScreen())
        if self._offers:
            self.call_after_refresh(self.run_worker, self._offer_trust)

    async def _offer_trust(self) -> None:
        """Over what is painted already. What you trust takes effect by a new start: ends with "trust"."""
        answer = await self.push_screen_wait(TrustDialog(self._offers, self.clock.monotonic))
        if answer == "without":
            digests = [offer.digest for offer in self._offers]
            self.remembered.declined = [*self.remembered.declined, *digests][-_DECLINED_KEPT:]
        if answer != "trust":
            self.say("not trusted: `ccproxy-tui trust` shows it again")
            return
        store, now = TrustStore(self.paths), self.clock.now()
        try:
            for offer in self._offers:
                await asyncio.to_thread(offer.accept, store, now)
        except OSError as error:
            self.say(f"{store.path} can't be written: {error.strerror or error}", "error")
            return
        self.exit("trust", return_code=0)

    def get_driver_class(self) -> type[Driver]:
        return lasting(super().get_driver_class())

    async def on_event(self, event: events.Event) -> None:
        typed = isinstance(event, events.Key | events.Paste) and not event.is_forwarded
        if typed and (self._exit or not self.screen_stack):
            return  # the screens close: there is nothing left that a key could act on
        if typed and event is not self._keyboard.released:
            self._keyboard.take(event)
            return
        await super().on_event(event)

    def free_soon(self) -> None:
        """Free screens that were left, in a second, and those that are left until then a second later.

        They are cycles, which Python looks for ever more rarely, and 20 of them take 10 MB.
        """
        if self._freeing is not None:
            self._free_again = True
        elif not self._exit:
            loop = asyncio.get_running_loop()  # not a timer of Textual: that would hold the screen which was left
            self._freeing = loop.call_later(FREE_SECONDS, self._free, context=contextvars.Context())

    def _free(self) -> None:
        """Textual remembers colours by the widgets that asked for them, 1,024 widgets with all their lines."""
        self._freeing = None
        if self._exit:
            return
        StylesCache.get_inner_outer.cache_clear()
        gc.collect()
        asyncio.get_running_loop().run_in_executor(None, give_back_memory)
        if self._free_again:
            self._free_again = False
            self.free_soon()

    def on_unmount(self) -> None:
        self._write(terminal.POP_TITLE)
        if self.state_file is not None:
            save_state(self.state_file, self.remembered)

    def _write(self, text: str) -> None:
        """Straight to the terminal, for what Textual has no call for."""
        if self._driver is not None and not self.is_headless and getattr(self._driver, "_writer_thread", None):
            self._driver.write(text)

    def _look_around(self) -> None:
        """Know of what goes wrong outside of the screens."""
        if self.is_headless:
            return
        asyncio.get_running_loop().set_exception_handler(_log_loop_error)
        self.set_interval(TERMINAL_SECONDS, self._look_for_terminal)

    def _look_for_terminal(self) -> None:
        """Only the leader of a session hears that its terminal is gone: below make, that is not this program."""
        if sys.__stdin__ is not None and not os.isatty(sys.__stdin__.fileno()):
            os.kill(os.getpid(), signal.SIGHUP)

    def end_by(self, outcome: str, status: int) -> None:
        """End with an exit status, as a signal wants it."""
        self.exit(outcome, return_code=status)

    # --- the session ---

    def _on_changes(self, changes: Changes) -> None:
        try:
            self._take_changes(changes)
        except Exception as error:  # noqa: BLE001 - any code of a screen runs here, and the session goes on
            self._handle_exception(error)

    def _take_changes(self, changes: Changes) -> None:
        screen = self.base_screen
        if screen is not None and screen.is_alive:
            screen.take(changes)
            if changes.status or changes.reset:
                screen.refresh_bars()
        if changes.asks:
            self._hear_asks()
        if changes.status or changes.asks or changes.reset:
            self._set_title()
            self._sound_alarms()

    def _on_state(self, state: State, problem: str) -> None:
        try:
            self._take_state(state, problem)
        except Exception as error:  # noqa: BLE001 - as above
            self._handle_exception(error)

    def _take_state(self, state: State, problem: str) -> None:
        (before, _), is_known = self._state, self._state == (state, problem)
        self._state = state, problem
        if state == "failed":
            self.exit("stop", return_code=self.session.fatal_code or FATAL_EXIT, message=None)
            return
        if state in ("lost", "stopped"):
            self._lost = self._lost or self._before_the_loss()
            if not is_known:
                self.say(f"{problem}; {_next_step(state, owned=self.session.source.owned)}", "error")
        if state == "silent" and before != state:
            self.say(problem, "error")
        if state == "up":
            self._say_which_is_up(was_silent=before == "silent")
        screen = self.base_screen
        if screen is not None and screen.is_alive:
            screen.refresh_bars()

    def _say_which_is_up(self, *, was_silent: bool) -> None:
        """In the notice line, unless it is the proxy that was expected."""
        status, lost = self.session.mirror.status, self._lost
        owned, self._owned = self._owned, self.session.source.owned
        self._lost = None
        if owned and not self._owned:
            self.say(f"a proxy was already running on port {status.port} (process {status.pid}); attached to it")
        elif lost is not None:
            pid, rows = lost
            self.say(*_back_words(rows, same=status.pid == pid, ours=self._owned and not owned))
        elif was_silent:
            self.say("the proxy is responding again")
        if self.session.difference:
            self.say(self.session.difference, "error")

    def _before_the_loss(self) -> tuple[int, int]:
        """The proxy's pid, and how many requests are shown of it."""
        return self.session.mirror.status.pid, len(self.session.mirror.rows)

    def action_start_again(self) -> None:
        """Start the proxy, after it was stopped on purpose or lost."""
        self.session.start_again()

    @property
    def base_screen(self) -> BaseScreen | None:
        """The full screen that is open, below any dialog."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, BaseScreen)), None)

    def look_at(self, watch: Watch) -> None:
        self.session.look_at(msgspec.structs.replace(watch, hz=self._hz()))

    def _hz(self) -> float:
        if self.ui.slow:
            return SLOW_HZ
        return self.ui.frame_hz if self._focused else min(BLURRED_HZ, self.ui.frame_hz)

    def on_app_focus(self, event: events.AppFocus) -> None:
        self._focus_changed(True)

    def on_app_blur(self, event: events.AppBlur) -> None:
        self._focus_changed(False)

    def _focus_changed(self, focused: bool) -> None:
        self._focused = focused
        if focused:
            for opened in self.screen_stack:
                if isinstance(opened, ApprovalsScreen):
                    opened.guard.rearm(self.clock.monotonic())
        if (screen := self.base_screen) is not None:
            screen.watch_anew()

    def _hear_asks(self) -> None:
        """A question shows itself everywhere and takes the focus nowhere; only who is away is rung for."""
        pending = {ask.id for ask in self.session.mirror.asks if ask.status == "pending"}
        new, self._heard = pending - self._heard, pending
        if (screen := self.base_screen) is not None and screen.is_alive:
            screen.refresh_bars()
        if new and not self._focused:
            if self.ui.bell:
                self.bell()
            terminal.notify(self._write, f"{len(pending)} waiting for a decision", self.environ)

    def ask_words(self) -> str:
        return ask_line(self.session.mirror.asks, self.session.mirror.left)

    def action_answer(self) -> None:
        """To the card of the oldest request that waits."""
        if isinstance(self.screen, ApprovalsScreen):
            self.screen.show_waiting()
        else:
            self.open_tab("approvals")

    def _sound_alarms(self) -> None:
        """Show once what an account or the proxy itself warns of, and that the history is not kept."""
        notices = self.session.mirror.status.notices
        if notices and notices != self._notices:
            self.notify(escape_line(f"{notices_words(notices)}: {notices[0]}"), severity="warning", markup=False)
        self._notices = notices
        alarms = {account.provider: account.alarm for account in self.session.mirror.status.accounts if account.alarm}
        for provider, alarm in alarms.items():
            if self._alarms.get(provider) != alarm:
                self.say(f"{provider}: {alarm}", "error")
        self._alarms = alarms
        history = self.session.mirror.status.history
        if history and not self._history:
            self.say(f"history: {history}", "error")
        self._history = history

    def _set_title(self) -> None:
        status = self.session.mirror.status
        waiting = f" ! {len(self._heard)} waiting" if self._heard else ""
        title = f"ccproxy :{status.port} - {status.live} live{waiting}"
        if title != self._title:
            self._title = title
            terminal.set_title(self._write, title)

    # --- what screens ask for ---

    def say(self, text: str, style: str = "dim") -> None:
        """The last thing that happened, in the notice line; errors as a toast as well. Any text is safe here."""
        text = escape_line(text)
        self._show_notice(text, style)
        if style == "error":
            self.notify(text, severity="error", markup=False)

    def _show_notice(self, text: str, style: str) -> None:
        """Until another takes its place, or it is too old to be about now."""
        self.last_notice = (text, style)
        if self._notice_timer is not None:
            self._notice_timer.stop()
        self._notice_timer = self.set_timer(NOTICE_SECONDS, self._clear_notice) if text else None
        if (screen := self.base_screen) is not None and screen.is_alive:
            screen.refresh_bars()

    def _clear_notice(self) -> None:
        self._show_notice("", "dim")

    def copy(self, text: str, what: str) -> None:
        where = terminal.copy(text, self.copy_to_clipboard, self.paths.state, self.environ)
        self.say(f"copied the {what} to the {where}")

    def tabs(self, width: int) -> Sequence[tuple[str, str, str]]:
        """(name, key, title) of every tab, titles short in a narrow line."""
        return [(name, key, title if width >= NARROW else short) for name, (key, title, short, _) in TABS.items()]

    def open_tab(self, name: str) -> None:
        if name not in TABS:
            return
        if name != self._tab:
            self._previous_tab, self._tab = self._tab, name
            self.remembered.tab = name
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.switch_mode(name)

    def inspect(self, exchange: str) -> None:
        self.push_screen(InspectorScreen(exchange))

    def open_split(self, pinned: Sequence[str]) -> None:
        self.push_screen(SplitScreen(pinned))

    def has_theme(self, name: str) -> bool:
        return name in ("", "auto") or name in self.available_themes

    def use_theme(self, name: str, *, remember: bool = True) -> None:
        """A theme by name; "auto" asks the terminal, an unknown name is said and passed over."""
        wanted = terminal.theme_for(self.environ) if name in ("", "auto") else name
        if wanted not in self.available_themes:
            self.say(f"Unknown theme {wanted!r}", "warning")
            return
        self.theme = wanted
        if remember:
            self.remembered.theme = "" if name == "auto" else name

    def _setting_changed(self, changed: SettingsChanged) -> None:
        if changed.key == ("ui", "theme"):
            self.use_theme(self.ui.theme)
        else:
            self.action_redraw()

    # --- actions ---

    def action_open_tab(self, name: str) -> None:
        self.open_tab(name)

    def action_last_tab(self) -> None:
        self.open_tab(self._previous_tab)

    def action_welcome(self) -> None:
        if not isinstance(self.screen, WelcomeScreen):
            self.push_screen(WelcomeScreen())

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_help(self) -> None:
        screen = self.screen
        if isinstance(screen, HelpScreen):
            return
        base = self.base_screen
        title = base.TAB or "welcome" if base is not None else "keys"
        text = base.HELP if base is not None else ""
        self.push_screen(HelpScreen(title, text, list(screen.active_bindings.values())))

    def action_redraw(self) -> None:
        self.screen.refresh(layout=True)

    def action_ask_quit(self) -> Worker[None] | None:
        if isinstance(self.screen, QuitDialog):
            return None
        return self.run_worker(self._ask_quit)

    async def _ask_quit(self) -> None:
        owned = self.session.source.owned
        answer = {"stop": "stop", "leave": "leave"}.get(self.ui.on_quit) if owned else "leave"
        if self.session.is_gone or self.session.state == "starting":
            answer = "stop" if owned else "leave"
        if self.is_demo and answer == "leave":
            answer = None  # a demo is not left running
        if answer is None:
            live = self.session.mirror.status.live
            waiting = self.session.mirror.status.waiting
            answer = await self.push_screen_wait(
                QuitDialog(live, owned=owned, waiting=waiting, may_leave=not self.is_demo)
            )
        if answer:
            self.exit(answer, return_code=0)

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        keys = ", ".join(sorted({binding.key for binding in clashed_bindings}))
        self.say(f"keys bound twice in ui.keys: {keys}", "error")

    async def _read_keys(self) -> None:
        while True:
            try:
                await self._keyboard.run()
            except Exception as error:  # noqa: BLE001 - a key can run any code of a screen; the next keys count
                self._handle_exception(error)
            else:
                return

    def tab_screen(self, mode: str) -> BaseScreen:
        return TABS[mode][3]()

    def get_default_screen(self) -> Screen[Any]:
        return StreamsScreen()


def _next_step(state: State, *, owned: bool) -> str:
    if owned:
        return f"press {START_KEY} to start it again" if state == "stopped" else "trying again"
    start = f"press {START_KEY} to start one with the settings of this command"
    return start if state == "stopped" else f"trying again; {start}"


def _back_words(rows: int, *, same: bool, ours: bool) -> tuple[str, str]:
    """The notice once the proxy is back: a new process has nothing of what the old one kept in memory.

    `ours`: these screens started it, in place of one that they were attached to.
    """
    if same:
        return "The connection to the proxy is back", "dim"
    settings = " with the settings of this command" if ours else ""
    gone = f"; {rows} earlier request{'s are' if rows != 1 else ' is'} gone" if rows else ""
    return f"The proxy was restarted{settings}{gone}", "warning"


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(context.get("exception"), asyncio.InvalidStateError):
        # anyio wakes a read of a unix socket by `Future.set_result`, which fails when the read was just cancelled.
        log.debug("%s", context.get("message"))
        return
    log.error("%s", context.get("message"), exc_info=context.get("exception"))
