"""The text of an answer, read from its kept bytes only while somebody looks."""

from __future__ import annotations

import msgspec

from ccproxy_tui.core.exchange_record import ExchangeRecord
from ccproxy_tui.core.formats.canonical import BlockStarted, Delta, Failed, Sealed, StreamEvent
from ccproxy_tui.core.formats.dialects import stream_parser
from ccproxy_tui.core.formats.names import FORMATS, Format
from ccproxy_tui.core.frames import Segment, SegmentKind
from ccproxy_tui.core.redact import redact_text

STEP = 256 * 1024  # bytes read at a time, so that a long answer never holds the loop

_KINDS: dict[str, SegmentKind] = {
    "text": "text",
    "thinking": "thinking",
    "arguments": "arguments",
    "refusal": "text",
}


class TextReader:
    """Reads one exchange's answer from its start, as far as it has come, in steps."""

    def __init__(self, record: ExchangeRecord) -> None:
        self._record = record
        self._offset = 0
        self._parser = stream_parser(_dialect_of(record))
        self._flushed = False
        self._dropped = False

    @property
    def behind(self) -> bool:
        """Whether there are kept bytes that were not read yet."""
        capture = self._record.upstream_body
        return not capture.dropped and self._offset < capture.kept

    def read(self) -> list[Segment]:
        """The next segments, neighbours of one kind joined."""
        if self._record.upstream_body.dropped:
            return self._note_dropped()
        if self._is_json():
            return self._read_whole()
        step = self._record.upstream_body.read(self._offset, STEP)
        self._offset += len(step)
        events = self._parser.feed(step) if step else []
        if not self._record.live and not self.behind and not self._flushed:
            self._flushed = True
            events += self._parser.flush()
        return _joined(events)

    def _is_json(self) -> bool:
        return self._record.upstream_body.read(0, 1) == b"{"

    def _read_whole(self) -> list[Segment]:
        """An answer that was not streamed is read once, when all of it is there."""
        if self._record.live or self._flushed:
            return []
        self._flushed = True
        body = self._record.upstream_body.read()
        self._offset = len(body)
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return []
        return _joined(self._parser.take_answer(answer)) if isinstance(answer, dict) else []

    def _note_dropped(self) -> list[Segment]:
        if self._dropped:
            return []
        self._dropped = True
        return [Segment(-1, "note", "This answer is no longer kept.")]


def _dialect_of(record: ExchangeRecord) -> Format:
    """The dialect of the upstream's bytes."""
    return next((name for name in FORMATS if name == record.upstream_format), "anthropic_messages")


def _joined(events: list[StreamEvent]) -> list[Segment]:
    segments: list[Segment] = []
    for event in events:
        segment = _segment(event)
        if segment is None:
            continue
        last = segments[-1] if segments else None
        if last is not None and (last.block, last.kind) == (segment.block, segment.kind) and not segment.title:
            segments[-1] = msgspec.structs.replace(last, text=last.text + segment.text)
        else:
            segments.append(segment)
    return [msgspec.structs.replace(segment, text=redact_text(segment.text)) for segment in segments]


def _segment(event: StreamEvent) -> Segment | None:
    match event:
        case Delta():
            return Segment(event.index, _KINDS[event.kind], event.text)
        case BlockStarted(kind="tool_call" | "custom_call" | "server_call"):
            return Segment(event.index, "tool", "", event.name or "tool")
        case Sealed(seal=seal) if seal.block.get("type") == "redacted_thinking":
            return Segment(event.index, "note", "redacted thinking")
        case Failed():
            return Segment(-1, "error", event.message)
        case _:
            return None
