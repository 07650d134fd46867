"""One front end's view: frames of what changed, at its own pace, of what it looks at and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from ccproxy_tui import __version__
from ccproxy_tui.core.client_token import is_wanted
from ccproxy_tui.core.control.frames import (
    HEARTBEAT,
    PROTOCOL,
    AskView,
    BodyInfo,
    Detail,
    Frame,
    LogView,
    MarkView,
    NoteView,
    Row,
    Status,
    TextFrame,
    Watch,
)
from ccproxy_tui.core.permissions import Broker, Entry
from ccproxy_tui.core.permissions.preview import SHOWN_INPUT, encoded
from ccproxy_tui.core.permissions.risk import OWN_SECRET, level_of
from ccproxy_tui.core.records.events import FAILED_ENDS
from ccproxy_tui.core.records.record import ExchangeRecord
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.text.redact import mask_own_text, redact_text
from ccproxy_tui.core.text_reader import TextReader

MAX_TEXTS = 12
NOTHING = -1  # a position before everything
ENDED_ASKS = 20


class Viewer:
    """Sampling happens here, at the source: a slow viewer costs the proxy one frame at a time and no queue."""

    def __init__(self, hub: Hub, watch: Watch) -> None:
        self._hub = hub
        self._watch = watch
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._start_over()

    def _start_over(self) -> None:
        """The next frame is the whole picture. Each position below advances only while its part is looked at."""
        self._reset = True
        self._rows_seen = NOTHING
        self._log_seen = NOTHING
        self._asks_seen = NOTHING
        self._ask_views: dict[tuple[str, str, float, int], AskView] = {}
        self._status: Status | None = None
        self._detail: Detail | None = None
        self._readers: dict[str, TextReader] = {}
        self._ended_texts: set[str] = set()
        self._missing: set[str] = set()

    def look_at(self, watch: Watch) -> None:
        """Change what the viewer looks at; the next frame brings it up to date."""
        for exchange in set(watch.texts) ^ set(self._watch.texts):
            self._readers.pop(exchange, None)  # a text that was let go is read from its start if it comes back
        self._watch = watch
        self._detail = None
        self._changed.set()
        self._hurry.set()

    async def frames(self) -> AsyncIterator[Frame]:
        """Frames until the proxy ends: the whole picture first, then what changed, never more than `hz` a second.

        When nothing changes for HEARTBEAT seconds, an empty frame.
        """
        self._hub.store.listen(self._changed)
        self._hub.on_permission.append(self._hurry.set)
        try:
            yield self.frame()
            while not self._hub.stopping.is_set():
                if not any(reader.behind for reader in self._readers.values()):
                    await self._pause()
                    if not await _set_within(self._changed, HEARTBEAT - self._pace):
                        yield Frame()
                        continue
                self._changed.clear()
                frame = self.frame()
                if not _is_empty(frame):
                    yield frame
                await asyncio.sleep(0)
            yield self.frame()  # why the proxy ends
        finally:
            self._hub.store.ignore(self._changed)
            self._hub.on_permission.remove(self._hurry.set)

    @property
    def _pace(self) -> float:
        """Seconds between frames."""
        return 1 / min(max(self._watch.hz, 1 / HEARTBEAT), 60)

    async def _pause(self) -> None:
        """Keep the viewer's pace, unless it asked for something new meanwhile."""
        try:
            async with asyncio.timeout(self._pace):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._hurry.clear()

    def frame(self) -> Frame:
        """What changed since the last frame, of what is looked at now."""
        store = self._hub.store
        left = store.gone_since(self._rows_seen) if self._watch.rows else []
        if left is None:
            self._start_over()
        reset, self._reset = self._reset, False
        gone = [] if reset else left or []
        rows: list[Row] = []
        if self._watch.rows:
            now = self._hub.clock.monotonic()
            rows = [row_of(record, now, self._stall) for record in store.changed_since(self._rows_seen)]
            self._rows_seen = store.revision
        asks = self._asks()
        return Frame(
            revision=store.revision,
            reset=reset,
            status=self._new_status(),
            rows=rows,
            gone=gone + self._newly_missing(),
            texts=self._texts(),
            detail=self._new_detail(),
            logs=self._logs(),
            asks=asks,
            ask_ids=None if asks is None else [view.id for view in self._ask_views.values()],
        )

    def _newly_missing(self) -> list[str]:
        """Exchanges whose text or detail is looked at, and which have just left the store."""
        looked_at = filter(None, (*self._watch.texts[:MAX_TEXTS], self._watch.detail))
        before, self._missing = self._missing, {name for name in looked_at if self._hub.store.get(name) is None}
        return sorted(self._missing - before)

    def _asks(self) -> list[AskView] | None:
        """What has changed of the queue and of what lately became of it; None when nothing has."""
        broker = self._hub.broker
        if broker.revision == self._asks_seen:
            return None
        self._asks_seen = broker.revision
        shown = [*broker.pending, *broker.ended[:ENDED_ASKS]]
        before, self._ask_views = self._ask_views, {}
        for entry in shown:
            key = (entry.id, entry.status, entry.deadline, entry.looks)
            self._ask_views[key] = before.get(key) or ask_view(entry, broker)
        return [view for key, view in self._ask_views.items() if key not in before]

    @property
    def _stall(self) -> float:
        return self._hub.settings.server.stall_seconds

    def _new_status(self) -> Status | None:
        status = status_of(self._hub)
        if status == self._status:
            return None
        self._status = status
        return status

    def _new_detail(self) -> Detail | None:
        record = self._hub.store.get(self._watch.detail) if self._watch.detail else None
        if record is None:
            return None
        detail = detail_of(record, self._hub.clock.monotonic(), self._stall)
        if detail == self._detail:
            return None
        self._detail = detail
        return detail

    def _texts(self) -> list[TextFrame]:
        wanted = self._watch.texts[:MAX_TEXTS]
        for exchange in set(self._readers) - set(wanted):
            del self._readers[exchange]
        frames = []
        for exchange in wanted:
            record = self._hub.store.get(exchange)
            if record is None:
                continue
            fresh = exchange not in self._readers
            if fresh:
                self._readers[exchange] = TextReader(record)
                self._ended_texts.discard(exchange)
            reader = self._readers[exchange]
            segments = reader.read()
            ended = not record.live and not reader.behind
            if segments or fresh or (ended and exchange not in self._ended_texts):
                frames.append(TextFrame(exchange, segments, reset=fresh, ended=ended))
            if ended:
                self._ended_texts.add(exchange)
        self._ended_texts.intersection_update(wanted)
        return frames

    def _logs(self) -> list[LogView]:
        if not self._watch.logs:
            return []
        lines = self._hub.store.logs_since(self._log_seen)
        self._log_seen = self._hub.store.log_revision
        return [LogView(line.seq, line.time, line.level, line.logger, line.message, line.exchange) for line in lines]


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Return whether the event is set before `seconds` have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _is_empty(frame: Frame) -> bool:
    parts = (frame.rows, frame.gone, frame.texts, frame.logs, frame.status, frame.detail)
    return not any(parts) and frame.asks is None


