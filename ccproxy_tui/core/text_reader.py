"""The text of an answer, read from its kept bytes only while somebody looks."""

from __future__ import annotations

import msgspec

from ccproxy_tui.core.control.frames import Segment, SegmentKind
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.formats.canonical import BlockEnded, BlockStarted, Delta, Failed, Sealed, StreamEvent
from ccproxy_tui.core.formats.dialects import stream_parser
from ccproxy_tui.core.formats.names import FORMATS, Format
from ccproxy_tui.core.records.record import ExchangeRecord
from ccproxy_tui.core.text.redact import redact_text
from ccproxy_tui.core.text.stream_mask import StreamMask

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
        self._masks: dict[tuple[int, SegmentKind], StreamMask] = {}

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
        segments = self._segments(events)
        if not self._record.live and not self.behind and not self._flushed:
            self._flushed = True
            segments += [*self._segments(self._parser.flush()), *self._let_go()]
        return _joined(segments)

    def _is_json(self) -> bool:
        return self._record.upstream_body.read(0, 1) == b"{"

    def _read_whole(self) -> list[Segment]:
        """An answer that was not streamed is read once, when all of it is there."""
        if self._record.live or self._flushed:
            return []
        self._flushed = True
        body = self._record.upstream_body.read()
        self._offset = len(body)
        answer = read_object(body)
        return _joined([*self._segments(self._parser.take_answer(answer)), *self._let_go()]) if answer else []

    def _segments(self, events: list[StreamEvent]) -> list[Segment]:
        """The events for people, with secrets masked also where they were cut into several deltas."""
        segments: list[Segment] = []
        for event in events:
            match event:
                case Delta():
                    key = event.index, _KINDS[event.kind]
                    segments.append(Segment(*key, self._masks.setdefault(key, StreamMask()).feed(event.text)))
                case BlockEnded():
                    segments += self._let_go(event.index)
                case BlockStarted(kind="tool_call" | "custom_call" | "server_call"):
                    segments.append(Segment(event.index, "tool", "", redact_text(event.name or "tool")))
                case Sealed(seal=seal) if seal.block.get("type") == "redacted_thinking":
                    segments.append(Segment(event.index, "note", "redacted thinking"))
                case Failed():
                    segments.append(Segment(-1, "error", redact_text(event.message)))
        return segments

    def _let_go(self, block: int | None = None) -> list[Segment]:
        """What was held back of a block that has ended, or of all of them."""
        ended = [key for key in self._masks if block in (None, key[0])]
        return [Segment(*key, self._masks.pop(key).flush()) for key in ended]

    def _note_dropped(self) -> list[Segment]:
        if self._dropped:
            return []
        self._dropped = True
        return [Segment(-1, "note", "This answer is no longer kept.")]


def _dialect_of(record: ExchangeRecord) -> Format:
    """The dialect of the upstream's bytes."""
    return next((name for name in FORMATS if name == record.upstream_format), "anthropic_messages")


def _joined(segments: list[Segment]) -> list[Segment]:
    """The same segments, neighbours of one kind in one."""
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if last is not None and (last.block, last.kind) == (segment.block, segment.kind) and not segment.title:
            joined[-1] = msgspec.structs.replace(last, text=last.text + segment.text)
        elif segment.text or segment.title:
            joined.append(segment)
    return joined
