"""The state of the proxy that people look at: the last exchanges, and a revision that says what changed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import accumulate, chain

from ccproxy_tui.core.capture import BLOCK, Block, Capture
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.events import (
    FAILED_ENDS,
    Accepted,
    Billed,
    BodyRead,
    Converted,
    Ended,
    Event,
    Marked,
    Routed,
    UpstreamAnswered,
    UpstreamAsked,
)
from ccproxy_tui.core.exchange_record import ExchangeRecord, Headers, Mark
from ccproxy_tui.core.formats.report import Note
from ccproxy_tui.core.limits import KEPT_HEADERS, KEPT_TEXT, clip
from ccproxy_tui.core.logging import LogLine
from ccproxy_tui.core.redact import redact_query, redact_text, redact_url

KEPT_EXCHANGES = 500
KEPT_LOGS = 2000
BODY_BUDGET = 24 * 1024 * 1024
RAW_BUDGET = 6 * 1024 * 1024  # ended bodies that wait for compression
MARK_LIMIT = 200


class Store:
    """Applies events; hands out records. One loop's thread only.

    `revision` grows with every change, and each record carries the revision of its last one: a viewer asks for what is
    newer than what it has seen. `changed` wakes whoever waits for the next change.
    """

    def __init__(self, clock: Clock, *, kept: int = KEPT_EXCHANGES) -> None:
        self._clock = clock
        self._kept = kept
        self._records: OrderedDict[str, ExchangeRecord] = OrderedDict()
        self._live: dict[str, ExchangeRecord] = {}
        self._logs: deque[LogLine] = deque(maxlen=KEPT_LOGS)
        self._gone: deque[tuple[int, str]] = deque()  # as many as are kept
        self._gone_forgotten = -1  # the revision up to which `_gone` is not complete
        self._waiters: set[asyncio.Event] = set()
        self._ended_bodies: deque[Capture] = deque()
        self._ended_bytes = 0
        self.revision = 0
        self.log_revision = 0
        self.total = 0
        self.errors = 0

    # --- reading ---

    def get(self, exchange: str) -> ExchangeRecord | None:
        return self._records.get(exchange)

    def __iter__(self) -> Iterator[ExchangeRecord]:
        return iter(self._records.values())

    def latest_of(self, session: str) -> str:
        """The latest exchange of a session; empty when there is none (any more)."""
        return next((one.id for one in reversed(self._records.values()) if one.session == session), "")

    def __len__(self) -> int:
        return len(self._records)

    @property
    def live(self) -> list[ExchangeRecord]:
        return list(self._live.values())

    @property
    def live_count(self) -> int:
        return len(self._live)

    def changed_since(self, revision: int) -> list[ExchangeRecord]:
        return [record for record in self._records.values() if record.revision > revision]

    def gone_since(self, revision: int) -> list[str] | None:
        """Ids that left the store after `revision`; None when that is too long ago to know them all."""
        if revision < self._gone_forgotten:
            return None
        return [exchange for at, exchange in self._gone if at > revision]

    def logs_since(self, seq: int) -> list[LogLine]:
        return [line for line in self._logs if line.seq > seq]

    # --- waiting ---

    def listen(self, event: asyncio.Event) -> None:
        """Set `event` on every change from now on."""
        self._waiters.add(event)

    def ignore(self, event: asyncio.Event) -> None:
        self._waiters.discard(event)

    def _wake(self) -> None:
        for event in self._waiters:
            event.set()

    # --- changing ---

    def touch(self, record: ExchangeRecord) -> None:
        """Say that `record` changed. Called for each read of a live stream, so it does next to nothing."""
        self.revision += 1
        record.revision = self.revision
        if self._waiters:
            self._wake()

    def notice(self) -> None:
        """Say that something outside the records (an account, a setting) changed."""
        self.revision += 1
        self._wake()

    def add_log(self, line: LogLine) -> None:
        self._logs.append(line)
        self.log_revision = line.seq
        self._wake()

    def apply(self, event: Event) -> None:
        """Take one event from the bus."""
        if isinstance(event, Accepted):
            self._accept(event)
            return
        record = self._records.get(event.exchange)
        if record is None:
            return
        match event:
            case BodyRead():
                record.request_body = Capture(event.body)
                record.model, record.stream, record.session = event.model, event.stream, event.session
                self._mark(record, "body read", f"{len(event.body):,} bytes" if event.body else "")
            case Routed() | Billed():
                self._route(record, event)
            case Converted():
                record.notes = _joined(record.notes, event.notes)
            case UpstreamAsked():
                self._ask(record, event)
            case UpstreamAnswered():
                record.upstream_status, record.response_headers = event.status, _kept(event.headers)
                record.waiting_for_upstream = False
                self._mark(record, "upstream answered", str(event.status))
            case Marked():
                self._mark(record, event.name, clip(redact_text(event.detail), KEPT_TEXT))  # it may quote an upstream
            case Ended():
                self._end(record, event)
        self.touch(record)

    def _accept(self, event: Accepted) -> None:
        self.total += 1
        record = ExchangeRecord(
            id=event.exchange,
            seq=self.total,
            started=event.at,
            origin=self._clock.monotonic(),
            method=event.method,
            path=redact_text(event.path),
            query=redact_query(event.query),
            peer=event.peer,
            client=event.client,
            user_agent=redact_text(event.user_agent),
            dialect=event.dialect,
            request_headers=_kept(event.headers),
        )
        record.last_byte = record.origin
        self._records[record.id] = record
        self._live[record.id] = record
        self._mark(record, "accepted", f"{record.method} {record.path}")
        self._forget_oldest()
        self.touch(record)

    def _route(self, record: ExchangeRecord, event: Routed | Billed) -> None:
        if isinstance(event, Billed):
            record.billing = event.pool
            self._mark(record, "paid", event.pool)
            return
        record.provider, record.account = event.provider, event.account
        record.upstream_format, record.billing = event.upstream_format, event.billing
        self._mark(record, "routed", " ".join(filter(None, (event.provider, event.account))))

    def _ask(self, record: ExchangeRecord, event: UpstreamAsked) -> None:
        record.calls += 1
        record.upstream_method, record.upstream_url = event.method, redact_url(event.url)
        record.upstream_request_headers = _kept(event.headers)
        record.waiting_for_upstream = True
        record.last_byte = self._clock.monotonic()
        own = record.request_body
        same = len(event.body) == own.total and event.body == own.read()
        record.upstream_request_body = None if same else Capture(event.body)
        self._mark(record, "upstream asked", record.upstream_url)

    def _end(self, record: ExchangeRecord, event: Ended) -> None:
        error = clip(redact_text(event.error), KEPT_TEXT)  # it may quote an upstream, and that a key
        record.ended, record.status, record.error = event.reason, event.status, error
        record.usage, record.stop_reason = event.usage, event.stop_reason
        record.served_model = event.model or record.served_model
        record.duration = self._clock.monotonic() - record.origin
        record.waiting_for_upstream = False
        self._mark(record, "ended", error or event.reason.replace("_", " "))
        self._live.pop(record.id, None)
        self._keep_bodies(record)
        self.errors += event.reason in FAILED_ENDS

    def _mark(self, record: ExchangeRecord, name: str, detail: str = "") -> None:
        if len(record.marks) < MARK_LIMIT:
            record.marks.append(Mark(self._clock.monotonic() - record.origin, name, detail))

    def _forget_oldest(self) -> None:
        """Keep the ring's size. Live exchanges are never forgotten."""
        while len(self._records) > self._kept:
            oldest = next((record for record in self._records.values() if not record.live), None)
            if oldest is None:
                return
            del self._records[oldest.id]
            self._gone.append((self.revision + 1, oldest.id))
            if len(self._gone) > self._kept:
                self._gone_forgotten, _ = self._gone.popleft()

    # --- memory ---

    def _keep_bodies(self, record: ExchangeRecord) -> None:
        """Queue the bodies of an ended exchange for compression. In a flood the oldest of them are dropped instead."""
        for capture in record.captures():
            self._ended_bodies.append(capture)
            self._ended_bytes += capture.memory
        while self._ended_bytes > RAW_BUDGET and len(self._ended_bodies) > 1:
            oldest = self._ended_bodies.popleft()
            self._ended_bytes -= oldest.memory
            oldest.drop()

    def seal(self) -> list[Block]:
        """Blocks of bodies that can be compressed now, off the loop: whole bodies that ended, full blocks of others."""
        sealed = [capture.seal(ended=True) for capture in self._ended_bodies]
        self._ended_bodies.clear()
        self._ended_bytes = 0
        sealed += [capture.seal(ended=False) for record in self._live.values() for capture in record.captures()]
        return [block for block in sealed if block is not None]

    def enforce_budget(self, budget: int = BODY_BUDGET) -> None:
        """Drop the bodies of the oldest ended exchanges until the rest fits; then live ones stop growing."""
        held = sum(capture.memory for record in self._records.values() for capture in record.captures())
        for record in self._records.values():
            if held <= budget:
                return
            if record.live:
                continue
            for capture in record.captures():
                held -= capture.memory
                capture.drop()
            self.touch(record)
        for record in self._live.values():
            for capture in record.captures():
                capture.frozen = capture.kept > BLOCK


def _kept(headers: Headers) -> Headers:
    """As many headers as there is room for, and how many are left out."""
    if sum(map(len, chain.from_iterable(headers))) <= KEPT_HEADERS:
        return headers
    sizes = accumulate(len(name) + len(value) for name, value in headers)
    room = sum(size <= KEPT_HEADERS for size in sizes)
    return (*headers[:room], ("(not kept)", f"{len(headers) - room} more headers"))


def _joined(before: tuple[Note, ...], notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """Notes of several hands, each difference once: the later word on it counts."""
    found = {(note.action, note.field, note.reason): note for note in (*before, *notes)}
    return tuple(found.values())