def ask_view(entry: Entry, broker: Broker, *, revealed: bool = False) -> AskView:
    """Return a permission request as the user sees it: whole and unmasked, but for credentials of ours.

    Those are masked unless it is `revealed`; a note says so. Long input is cut, with its size told.
    """
    request, decision, look = entry.request, entry.decision, entry.look

    def shown(text: str) -> str:
        return (text if revealed else mask_own_text(text)).encode("utf-8", "backslashreplace").decode()

    given = shown(look.shown.decode("utf-8", "replace"))
    edited = decision.input if decision is not None and decision.allowed else None
    return AskView(
        id=entry.id,
        tool=shown(request.tool),
        status=entry.status,
        source=request.source,
        client=shown(request.client),
        session=shown(request.session),
        cwd=shown(request.cwd),
        model=shown(request.model),
        exchange=request.exchange,
        agent=shown(request.agent),
        reason=shown(request.reason),
        created=entry.created,
        expires=broker.expires(entry),
        left=broker.left(entry),
        ended=entry.ended,
        by=decision.by if decision is not None else "",
        decider=redact_text(decision.decider) if decision is not None else "",
        message=redact_text(decision.message) if decision is not None else "",
        input=given,
        size=look.size,
        masked=OWN_SECRET in look.notes and not revealed,
        notes=[shown(note) for note in look.notes],
        programs=[shown(name) for name in look.programs],
        high=level_of(look.notes) == "HIGH",
        preview=[shown(line) for line in look.preview],
        covers=look.covers,
        digest=look.digest,
        edited="" if edited is None else shown(encoded(edited)[:SHOWN_INPUT].decode("utf-8", "replace")),
        looks=entry.looks,
    )


