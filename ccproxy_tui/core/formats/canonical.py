"""The one neutral stream of events that every dialect is parsed into and rendered from.

Started, then blocks (BlockStarted, its Deltas, Sealed, Annotated, BlockEnded), then Finished and Done. Blocks may be
open side by side: parallel tool calls arrive interleaved in both OpenAI dialects. Failed and Ping may come anywhere.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ccproxy_tui.core.errors import ErrorKind
from ccproxy_tui.core.formats.seal import Seal

BlockKind = Literal["text", "thinking", "tool_call", "custom_call", "refusal", "server_call", "server_result", "other"]
DeltaKind = Literal["text", "thinking", "arguments", "refusal"]
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
    """A block opens. `id`, `name` and `namespace` belong to calls; `phase` to text of OpenAI's.

    A `server_result` has everything in `data`: the result block as Anthropic shapes it.
    """

    index: int
    kind: BlockKind
    id: str = ""
    name: str = ""
    namespace: str = ""
    phase: str = ""
    data: Any = None


class Delta(msgspec.Struct, frozen=True, gc=False):
    """More of a block. `arguments` are pieces of JSON text for a tool call, the bare input for a custom call."""

    index: int
    kind: DeltaKind
    text: str


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """What the vendor signed or encrypted of a thinking block: comes last in the block, if at all."""

    index: int
    seal: Seal


class Citation(msgspec.Struct, frozen=True, gc=False):
    """A source on the web for a text. `start` and `end` are characters of its block, -1 where nothing was said."""

    url: str
    title: str = ""
    cited: str = ""
    start: int = -1
    end: int = -1


class Annotated(msgspec.Struct, frozen=True, gc=False):
    """A citation on the text of a block; None is one that has no place in any other dialect."""

    index: int
    citation: Citation | None


class BlockEnded(msgspec.Struct, frozen=True, gc=False):
    index: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """Why the answer ended, and the final usage. `explanation` is the words of a refusal."""

    reason: StopReason
    usage: Usage
    stop_sequence: str | None = None
    explanation: str = ""


class Done(msgspec.Struct, frozen=True, gc=False):
    """The dialect's own end mark was seen. Without it an answer is not whole."""


class Failed(msgspec.Struct, frozen=True, gc=False):
    kind: ErrorKind
    message: str
    code: str = ""


class Ping(msgspec.Struct, frozen=True, gc=False):
    pass


StreamEvent = Started | BlockStarted | Delta | Sealed | Annotated | BlockEnded | Finished | Done | Failed | Ping
