"""What a URL asks for: which provider, which operation, which dialect, which session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ccproxy_tui.core.formats.names import Format

Operation = Literal[
    "messages",
    "count_tokens",
    "chat",
    "responses",
    "compact",
    "models",
    "model",
    "embeddings",
    "stored_response",
    "other",
    "base",
]

_OPERATIONS: dict[tuple[str, ...], Operation] = {
    ("messages",): "messages",
    ("messages", "count_tokens"): "count_tokens",
    ("chat", "completions"): "chat",
    ("responses",): "responses",
    ("responses", "compact"): "compact",
    ("models",): "models",
    ("embeddings",): "embeddings",
}
_WITH_SESSION: frozenset[Operation] = frozenset({"messages", "count_tokens", "chat", "responses", "compact"})

DIALECTS: dict[Operation, Format] = {
    "messages": "anthropic_messages",
    "count_tokens": "anthropic_messages",
    "chat": "openai_chat",
    "responses": "openai_responses",
    "compact": "openai_responses",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A request path, understood. `rest` is the path below the prefix as the client wrote it, without a session."""

    provider: str
    prefix: str
    operation: Operation
    rest: str
    session: str = ""
    model: str = ""

    @property
    def dialect(self) -> Format | None:
        return DIALECTS.get(self.operation)


def parse_path(path: str, prefixes: Mapping[str, str]) -> Target | None:
    """`path` as a target, or None when no prefix fits.

    `prefixes` maps "/claude/sdk" and the like to provider names; the longest one wins. The empty prefix (routed by
    model) takes only paths that name an operation.
    """
    segments = tuple(part for part in path.split("/") if part)
    for length in range(len(segments), -1, -1):
        prefix = "".join(f"/{part}" for part in segments[:length])
        if (provider := prefixes.get(prefix)) is None:
            continue
        target = _below(provider, prefix, segments[length:])
        if prefix or target.operation not in ("other", "base"):
            return target
    return None


def _below(provider: str, prefix: str, segments: tuple[str, ...]) -> Target:
    rest = "/".join(segments)
    if not segments or segments == ("v1",):
        return Target(provider, prefix, "base", rest)
    if (operation := _operation(segments)) is not None:
        return Target(provider, prefix, operation, rest, model=_model_id(segments, operation))
    operation = _operation(segments[1:])
    if prefix and operation in _WITH_SESSION:
        return Target(provider, prefix, operation, "/".join(segments[1:]), session=segments[0])
    return Target(provider, prefix, "other", rest)


def _operation(segments: tuple[str, ...]) -> Operation | None:
    plain = segments[1:] if segments[:1] == ("v1",) else segments
    if len(plain) > 1 and plain[0] == "models":
        return "model"
    if len(plain) > 1 and plain[0] == "responses" and plain[1] != "compact":
        return "stored_response"
    return _OPERATIONS.get(plain)


def _model_id(segments: tuple[str, ...], operation: Operation) -> str:
    if operation != "model":
        return ""
    return "/".join(segments[2:] if segments[0] == "v1" else segments[1:])


def guess_dialect(path: str, header_names: frozenset[str]) -> Format:
    """The dialect for an error on a path that names none: Anthropic's when the request looks like it."""
    if path.endswith(("/messages", "/count_tokens")) or "anthropic-version" in header_names:
        return "anthropic_messages"
    if path.endswith(("/responses", "/compact")) or "/responses/" in path:
        return "openai_responses"
    return "openai_chat"
