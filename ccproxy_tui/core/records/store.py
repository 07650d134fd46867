"""The state of the proxy that people look at: the last exchanges, and a revision that says what changed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import accumulate, chain

from ccproxy_tui.core.formats.report import Note
from ccproxy_tui.core.limits import KEPT_HEADERS, KEPT_TEXT, clip
from ccproxy_tui.core.records.events import (
    FAILED_ENDS,
    Accepted,
    AccountChanged,
    Billed,
    BodyRead,
    Converted,
    Event,
    Finished,
    FirstByte,
    FirstToken,
    Marked,
    OfExchange,
    PermissionAsked,
    PermissionDecided,
    Pinged,
    Routed,
    SettingsChanged,
    Summary,
    UpstreamAnswered,
    UpstreamAsked,
)
from ccproxy_tui.core.records.kept_bodies import BLOCK, Block, Capture
from ccproxy_tui.core.records.record import ExchangeRecord, Headers, Mark
from ccproxy_tui.core.system.logging import LogLine
from ccproxy_tui.core.text.redact import redact_query, redact_text, redact_url

KEPT_EXCHANGES = 500
KEPT_LOGS = 2000
BODY_BUDGET = 24 * 1024 * 1024
RAW_BUDGET = 6 * 1024 * 1024  # ended bodies that wait for compression
MARK_LIMIT = 200


class Store:
    """A fold over events, and the records that come of it. One loop's thread only.

    Besides events, only the counters and bytes of a live stream change a record: `touch` says so.

    `revision` grows with every change, and each record carries the revision of its last one: a viewer asks for what is
    newer than what it has seen. `changed` wakes whoever waits for the next change.
    """

    def __init__(self, *, kept: int = KEPT_EXCHANGES) -> None:
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

    def apply(self, event: Event, at: float) -> None:
        """Take one event from the bus, published at `at` (monotonic seconds)."""
        match event:
            case Accepted():
                self._accept(event, at)
            case AccountChanged() | SettingsChanged():
                self.notice()
            case _:
                record = self._records.get(event.exchange)
                if record is None:
                    return self.notice() if isinstance(event, PermissionAsked | PermissionDecided) else None
                self._apply(record, event, at)
                self.touch(record)
        return None

    def _apply(self, record: ExchangeRecord, event: OfExchange, at: float) -> None:
        match event:
            case Finished():
                self._finish(record, event.summary, at)
            case PermissionAsked():  # the exchange is held as long as one waits
                record.questions += 1
                self._mark_living(record, at, "asks", event.tool)
            case PermissionDecided():
                record.questions -= 1
                self._mark_living(record, at, event.status, f"{event.tool} by {event.by}")
            case BodyRead() | Routed() | Billed() | Converted() | UpstreamAsked():
                self._take_request(record, event, at)
            case UpstreamAnswered() | FirstByte() | FirstToken() | Pinged() | Marked():
                self._take_progress(record, event, at)

    def _take_request(
        self, record: ExchangeRecord, event: BodyRead | Routed | Billed | Converted | UpstreamAsked, at: float
    ) -> None:
        match event:
            case BodyRead():
                record.request_body = Capture(event.body)
                record.model, record.stream, record.session = event.model, event.stream, event.session
                self._mark(record, at, "body read", f"{len(event.body):,} bytes" if event.body else "")
            case Routed():
                record.provider, record.account = event.provider, event.account
                record.upstream_format, record.billing = event.upstream_format, event.billing
                self._mark(record, at, "routed", " ".join(filter(None, (event.provider, event.account))))
            case Billed():
                record.billing = event.pool
                self._mark(record, at, "paid", event.pool)
            case Converted():
                record.notes = _joined(record.notes, event.notes)
            case UpstreamAsked():
                self._ask(record, event, at)

    def _take_progress(
        self, record: ExchangeRecord, event: UpstreamAnswered | FirstByte | FirstToken | Pinged | Marked, at: float
    ) -> None:
        match event:
            case UpstreamAnswered():
                record.upstream_status, record.response_headers = event.status, _kept(event.headers)
                self._mark(record, at, "upstream answered", str(event.status))
            case FirstByte():
                record.first_byte = at - record.origin
                self._mark(record, at, "first byte")
            case FirstToken():
                record.first_token = at - record.origin
                self._mark(record, at, "first token")
            case Pinged():
                record.pings += 1
                self._mark(record, at, "pinged client")
            case Marked():
                detail = clip(redact_text(event.detail), KEPT_TEXT)  # it may quote an upstream
                self._mark(record, at, event.name, detail)

    def _accept(self, event: Accepted, at: float) -> None:
        self.total += 1
        record = ExchangeRecord(
            id=event.exchange,
            seq=self.total,
            started=event.started,
            origin=at,
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
        self._mark(record, at, "accepted", f"{record.method} {record.path}")
        self._forget_oldest()
        self.touch(record)

    def _ask(self, record: ExchangeRecord, event: UpstreamAsked, at: float) -> None:
        record.calls += 1
        record.upstream_method, record.upstream_url = event.method, redact_url(event.url)
        record.upstream_request_headers = _kept(event.headers)
        record.last_byte = at
        own = record.request_body
        same = len(event.body) == own.total and event.body == own.read()
        record.upstream_request_body = None if same else Capture(event.body)
        self._mark(record, at, "upstream asked", record.upstream_url)

    def _finish(self, record: ExchangeRecord, summary: Summary, at: float) -> None:
        error = clip(redact_text(summary.error), KEPT_TEXT)  # it may quote an upstream, and that a key
        record.ended, record.status, record.error = summary.reason, summary.status, error
        record.usage, record.stop_reason = summary.usage, summary.stop_reason
        record.served_model = summary.served_model or record.served_model
        record.upstream_bytes, record.client_bytes = summary.upstream_bytes, summary.client_bytes
        record.events, record.duration = summary.events, summary.duration
        self._mark(record, at, "ended", error or summary.reason.replace("_", " "))
        self._live.pop(record.id, None)
        self._keep_bodies(record)
        self.errors += summary.reason in FAILED_ENDS

    def _mark_living(self, record: ExchangeRecord, at: float, name: str, detail: str) -> None:
        if record.live:
            self._mark(record, at, name, detail)

    def _mark(self, record: ExchangeRecord, at: float, name: str, detail: str = "") -> None:
        if len(record.marks) < MARK_LIMIT:
            record.marks.append(Mark(at - record.origin, name, detail))

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
