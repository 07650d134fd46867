"""What routing needs from a request body, read without building the rest of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import msgspec

from ccproxy_tui.core.errors import InvalidRequest
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.limits import KB, MODEL_NAME

_NOTHING = msgspec.Raw(b"null")
_METADATA = 64 * KB  # more than that is no session's name
_SESSION_NAME = 256
_SESSION_HEADERS = ("x-session-id", "x-claude-code-session-id", "session-id", "session_id", "thread-id")


class _Fields(msgspec.Struct, frozen=True):
    """Every value is kept raw: it may be anything, of any size. Clients put a session id into `metadata`."""

    model: msgspec.Raw = _NOTHING
    stream: msgspec.Raw = _NOTHING
    metadata: msgspec.Raw = _NOTHING
    session_id: msgspec.Raw = _NOTHING


@dataclass(frozen=True, slots=True)
class Peek:
    model_name: str = ""
    wants_stream: bool = False
    session: str = ""  # as the body names it


_DECODER = msgspec.json.Decoder(_Fields)


def peek(body: bytes) -> Peek:
    """Raises InvalidRequest, with the position, when `body` is not a JSON object."""
    if not body.strip():
        raise InvalidRequest("The request body is empty; a JSON object is expected.")
    try:
        found = _DECODER.decode(body)
        name = _text(found.model, MODEL_NAME)
    except msgspec.ValidationError as error:
        raise InvalidRequest("The request body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body can't be read: {error}.") from error
    if not name and len(memoryview(found.model)) > MODEL_NAME:
        raise InvalidRequest(f"The model's name is longer than {MODEL_NAME} characters.", field="model")
    return Peek(name, bytes(found.stream) == b"true", _session(found))


def _text(raw: msgspec.Raw, longest: int) -> str:
    """Return the text that `raw` is; empty for any other value, and for a longer text.

    Raise msgspec.DecodeError or UnicodeDecodeError for a text that can't be read.
    """
    if len(memoryview(raw)) > 6 * longest + 2:  # each character may be an escape
        return ""
    text = _decoded(bytes(raw))
    return text if len(text) <= longest else ""


@functools.lru_cache(maxsize=256)
def _decoded(data: bytes) -> str:
    """Return the text that a JSON value is, or nothing for one of another kind. Clients name the same few."""
    return msgspec.json.decode(data, type=str) if data.startswith(b'"') else ""


def session_of(found: Peek, path_session: str, headers: dict[str, str]) -> str:
    """The conversation id a client gave: in the path, in a header, or in the body's metadata, in this order."""
    if path_session:
        return path_session
    for name in _SESSION_HEADERS:
        if value := headers.get(name):
            return value
    return found.session


def _session(found: _Fields) -> str:
    try:
        return _text(found.session_id, _SESSION_NAME) or _from_metadata(found.metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # then it is no text, and names no session
        return ""


def _from_metadata(raw: msgspec.Raw) -> str:
    if raw is _NOTHING or len(memoryview(raw)) > _METADATA:
        return ""
    metadata = read_object(bytes(raw))
    user = metadata.get("user_id")
    # Claude Code puts a JSON object into this string (observed, 2.1).
    inner = read_object(user.encode("utf-8", "replace")) if isinstance(user, str) and user.startswith("{") else {}
    for value in (metadata.get("session_id"), inner.get("session_id")):
        if isinstance(value, str) and 0 < len(value) <= _SESSION_NAME:
            return value
    return ""
