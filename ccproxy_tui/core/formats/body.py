"""Bodies as JSON objects, with every way in which that can go wrong told in words."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ccproxy_tui.core.formats import keys
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.formats.weight import is_too_heavy

T = TypeVar("T")


def decode(raw: bytes) -> Object:
    """A JSON object. Raises Misfit when it is something else, or not JSON at all, or takes too much memory."""
    if is_too_heavy(raw):
        raise Misfit("The body holds more values, or wider text, than a body of its size may.")
    body = _decode(raw, object)
    if not isinstance(body, dict):
        raise Misfit("The body must be a JSON object.")
    return body


def decode_strict(raw: bytes) -> Object:
    """The same for what the user decides on: an object with a key twice could be read as another one. Raises Misfit."""
    body = decode(raw)
    try:
        keys.check(raw)
    except ValueError as error:  # KeyTwice, or what one parser takes and the other one does not
        raise Misfit(f"The body is not clear: {error}.") from error
    except RecursionError:
        raise Misfit("The body is nested too deeply.") from None
    return body


def with_fields(raw: bytes, values: Object) -> bytes:
    """The object with some of its fields replaced; every other value keeps its bytes. Raises Misfit as `decode`."""
    fields = _decode(raw, dict[str, msgspec.Raw])
    fields.update({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in values.items()})
    return encode(fields)


def read_object(raw: bytes) -> Object:
    """A JSON object from somebody who is not our client; empty when it is something else, or not JSON at all."""
    try:
        return decode(raw)
    except Misfit:
        return {}


def encode(body: Object) -> bytes:
    """Raises Misfit when the object can't be written as JSON."""
    try:
        return msgspec.json.encode(body)
    except OverflowError:
        raise Misfit("A number is too large.") from None
    except RecursionError:
        raise Misfit("The body is nested too deeply.") from None


def _decode(raw: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misfit(f"The body is not valid JSON: {error}.") from error
    except RecursionError:
        raise Misfit("The body is nested too deeply.") from None
