"""The one neutral stream of events that every dialect is parsed into and rendered from."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ccproxy_tui.core.errors import ErrorKind

BlockKind = Literal["text", "thinking", "redacted_thinking", "tool_call", "refusal", "server_tool", "other"]
DeltaKind = Literal["text", "thinking", "arguments", "refusal", "signature"]
StopReason = Literal[
    "end_turn",
    "stop_sequence",
    "tool_use",
    "max_tokens",
    "context_window",
    "refusal",
    "pause_turn",
    "compaction",
    "unknown",
]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer. `input` excludes what was read from or written to a cache; None is "not said"."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def merged(self, later: Usage) -> Usage:
        """This usage, overwritten by everything that `later` says (streams repeat cumulative figures)."""
        return Usage(
            input=self.input if later.input is None else later.input,
            output=self.output if later.output is None else later.output,
            cache_read=self.cache_read if later.cache_read is None else later.cache_read,
            cache_write=self.cache_write if later.cache_write is None else later.cache_write,
            reasoning=self.reasoning if later.reasoning is None else later.reasoning,
        )

    @property
    def prompt(self) -> int:
        """All input tokens, cached ones included."""
        return (self.input or 0) + (self.cache_read or 0) + (self.cache_write or 0)


class Started(msgspec.Struct, frozen=True, gc=False):
    id: str
    model: str
    usage: Usage


class BlockStarted(msgspec.Struct, frozen=True, gc=False):
    """A block opens. `id` and `name` belong to tool calls; `data` is what the dialect said, for what only it knows."""

    index: int
    kind: BlockKind
    id: str = ""
    name: str = ""
    text: str = ""
    data: Any = None


class Delta(msgspec.Struct, frozen=True, gc=False):
    index: int
    kind: DeltaKind
    text: str


class Annotated(msgspec.Struct, frozen=True, gc=False):
    """A citation on the text of a block, as the dialect said it."""

    index: int
    data: Any


class BlockEnded(msgspec.Struct, frozen=True, gc=False):
    index: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """Why the answer ended, and the final usage."""

    reason: StopReason
    usage: Usage
    stop_sequence: str | None = None
    detail: Any = None


class Done(msgspec.Struct, frozen=True, gc=False):
    """The dialect's own end mark was seen. Without it an answer is not whole."""


class Failed(msgspec.Struct, frozen=True, gc=False):
    kind: ErrorKind
    message: str
    code: str = ""


class Ping(msgspec.Struct, frozen=True, gc=False):
    pass


StreamEvent = Started | BlockStarted | Delta | Annotated | BlockEnded | Finished | Done | Failed | Ping
