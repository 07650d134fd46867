"""A whole answer, folded from its events: for clients that did not ask for a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ccproxy_tui.core.formats.canonical import (
    Annotated,
    BlockEnded,
    BlockKind,
    BlockStarted,
    Citation,
    Delta,
    DeltaKind,
    Done,
    Failed,
    Finished,
    Sealed,
    Started,
    StreamEvent,
    Usage,
)
from ccproxy_tui.core.formats.seal import Seal

_DELTAS: dict[BlockKind, DeltaKind] = {"text": "text", "thinking": "thinking", "refusal": "refusal"}


class Block(msgspec.Struct):
    kind: BlockKind
    id: str = ""
    name: str = ""
    namespace: str = ""
    phase: str = ""
    data: Any = None
    text: str = ""
    seal: Seal | None = None
    citations: list[Citation] = msgspec.field(default_factory=list)


class Reply(msgspec.Struct):
    """`failed` is what broke the answer; `whole` is whether the upstream said that it was over."""

    id: str = ""
    model: str = ""
    blocks: list[Block] = msgspec.field(default_factory=list)
    finished: Finished = Finished("unknown", Usage())
    failed: Failed | None = None
    whole: bool = False

    def events(self) -> Iterator[StreamEvent]:
        """The events of a stream that would have built this answer, one block after the other."""
        yield Started(self.id, self.model, Usage())
        for index, block in enumerate(self.blocks):
            yield BlockStarted(index, block.kind, block.id, block.name, block.namespace, block.phase, block.data)
            kind: DeltaKind = _DELTAS.get(block.kind, "arguments")
            if block.text:
                yield Delta(index, kind, block.text)
            for citation in block.citations:
                yield Annotated(index, citation)
            if block.seal is not None:
                yield Sealed(index, block.seal)
            yield BlockEnded(index)
        yield self.finished
        yield Done()


class Folder:
    """Takes an answer's events as they come."""

    def __init__(self) -> None:
        self.reply = Reply()
        self._blocks: dict[int, Block] = {}
        self._pieces: dict[int, list[str]] = {}

    def feed(self, events: Iterable[StreamEvent]) -> None:
        for event in events:
            match event:
                case Delta():
                    self._pieces.setdefault(event.index, []).append(event.text)
                case BlockStarted() | BlockEnded() | Sealed() | Annotated():
                    self._shape(event)
                case _:
                    self._account(event)

    def _shape(self, event: BlockStarted | BlockEnded | Sealed | Annotated) -> None:
        block = self._blocks.get(event.index)
        match event:
            case BlockStarted():
                block = Block(event.kind, event.id, event.name, event.namespace, event.phase, event.data)
                self._blocks[event.index] = block
                self.reply.blocks.append(block)
            case BlockEnded():
                self._close(event.index)
            case Sealed() if block is not None:
                block.seal = event.seal
            case Annotated(citation=Citation() as citation) if block is not None:
                block.citations.append(citation)
            case _:
                pass

    def _account(self, event: StreamEvent) -> None:
        reply = self.reply
        match event:
            case Started():
                reply.id, reply.model = event.id, event.model
            case Finished():
                reply.finished = event
            case Failed():
                reply.failed = event
            case Done():
                reply.whole = True
                for index in list(self._pieces):
                    self._close(index)
            case _:
                pass

    def _close(self, index: int) -> None:
        pieces = self._pieces.pop(index, None)
        if pieces is not None and index in self._blocks:
            self._blocks[index].text += "".join(pieces)
