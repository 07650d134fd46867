"""The plain front end: lines that are only ever added, for screen readers, pipes and dumb terminals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from ccproxy_tui.core.control.frames import Row, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui import plain_asks, row_view, words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.ui.plain_asks import PlainAsks
from ccproxy_tui.screens.ui.session import Session, Source, State
from ccproxy_tui.screens.welcome import base_url

HELP = f"type: list, stop ID, {plain_asks.HELP}, help, quit"


class PlainFrontEnd:
    """The same session and the same mirror as the screens; another way to say it."""

    def __init__(self, source: Source, write: Callable[[str], None], now: Callable[[], float]) -> None:
        self.session = Session(source, self._on_changes, self._on_state)
        self._write = write
        self._now = now
        self._said: dict[str, str] = {}
        self._refusal = ""  # the latest one that was said
        self._asks = PlainAsks(self.session, self.line, self._more)
        self._ended = asyncio.Event()
        self._state: State = "starting"
        self._greeted = False
        self.outcome = "stop"
        self.exit_code = 0

    async def run(self, *, seconds: float | None = None, commands: bool = False) -> None:
        """Until told to quit, or for `seconds`."""
        self.session.watch = Watch(answers=commands)
        session = asyncio.get_running_loop().create_task(self.session.run())
        reader = self._listen() if commands else None
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            pass
        finally:
            session.cancel()
            if reader is not None:
                asyncio.get_running_loop().remove_reader(reader)

    def end(self, outcome: str, code: int = 0) -> None:
        self.outcome, self.exit_code = outcome, code
        self._ended.set()

    def line(self, text: str) -> None:
        self._put(f"{words.clock_seconds(self._now())} {escape_line(text)}\n")

    def _more(self, text: str) -> None:
        self._put(f"{escape_line(text)}\n")

    def _put(self, text: str) -> None:
        try:
            self._write(text)
        except OSError:  # the reader of a pipe has ended, or the terminal is gone
            self.end("stop" if self.session.source.owned else "leave", 128 + signal.SIGPIPE)

    # --- what happens ---

    def _on_state(self, state: State, problem: str) -> None:
        before, self._state = self._state, state
        if state == "silent":
            if before != state:
                self.line(problem)
        elif state == "up":
            self._say_up(again=before == "silent" and self._greeted)
        elif state == "lost":
            self.line(f"proxy lost: {problem}; trying again")
        elif state == "stopped" and self.session.source.owned:
            self.line(problem)
            self.end("stop", self.session.fatal_code)
        elif state == "stopped":
            self.line(f"{problem}; waiting for another proxy to start")
        elif state == "failed":
            self.line(f"the proxy can't start: {problem}")
            self.end("stop", self.session.fatal_code or 1)

    def _say_up(self, *, again: bool) -> None:
        if again:
            self.line("the proxy is responding again")
            return
        self._greeted = True
        status = self.session.mirror.status
        self.line(f"proxy up at {base_url(status)} (process {status.pid})")
        if self.session.difference:
            self.line(self.session.difference)
        if status.project:
            self.line(f"project folder: {status.project}")
        for notice in status.notices:
            self.line(f"warning: {notice}")
        for account in status.accounts:
            hint = f"; {account.hint}" if account.hint else ""
            self.line(f"account {account.provider} {account.label}: {account.state}{hint}".replace("  ", " "))

    def _on_changes(self, changes: Changes) -> None:
        for key in sorted(changes.rows, key=lambda key: self.session.mirror.rows[key].seq):
            row = self.session.mirror.rows[key]
            if changes.reset and not row.live:
                self._said[key] = "ended"
                continue
            self._say_row(row)
        refusal = self.session.mirror.status.refusal
        if refusal != self._refusal:
            self._refusal = refusal
            self.line(f"refused {refusal}")
        for key in changes.gone:
            self._said.pop(key, None)
        if changes.asks:
            self._asks.changed()

    def _say_row(self, row: Row) -> None:
        said = self._said.get(row.id, "")
        if not said and row.live and not row.provider:
            return  # it is not known yet what it asks for
        if not said:
            self.line(f"stream {short_id(row.id)} {row.client} {row_view.model(row)} started ({row_view.route(row)})")
            self._said[row.id] = said = "started"
        if row.live and row.state == "stall" and said != "stalled":
            self._said[row.id] = "stalled"
            self.line(f"stream {short_id(row.id)} stalled: no data for {row.silent:.0f} seconds")
        if not row.live and said != "ended":
            self._said[row.id] = "ended"
            self.line(f"stream {short_id(row.id)} {_end_words(row)}")

    # --- what a person types ---

    def _listen(self) -> int:
        descriptor = sys.stdin.fileno()
        asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor)
        return descriptor

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 4096)
        except OSError:  # the terminal is gone, and this is not the process that is sent SIGHUP for it
            asyncio.get_running_loop().remove_reader(descriptor)
            self.end("hangup", 128 + signal.SIGHUP)
            return
        if not data:
            asyncio.get_running_loop().remove_reader(descriptor)
            self.end("leave" if not self.session.source.owned else "stop")
            return
        for text in data.decode("utf-8", "replace").splitlines():
            self._command(text.strip())

    def _command(self, text: str) -> None:
        verb, _, rest = text.partition(" ")
        match verb.lower():
            case "":
                return
            case "quit" | "q" | "exit":
                self.end("leave" if not self.session.source.owned else "stop")
            case "list":
                for row in self.session.mirror.rows.values():
                    if row.live:
                        self.line(f"live {short_id(row.id)} {row.client} {row_view.model(row)} {row.tokens_out} tokens")
            case "stop":
                self._stop(rest.strip())
            case _ if not self._asks.command(verb.lower(), rest):
                self.line(HELP)

    def _stop(self, ident: str) -> None:
        row = next(
            (row for row in self.session.mirror.rows.values() if ident and ident in (row.id, short_id(row.id))), None
        )
        if row is None:
            self.line(f"no stream {ident!r}; `list` shows the live ones")
            return
        asyncio.get_running_loop().create_task(self._stop_row(row))

    async def _stop_row(self, row: Row) -> None:
        try:
            await self.session.control.stop_exchange(row.id)
        except ControlError as error:
            self.line(str(error))


def _end_words(row: Row) -> str:
    took = f"{words.seconds(row.duration)} s"
    figures = (
        f"{row.tokens_out} tokens, first after {words.seconds(row.ttft)} s"
        if row.tokens_out
        else f"{row.bytes_out} bytes"
    )
    if row.end == "done":
        return f"done: {row.status}, {figures}, {took}"
    if row.end == "client_gone":
        return f"client disconnected after {took}, {figures}"
    return f"{row.end.replace('_', ' ')}: {row.error or row.status}, after {took}"
