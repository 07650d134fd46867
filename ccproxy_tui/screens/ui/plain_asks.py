"""Questions of agents as lines, and the words that answer them: the plain front end's inbox."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from ccproxy_tui.core.control.frames import AskView
from ccproxy_tui.core.control.protocol import Control, ControlError
from ccproxy_tui.core.text.escape import cut
from ccproxy_tui.screens.ui.card_view import body_lines, head_lines
from ccproxy_tui.screens.ui.session import Session

HELP = "asks, show N, reveal N, allow N, deny N because ..., more N"
SHOWN_LINES = 60  # of a question when it comes; show N says all of them
_WIDTH = 400  # cells, where no terminal says how many it has: what reads the lines wraps them by itself
_LEAST_WIDTH = 40
_BEFORE = 16  # cells before a request's first line: the time and its number
_MORE_SECONDS = 120.0
_NAME = 60  # characters of a tool or a client in a list


class PlainAsks:
    """Every question has a number that no other one gets, so that words typed ahead answer nothing.

    `line` says something of now, `more` goes on with it. Nothing is allowed by less than `allow N`; a grave question
    wants `allow N anyway`, and one that was not said to its end wants `show N` first.
    """

    def __init__(self, session: Session, line: Callable[[str], None], more: Callable[[str], None]) -> None:
        self._session = session
        self._line = line
        self._more = more
        self._numbers: dict[str, int] = {}
        self._looks: dict[str, int] = {}
        self._open: set[str] = set()
        self._read: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def changed(self) -> None:
        """Say what came and what has ended."""
        for ask in sorted(self._session.mirror.asks, key=lambda ask: ask.created):
            seen = self._looks.get(ask.id, ask.looks)
            self._looks[ask.id] = ask.looks
            if ask.status == "pending" and ask.looks != seen:
                self._read.discard(ask.id)
                self._say(ask, SHOWN_LINES)
            elif ask.status == "pending" and ask.id not in self._numbers:
                self._numbers[ask.id] = len(self._numbers) + 1
                self._open.add(ask.id)
                self._say(ask, SHOWN_LINES)
            elif ask.status != "pending" and ask.id in self._open:
                self._open.remove(ask.id)
                self._line(f"ASK {self._numbers[ask.id]} {ask.status} by {ask.by or 'its client'}")

    def command(self, verb: str, rest: str) -> bool:
        """Whether it was one of these commands."""
        match verb:
            case "asks":
                self._list()
            case "show" | "allow" | "deny" | "more" | "reveal":
                number, _, words = rest.strip().partition(" ")
                ask = self._find(number)
                if ask is not None:
                    self._do(verb, ask, words.strip())
            case _:
                return False
        return True

    def _do(self, verb: str, ask: AskView, words: str) -> None:
        if verb == "show":
            self._say(ask, None)
        elif verb == "reveal":
            self._start(partial(self._reveal, ask.id))
        elif ask.status != "pending":
            self._line(f"ASK {self._numbers[ask.id]} has ended")
        elif verb == "allow":
            self._allow(ask, words)
        elif verb == "deny":
            message = words.removeprefix("because").lstrip(" :")
            self._start(lambda control: control.answer_permission(ask.id, allowed=False, message=message))
        else:
            self._start(lambda control: control.extend_permission(ask.id, _MORE_SECONDS))

    def _allow(self, ask: AskView, words: str) -> None:
        number = self._numbers[ask.id]
        if words not in ("", "anyway"):
            self._line(f"not allowed: type exactly allow {number}{' anyway' if ask.high else ''}")
        elif ask.id not in self._read:
            self._line(f"not shown in full yet: type show {number} first")
        elif ask.high and words != "anyway":
            self._line(f"high risk ({', '.join(ask.notes)}): type allow {number} anyway")
        else:
            self._start(lambda control: control.answer_permission(ask.id, allowed=True))

    # --- saying ---

    def _say(self, ask: AskView, most: int | None) -> None:
        pending = [one.id for one in self._session.mirror.asks if one.status == "pending"]
        place = pending.index(ask.id) + 1 if ask.id in pending else 0
        # A line that the terminal wraps by itself would go on at its left edge, where it could pass for another one.
        width = max(shutil.get_terminal_size((_WIDTH, 24)).columns - 3, _LEAST_WIDTH)
        first, *rest = head_lines(ask, width - _BEFORE, self._session.mirror.left(ask), place, len(pending))
        keyless = msgspec.structs.replace(ask, exchange="")  # the card names a key that opens it
        body = [line.text for line in body_lines(keyless, width) if line.text]
        number = self._numbers[ask.id]
        self._line(f"ASK {number} {first.text}")
        for line in rest:
            self._more(f"  {line.text}")
        for text in body[:most]:
            self._more(f"  {text}")
        if most is not None and len(body) > most:
            self._more(f"  {len(body) - most} more lines: type show {number}")
        else:
            self._read.add(ask.id)
        if ask.status == "pending" and self._session.watch.answers:
            if ask.masked:
                self._more(f"  type reveal {number} to see the credential")
            allow = f"allow {number}{' anyway' if ask.high else ''}"
            self._more(f"  type {allow}, deny {number}, or deny {number} because ...")

    async def _reveal(self, name: str, control: Control) -> None:
        self._say(await control.permission_card(name, reveal=True), None)

    def _list(self) -> None:
        waiting = [ask for ask in self._session.mirror.asks if ask.status == "pending"]
        for ask in waiting:
            self._line(f"ASK {self._numbers[ask.id]} {cut(ask.tool, _NAME)} of {cut(ask.client or ask.source, _NAME)}")
        if not waiting:
            self._line("no permission requests are waiting")

    # --- the rest ---

    def _find(self, number: str) -> AskView | None:
        for ask in self._session.mirror.asks:
            if ask.id in self._numbers and str(self._numbers[ask.id]) == number:
                return ask
        self._line(f"no permission request {number!r}; type asks to list those waiting")
        return None

    def _start(self, verb: Callable[[Control], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await verb(self._session.control)
            except ControlError as error:
                self._line(str(error))

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