def state_word(record: ExchangeRecord, now: float, stall: float) -> str:
    """One word (or status number) for the state of an exchange."""
    if record.ended is None:
        if record.questions:
            return "tool"
        if now - record.last_byte >= stall:
            return "stall"
        return "wait" if record.first_byte is None else "live"
    if record.ended == "client_gone":
        return "499"
    if record.ended == "stopped":
        return "STOP"
    if record.ended in FAILED_ENDS and (record.status < 400 or record.ended == "failed"):
        return "ERR"
    return str(record.status or "ERR")


def row_of(record: ExchangeRecord, now: float, stall: float) -> Row:
    return Row(
        id=record.id,
        seq=record.seq,
        started=record.started,
        age=now - record.origin if record.live else 0.0,
        state=state_word(record, now, stall),
        live=record.live,
        client=record.client,
        dialect=record.dialect,
        provider=record.provider,
        account=record.account,
        billing=record.billing,
        model=record.model,
        served=record.served_model,
        session=record.session,
        path=record.path,
        stream=record.stream,
        status=record.status or record.upstream_status,
        ttft=record.first_token if record.first_token is not None else record.first_byte,
        rate=record.token_rate(now),
        tokens_in=record.usage.prompt,
        tokens_out=record.output_tokens(),
        cache_read=record.usage.cache_read or 0,
        bytes_in=record.request_body.total,
        bytes_out=record.client_bytes,
        events=record.events,
        pings=record.pings,
        duration=record.duration,
        silent=now - record.last_byte if record.live else 0.0,
        end=record.ended or "",
        error=record.error,
    )


def detail_of(record: ExchangeRecord, now: float, stall: float) -> Detail:
    client, upstream = record.client_body, record.upstream_request_body
    return Detail(
        row=row_of(record, now, stall),
        method=record.method,
        path=record.path,
        query=record.query,
        peer=record.peer,
        user_agent=record.user_agent,
        upstream_format=record.upstream_format,
        upstream_method=record.upstream_method,
        upstream_url=record.upstream_url,
        upstream_status=record.upstream_status,
        stop_reason=record.stop_reason,
        calls=record.calls,
        marks=[MarkView(mark.at, mark.name, mark.detail) for mark in record.marks],
        notes=[NoteView(note.action, note.field, note.reason, note.count, note.example) for note in record.notes],
        request_headers=list(record.request_headers),
        upstream_request_headers=list(record.upstream_request_headers),
        response_headers=list(record.response_headers),
        bodies={
            "request": BodyInfo(record.request_body.total, record.request_body.kept),
            "upstream_request": BodyInfo(0, 0, same=True)
            if upstream is None
            else BodyInfo(upstream.total, upstream.kept),
            "upstream_response": BodyInfo(record.upstream_body.total, record.upstream_body.kept),
            "response": BodyInfo(0, 0, same=True) if client is None else BodyInfo(client.total, client.kept),
        },
    )


def status_of(hub: Hub) -> Status:
    busy, agents, ready = hub.sdk.sdk_counts() if hub.sdk is not None else (0, 0, 0)
    security = hub.settings.security
    return Status(
        version=__version__,
        protocol=PROTOCOL,
        pid=os.getpid(),
        host=hub.settings.server.host,
        port=hub.port,
        started=hub.started,
        live=hub.store.live_count,
        total=hub.store.total,
        errors=hub.store.errors,
        draining=hub.draining,
        ending=hub.ending,
        history=hub.audit.problem if hub.audit is not None else "",
        auth_required=bool(security.token) or is_wanted(security),
        token_file=hub.client_token_file if is_wanted(security) else "",
        accounts=[] if hub.demo else [hub.reach.seen(account.view()) for account in hub.accounts()],
        waiting=len(hub.broker.pending),
        agents=agents,
        busy=busy,
        ready=ready,
        refused=hub.refusals.count,
        refusal=hub.refusals.last,
        notices=list(hub.notices),
        project="; ".join(filter(None, (hub.loaded.project_words, hub.sdk.project_words if hub.sdk else ""))),
    )
