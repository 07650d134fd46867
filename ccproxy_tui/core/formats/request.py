"""The canonical request: what any dialect can ask, with everything in its order and place."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ccproxy_tui.core.formats.misfit import Path
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import Seal

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


class Cache(msgspec.Struct, frozen=True):
    """A mark up to which the prompt may be cached."""

    ttl: Literal["5m", "1h"] = "5m"


class Source(msgspec.Struct, frozen=True):
    """Where the bytes of a file are: `value` is base64, a URL, plain text or a vendor's file id."""

    kind: Literal["base64", "url", "text", "file_id"]
    value: str
    media_type: str = ""


class Text(msgspec.Struct):
    text: str
    cache: Cache | None = None
    phase: str = ""


class Image(msgspec.Struct):
    """`path` says where in the client's request it stood, for targets that must refuse it."""

    source: Source
    detail: str = ""
    cache: Cache | None = None
    path: Path = ()


class Document(msgspec.Struct):
    source: Source
    title: str = ""
    cache: Cache | None = None
    path: Path = ()


class Audio(msgspec.Struct):
    data: str
    format: str
    path: Path = ()


class Thinking(msgspec.Struct):
    """What a model thought: `text` is for people, `seal` is what its vendor wants back."""

    text: str
    seal: Seal | None = None


class ToolCall(msgspec.Struct):
    """`arguments` is JSON text of an object; for a custom tool the bare input."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    namespace: str = ""
    cache: Cache | None = None


class ToolResult(msgspec.Struct):
    call_id: str
    content: list[Content]
    is_error: bool = False
    cache: Cache | None = None


Content = Text | Image | Document
Part = Text | Image | Document | Audio | Thinking | ToolCall | ToolResult


class Message(msgspec.Struct):
    role: Role
    parts: list[Part]


class Tool(msgspec.Struct):
    """A function, a custom tool (free text in, maybe by a grammar) or the vendor's web search."""

    kind: Literal["function", "custom", "web_search"]
    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    grammar: dict[str, Any] | None = None
    namespace: str = ""
    cache: Cache | None = None
    search: Search | None = None


class Search(msgspec.Struct):
    """The options of a web search."""

    allowed_domains: list[str]
    blocked_domains: list[str]
    max_uses: int | None = None
    location: dict[str, Any] | None = None
    context_size: str = ""


class ToolChoice(msgspec.Struct):
    """`names` limits the choice to some tools; with mode "required" and one name, that tool is forced."""

    mode: Literal["auto", "none", "required"]
    names: list[str] = msgspec.field(default_factory=list)


class Reasoning(msgspec.Struct):
    """How much to think. `budget` is in tokens; `show` is whether people want to read it."""

    effort: Effort | None = None
    budget: int | None = None
    adaptive: bool = False
    show: bool | None = None

    @property
    def nearest_effort(self) -> Effort | None:
        """The effort; for a budget alone the one that comes nearest to it."""
        if self.effort is not None or self.budget is None:
            return self.effort
        limits: tuple[tuple[int, Effort], ...] = ((2048, "low"), (8192, "medium"), (24_576, "high"))
        return next((effort for limit, effort in limits if self.budget <= limit), "xhigh")


class OutputFormat(msgspec.Struct):
    """Structured output: any JSON object, or JSON by a schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str = ""


class Request(msgspec.Struct):
    """`extra` holds the fields that only the client's own dialect family knows, as they came."""

    model: str
    messages: list[Message]
    tools: list[Tool] = msgspec.field(default_factory=list)
    choice: ToolChoice | None = None
    parallel: bool | None = None
    max_tokens: int | None = None
    stop: list[str] = msgspec.field(default_factory=list)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stream: bool = False
    reasoning: Reasoning | None = None
    output: OutputFormat | None = None
    verbosity: str | None = None
    fast: bool = False
    user: str = ""
    cache_key: str = ""
    cache: Cache | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


def mark_places(parts: list[Part], *path: str | int) -> list[Part]:
    """Tell attachments where in the client's request they stand."""
    for part in parts:
        if isinstance(part, Image | Document | Audio):
            part.path = path
        elif isinstance(part, ToolResult):
            for inner in part.content:
                if not isinstance(inner, Text):
                    inner.path = path
    return parts


def note_effort(reasoning: Reasoning, report: Report) -> None:
    """Say that a budget could only be told as an effort."""
    if reasoning.effort is None and reasoning.budget is not None:
        detail = f"{reasoning.budget} -> {reasoning.nearest_effort}"
        report.changed("thinking.budget_tokens", "told as an effort; OpenAI's dialects know no budget", detail)
