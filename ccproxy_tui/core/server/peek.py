"""What routing needs from a request body, read without building the rest of it."""

from __future__ import annotations

from typing import Any

import msgspec

from ccproxy_tui.core.errors import InvalidRequest
from ccproxy_tui.core.formats.body import read_object


class Peek(msgspec.Struct, frozen=True):
    """`metadata` is kept raw: clients put a session id there in several shapes."""

    model: Any = ""
    stream: Any = False
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    session_id: Any = ""

    @property
    def wants_stream(self) -> bool:
        return self.stream is True

    @property
    def model_name(self) -> str:
        return self.model if isinstance(self.model, str) else ""


_DECODER = msgspec.json.Decoder(Peek)


def peek(body: bytes) -> Peek:
    """Raises InvalidRequest, with the position, when `body` is not a JSON object."""
    if not body.strip():
        raise InvalidRequest("The request body is empty; a JSON object is expected.")
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest("The request body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body can't be read: {error}.") from error


def session_of(found: Peek, path_session: str, headers: dict[str, str]) -> str:
    """The conversation id a client gave: in the path, in a header, or in the body's metadata, in this order."""
    if path_session:
        return path_session
    for name in ("x-session-id", "x-claude-code-session-id", "session-id", "session_id", "thread-id"):
        if value := headers.get(name):
            return value
    if isinstance(found.session_id, str) and found.session_id:
        return found.session_id
    return _from_metadata(bytes(found.metadata))


def _from_metadata(raw: bytes) -> str:
    metadata = read_object(raw)
    user = metadata.get("user_id")
    # Claude Code puts a JSON object into this string (observed, 2.1).
    inner = read_object(user.encode("utf-8", "replace")) if isinstance(user, str) and user.startswith("{") else {}
    for value in (metadata.get("session_id"), inner.get("session_id")):
        if isinstance(value, str) and value:
            return value
    return ""
