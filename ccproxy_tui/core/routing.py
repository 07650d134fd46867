"""What a URL asks for: which provider, which operation, which dialect, which session."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, unquote_to_bytes

from ccproxy_tui.core.errors import InvalidRequest
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
    """A request path, understood. `rest` is the raw path below the prefix, without a session: nothing is decoded."""

    provider: str
    prefix: str
    operation: Operation
    rest: str
    session: str = ""
    model: str = ""

    @property
    def dialect(self) -> Format | None:
        return DIALECTS.get(self.operation)


_RAW = re.compile(rb"(?:[!-~]|%[0-9A-Fa-f]{2})*", re.ASCII)
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DECODINGS = 4  # layers of percent-encoding that are looked through
_LONG_PATH = 256  # bytes; a longer one is not remembered


def read_path(raw: bytes) -> str:
    """Return the path of a request target as the client wrote it, percent-encoding and all.

    Raises InvalidRequest for a path that a server behind this one could read as another one: dot segments, backslashes
    and control characters, plain or encoded (once or several times).
    """
    return _checked(raw) if len(raw) > _LONG_PATH else _checked_once(raw)


def _checked(raw: bytes) -> str:
    if not _RAW.fullmatch(raw) or _STRAY_PERCENT.search(raw) or b"#" in raw:
        raise InvalidRequest("The path holds a character that must be percent-encoded.")
    decoded = raw
    for _ in range(_DECODINGS):
        _check_segments(decoded)
        before, decoded = decoded, unquote_to_bytes(decoded)
        if before == decoded:
            return raw.decode("ascii")
    raise InvalidRequest("The path is percent-encoded too many times.")


_checked_once = functools.lru_cache(maxsize=256)(_checked)  # clients ask for the same few paths


def _check_segments(path: bytes) -> None:
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not UTF-8.") from None
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    if "\\" in text or any(unicodedata.category(char) == "Cc" for char in text):
        raise InvalidRequest("The path holds a backslash or a control character.")
    for segment in text.split("/"):
        name = segment.split(";")[0].strip()
        if name and not name.strip("."):
            raise InvalidRequest("The path holds a dot segment.")


def allows(patterns: Iterable[str], method: str, path: str) -> bool:
    """Return whether one of `patterns` covers a request.

    A pattern is a method and a path, as in `GET files/*/content`: `*` is one segment, `**` is one or more. `GET` covers
    HEAD. A leading `v1/` counts neither in a pattern nor in `path`.
    """
    asked = f"{'GET' if method == 'HEAD' else method} {path.removeprefix('v1/')}"
    return any(_compiled(pattern).fullmatch(asked) for pattern in patterns)


_PATTERN = re.compile(r"[A-Z]+ (?:[A-Za-z0-9._~-]+|\*\*?)(?:/(?:[A-Za-z0-9._~-]+|\*\*?))*")


def check_pattern(pattern: str) -> str:
    """Return `pattern` as `allows` takes it. Raises ValueError."""
    method, _, path = pattern.strip().partition(" ")
    found = f"{method.upper()} {path.strip().strip('/')}"
    if not _PATTERN.fullmatch(found) or any(not part.strip(".") for part in found.partition(" ")[2].split("/")):
        raise ValueError(
            f"{pattern!r} is not a method and a path, such as GET v1/files/* (* is one segment, ** the rest)"
        )
    return found


@functools.lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    method, _, path = pattern.partition(" ")
    parts = [{"*": "[^/]+", "**": ".+"}.get(part) or re.escape(part) for part in path.removeprefix("v1/").split("/")]
    return re.compile(f"{method} {'/'.join(parts)}")


def parse_path(path: str, prefixes: Mapping[str, str]) -> Target | None:
    """`path` (raw, from `read_path`) as a target, or None when no prefix fits.

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
        return Target(provider, prefix, operation, "/".join(segments[1:]), session=unquote(segments[0]))
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
    return unquote("/".join(segments[2:] if segments[0] == "v1" else segments[1:]))


def guess_dialect(path: str, header_names: frozenset[str]) -> Format:
    """The dialect for an error on a path that names none: Anthropic's when the request looks like it."""
    if path.endswith(("/messages", "/count_tokens")) or "anthropic-version" in header_names:
        return "anthropic_messages"
    if path.endswith(("/responses", "/compact")) or "/responses/" in path:
        return "openai_responses"
    return "openai_chat"
