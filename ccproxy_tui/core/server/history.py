"""What answers were made of, so that `previous_response_id` works where the upstream keeps nothing. In memory alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from ccproxy_tui.core.formats.body import decode, encode, read_object
from ccproxy_tui.core.formats.misfit import Misfit, Object
from ccproxy_tui.core.formats.openai_responses.native import Collector

ANNOUNCED = "resp_ccproxy_"  # the start of the ids of what was only announced: nobody else knows of those
_LIMIT = 12 * 1024 * 1024
_LONGEST_CHAIN = 2000


class Listening:
    """Takes the bytes of an answer as they go to the client, streamed or not; `response` is the whole of it."""

    def __init__(self) -> None:
        self._collector: Collector | None = None
        self._json = bytearray()

    def feed(self, data: bytes) -> None:
        if self._collector is None and not self._json and not data.startswith(b"{"):
            self._collector = Collector()
        if self._collector is not None:
            self._collector.feed(data)
        elif len(self._json) < _LIMIT:
            self._json += data

    @property
    def response(self) -> Object | None:
        """The response object; None when it was no answer, or did not come to its end."""
        if self._collector is None:
            return read_object(bytes(self._json)) or None
        return read_object(self._collector.render()) if self._collector.whole else None


class _Turn(NamedTuple):
    previous: str
    items: bytes  # of the input and of the answer, as a JSON list


class ResponseHistory:
    """A chain of turns for each answer. The oldest are forgotten when `limit` bytes are full."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._size = 0

    def remember(self, request: bytes, response: Object) -> None:
        """The turn of a request (as the client sent it) and its whole response object."""
        name, output = response.get("id"), response.get("output")
        body = read_object(request)
        if not isinstance(name, str) or not name or not isinstance(output, list):
            return
        turn = _Turn(str(body.get("previous_response_id") or ""), msgspec.json.encode([*_items(body), *output]))
        if name in self._turns:
            self._size -= len(self._turns.pop(name).items)
        self._turns[name] = turn
        self._size += len(turn.items)
        while self._size > self._limit and self._turns:
            _, oldest = self._turns.popitem(last=False)
            self._size -= len(oldest.items)

    def expand(self, request: bytes) -> bytes | None:
        """The request with the whole conversation in it; None when it names no earlier response, or one that is not
        known (any more). Raises Misfit when it is no JSON object.
        """
        body = decode(request)
        name = body.get("previous_response_id")
        if not isinstance(name, str) or (before := self._before(name)) is None:
            return None
        whole = {**body, "input": [*before, *_items(body)]}
        del whole["previous_response_id"]
        return encode(whole)

    def _before(self, name: str) -> list[object] | None:
        turns: list[_Turn] = []
        while name:
            turn = self._turns.get(name)
            if turn is None or len(turns) >= _LONGEST_CHAIN:
                return None
            self._turns.move_to_end(name)
            turns.append(turn)
            name = turn.previous
        return [item for turn in reversed(turns) for item in msgspec.json.decode(turn.items)]


def _items(body: Object) -> list[object]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if given is None:
        return []
    if not isinstance(given, list):
        raise Misfit("The input must be a text or a list.", "input")
    return given
