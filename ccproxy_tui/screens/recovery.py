"""The app goes on after a fault in one of its screens: it is logged, shown, and the screen is built again."""

from __future__ import annotations

import asyncio
import logging
import traceback
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.text import Text
from textual import events
from textual.app import App
from textual.message import Message
from textual.screen import ModalScreen, Screen

from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.text.escape import escape_block
from ccproxy_tui.core.text.redact import redact_text
from ccproxy_tui.screens.base import BaseScreen
from ccproxy_tui.screens.fault import FaultRate, FaultScreen, cause_of, screen_at_fault, words_of

log = logging.getLogger(__name__)

FATAL_EXIT = 1
RECOVERY_SECONDS = 5.0
_BLANK = "blank"  # the mode that is open while one is replaced


class RecoveringApp(App[str]):
    """An app whose modes are tabs, each with a BaseScreen."""

    def __init__(self, clock: Clock, log_file: str) -> None:
        super().__init__()
        self.clock = clock
        self.log_file = log_file
        self._fault_rate = FaultRate()
        self._is_unfit = False  # it could not start
        self._faults: list[tuple[BaseException, Screen[Any] | None]] = []  # that are not put in order yet

    @property
    def recovering(self) -> bool:
        """Whether a screen is being built again."""
        return bool(self._faults)

    @abstractmethod
    def tab_screen(self, mode: str) -> BaseScreen:
        """Return a new screen of a tab."""

    @abstractmethod
    def say(self, text: str, style: str = "dim") -> None:
        """Show a line of text; as a notification, too, when its style is "error"."""

    async def _dispatch_message(self, message: Message) -> None:
        """Textual ends the loop of the app when one of its handlers raises: go on instead."""
        try:
            await super()._dispatch_message(message)
        except Exception as error:  # handlers of all screens and of Textual run here
            if isinstance(message, events.Load | events.Compose | events.Mount):
                self._is_unfit = True
                raise
            self._handle_exception(error)

    def _handle_exception(self, error: Exception) -> None:
        """Textual ends the app with any exception of a screen: log it, say it and build the screen again instead."""
        if self.is_headless and self._exception is None:  # tests raise it
            self._exception = error
            self._exception_event.set()
        cause, screen = cause_of(error), screen_at_fault()
        if screen is not None and not self._is_open(screen):
            log.debug("a screen failed after it was left", exc_info=cause)
            return
        log.error("a fault in the screens", exc_info=cause)
        if self._exit:
            return
        if self._is_unfit or isinstance(screen, FaultScreen):
            self._end_by_fault(error)
        elif not isinstance(self.screen, FaultScreen) and all(screen is not known for _, known in self._faults):
            self._faults.append((cause, screen))
            if len(self._faults) == 1:
                self.call_later(self.run_worker, self._recover, group="recovery")

    def _end_by_fault(self, error: Exception) -> None:
        """There is nothing left to show it on. The proxy does what it does when its terminal is gone."""
        self.exit("hangup", return_code=FATAL_EXIT)
        super()._handle_exception(error)

    async def _recover(self) -> None:
        """Put everything in order that has failed, and what fails while this is done."""
        try:
            while self._faults:
                cause, screen = self._faults[0]
                if screen is None or self._is_open(screen):
                    await self._recover_from(words_of(cause), screen)
                del self._faults[0]
        except Exception as error:  # noqa: BLE001 - the last resort, for any fault: the terminal is given back
            self._end_by_fault(error)

    def _is_open(self, screen: Screen[Any]) -> bool:
        return any(screen in stack for stack in self._screen_stacks.values())

    async def _recover_from(self, words: str, screen: Screen[Any] | None) -> None:
        """Build the screen again; when that does not help, show what is wrong, and nothing else."""
        if self._fault_rate.add(self.clock.monotonic()) or not await self._is_built_again(screen):
            async with asyncio.timeout(RECOVERY_SECONDS):
                await self._replace_stack([FaultScreen(words, self.log_file)])
            return
        done = "was closed" if isinstance(screen, ModalScreen) else "was rebuilt"
        self.say(f"A screen failed and {done}: {words} (see {self.log_file})", "error")

    async def _is_built_again(self, screen: Screen[Any] | None) -> bool:
        """Build the screen again. Return False when that fails, too."""
        try:
            async with asyncio.timeout(RECOVERY_SECONDS):
                await self._build_again(screen)
        except Exception:  # a screen that is built runs any code of it: a plain one is shown then
            log.exception("the screens could not be rebuilt")
            return False
        return True

    async def _build_again(self, screen: Screen[Any] | None) -> None:
        """Close a dialog; replace the screens of a tab by new ones, which read the mirror."""
        if isinstance(screen, ModalScreen):
            while screen in self.screen_stack:
                await self.screen.dismiss(None)
            return
        mode = next((name for name, stack in self._screen_stacks.items() if screen in stack), self.current_mode)
        if mode == self.current_mode:
            again = [old.fresh() for old in self.screen_stack if isinstance(old, BaseScreen)]
            await self._replace_stack(again or [self.tab_screen(mode)])
        else:
            await self.remove_mode(mode)  # it is built when it is opened
            self.add_mode(mode, partial(self.tab_screen, mode))

    async def _replace_stack(self, screens: Sequence[Screen[Any]]) -> None:
        """Close all screens of the open tab and open these in their place."""
        nodes = [node for screen in self.screen_stack for node in screen.walk_children(with_self=True)]
        while len(self.screen_stack) > 1:
            await self.screen.dismiss(None)
        await self._replace_base(self.current_mode, screens[0])
        for screen in screens[1:]:
            await self.push_screen(screen)
        for node in nodes:
            await node._close_messages()  # one that could not be mounted does not close its children

    async def _replace_base(self, mode: str, screen: Screen[Any]) -> None:
        """Textual has no call to replace the first screen of a mode: leave the mode, and enter it again."""
        waiting = [screen]
        self.add_mode(_BLANK, Screen)
        await self.switch_mode(_BLANK)
        await self.remove_mode(mode)
        self.add_mode(mode, lambda: waiting.pop() if waiting else self.tab_screen(mode))
        await self.switch_mode(mode)
        await self.remove_mode(_BLANK)

    def build_again(self) -> None:
        """Try once more, as the user asked for."""
        self._fault_rate.clear()
        self.run_worker(self._replace_stack([self.tab_screen(self.current_mode)]))

    def _fatal_error(self) -> None:
        """Textual would print the values of local variables, tokens among them: print the bare, masked traceback."""
        self.bell()
        self.panic(Text(redact_text(escape_block(traceback.format_exc()))))
