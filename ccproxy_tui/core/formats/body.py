"""Bodies as JSON objects, with every way in which that can go wrong told in words."""

from __future__ import annotations

import msgspec

from ccproxy_tui.core.formats.misfit import Misfit, Object


def decode(raw: bytes) -> Object:
    """A JSON object. Raises Misfit when it is something else, or not JSON at all."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misfit(f"The request body is not valid JSON: {error}.") from error
    except RecursionError:
        raise Misfit("The request body is nested too deeply.") from None
    if not isinstance(body, dict):
        raise Misfit("The request body must be a JSON object.")
    return body


def encode(body: Object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except OverflowError:
        raise Misfit("A number in the request is too large.") from None
    except RecursionError:
        raise Misfit("The request body is nested too deeply.") from None
