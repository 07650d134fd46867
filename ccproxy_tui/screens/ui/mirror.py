"""The terminal's copy of what the proxy's store shows. It only ever changes by frames."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from ccproxy_tui.core.control.frames import AskView, Detail, Frame, LogView, Row, Segment, Status, Watch

KEPT_LOGS = 2000
KEPT_SEGMENTS = 4000


@dataclass(slots=True)
class Changes:
    """What a frame changed, by key, so that a screen repaints that and no more."""

    reset: bool = False
    rows: set[str] = field(default_factory=set)
    added: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    status: bool = False
    detail: bool = False
    logs: int = 0
    asks: bool = False


class TextLog:
    """The segments of one answer that have come so far; `start` counts those that were let go."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.start = 0
        self.version = 0
        self.ended = False

    def reset(self) -> None:
        self.segments.clear()
        self.start = 0
        self.ended = False
        self.version += 1

    def extend(self, segments: list[Segment]) -> None:
        self.segments += segments
        excess = len(self.segments) - KEPT_SEGMENTS
        if excess > 0:
            del self.segments[:excess]
            self.start += excess


class Mirror:
    """Rows, texts, one detail, log lines and the status, as of the last frame."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._born: dict[str, float] = {}  # row -> when it began, by the clock of this process
        self._deadlines: dict[str, float] = {}  # permission request -> the same of its end
        self.rows: OrderedDict[str, Row] = OrderedDict()
        self.texts: dict[str, TextLog] = {}
        self.detail: Detail | None = None
        self.logs: deque[LogView] = deque(maxlen=KEPT_LOGS)
        self.status = Status()
        self.asks: list[AskView] = []
        self.connected = False

    def apply(self, frame: Frame) -> Changes:
        changes = Changes(reset=frame.reset)
        if frame.reset:
            self.rows.clear()
            self._born.clear()
            self.logs.clear()
            self.texts.clear()
            self.detail = None
        for row in frame.rows:
            if row.id not in self.rows:
                changes.added.add(row.id)
            self.rows[row.id] = row
            self._born[row.id] = self._monotonic() - row.age
            changes.rows.add(row.id)
        for key in frame.gone:
            self._born.pop(key, None)
            if self.rows.pop(key, None) is not None:
                changes.gone.add(key)
            self.texts.pop(key, None)
            if self.detail is not None and self.detail.row.id == key:
                self.detail = None
                changes.detail = True
        if frame.status is not None:
            self.status = frame.status
            changes.status = True
        if frame.detail is not None:
            self.detail = frame.detail
            changes.detail = True
        if frame.asks is not None:
            self._take_asks(frame.asks, frame.ask_ids)
            changes.asks = True
        self._take_texts(frame, changes)
        self.logs.extend(frame.logs)
        changes.logs = len(frame.logs)
        return changes

    def lose(self, why: str) -> Changes:
        """Take back what only a living proxy can hold: nothing is live, and no permission request can be decided."""
        changes = Changes(status=True, asks=True, detail=True)
        self.status = replace(self.status, live=0, waiting=0)
        self.asks = [
            replace(ask, status="cancelled", message=ask.message or why) if ask.status == "pending" else ask
            for ask in self.asks
        ]
        for key, row in self.rows.items():
            if row.live:
                self.rows[key] = _lost(row, why)
                changes.rows.add(key)
        if self.detail is not None and self.detail.row.live:
            self.detail = replace(self.detail, row=_lost(self.detail.row, why))
        return changes

    def _take_asks(self, asks: list[AskView], ids: list[str] | None) -> None:
        known = {ask.id: ask for ask in (*(self.asks if ids is not None else ()), *asks)}
        self.asks = [known[name] for name in (known if ids is None else ids) if name in known]
        fresh = {ask.id: self._monotonic() + ask.left for ask in asks}
        self._deadlines = {ask.id: fresh.get(ask.id, self._deadlines.get(ask.id, 0.0)) for ask in self.asks}

    def left(self, ask: AskView) -> float:
        """Return the seconds that are left for a decision, by the clock of this process."""
        return max(self._deadlines.get(ask.id, 0.0) - self._monotonic(), 0.0)

    def age(self, row: Row) -> float:
        """Return the seconds since a live exchange began, by the clock of this process."""
        return self._monotonic() - self._born.get(row.id, self._monotonic())

    def _take_texts(self, frame: Frame, changes: Changes) -> None:
        for text in frame.texts:
            log = self.texts.setdefault(text.id, TextLog())
            if text.reset:
                log.reset()
            log.extend(text.segments)
            log.ended = text.ended
            changes.texts.add(text.id)

    def forget(self, watch: Watch) -> None:
        """Let go of the texts and the detail that `watch` does not name: frames no longer keep them up to date."""
        for key in set(self.texts) - set(watch.texts):
            del self.texts[key]
        if self.detail is not None and self.detail.row.id != watch.detail:
            self.detail = None


def _lost(row: Row, why: str) -> Row:
    """Return a live row as its proxy left it: what came of the exchange is not known."""
    return replace(row, live=False, state="ERR", end="proxy_ended", error=why)
