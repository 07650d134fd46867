"""What answers were made of, so that `previous_response_id` works where the upstream keeps nothing. In memory alone.

Turns are kept as they went over the wire; they are parsed when a request names one, not before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ccproxy_tui.core.formats.body import decode, encode, read_object
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.formats.openai_responses.native import Collector

ANNOUNCED = "resp_ccproxy_"  # the start of the ids of what was only announced: nobody else knows of those
NAMES_ONE = b'"previous_response_id"'  # what a body holds that names an earlier response
_LIMIT = 12 * 1024 * 1024
_LONGEST_CHAIN = 2000


class Listening:
    """Takes the bytes of an answer as they go to the client, streamed or not."""

    def __init__(self) -> None:
        self._collector: Collector | None = None
        self._json = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> None:
        if not self._size and data and not data.startswith(b"{"):
            self._collector = Collector()
        self._size += len(data)
        if self._size > _LIMIT:  # it could not be remembered; the client gets it all the same
            self._json.clear()
            self._collector = None
        elif self._collector is not None:
            self._collector.feed(data)
        else:
            self._json += data

    @property
    def response(self) -> Object | None:
        """The response object; None when it was no answer, or did not come to its end."""
        if self._collector is None:
            return read_object(bytes(self._json)) or None
        return self._collector.response() if self._collector.whole else None


class Turn(NamedTuple):
    previous: str
    request: bytes
    output: bytes  # the items of the answer, as a JSON list

    @property
    def size(self) -> int:
        return len(self.request) + len(self.output)


class _Previous(msgspec.Struct):
    previous_response_id: Any = None


class ResponseHistory:
    """A chain of turns for each answer. The oldest are forgotten when `limit` bytes are full."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._size = 0

    def remember(self, request: bytes, response: Object) -> None:
        """The turn of a request (JSON, as the client sent it) and its whole response object."""
        name, output = response.get("id"), response.get("output")
        if not isinstance(name, str) or not name or not isinstance(output, list):
            return
        previous = msgspec.json.decode(request, type=_Previous).previous_response_id
        turn = Turn(previous if isinstance(previous, str) else "", request, encode({"output": output}))
        if (same := self._turns.pop(name, None)) is not None:
            self._size -= same.size
        self._turns[name] = turn
        self._size += turn.size
        while self._size > self._limit and self._turns:
            _, oldest = self._turns.popitem(last=False)
            self._size -= oldest.size

    def before(self, request: bytes) -> Sequence[Turn]:
        """The turns that a request goes on from, the oldest first; none when it names no earlier response, or one
        that is not known (any more). The request is JSON.
        """
        named = msgspec.json.decode(request, type=_Previous).previous_response_id
        name = named if isinstance(named, str) else ""
        turns: list[Turn] = []
        while name:
            turn = self._turns.get(name)
            if turn is None or len(turns) >= _LONGEST_CHAIN:
                return ()
            self._turns.move_to_end(name)
            turns.append(turn)
            name = turn.previous
        return turns[::-1]


def expand(request: bytes, turns: Sequence[Turn]) -> bytes:
    """The request with the whole conversation in it. Raises Misfit when it, or a turn, has an input that is none."""
    body = decode(request)
    items = [item for turn in turns for item in (*input_items(decode(turn.request)), *decode(turn.output)["output"])]
    del body["previous_response_id"]
    return encode({**body, "input": [*items, *input_items(body)]})


def input_items(body: Object) -> list[object]:
    """The items of a request. Raises Misfit."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if given is None:
        return []
    if not isinstance(given, list):
        raise Misfit("The input must be a text or a list.", "input")
    return given
