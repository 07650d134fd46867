"""The first events of a stream: whether it begins as an answer, or as a refusal behind status 200."""

from __future__ import annotations

from ccproxy_tui.core.formats.canonical import Failed, Ping, Started
from ccproxy_tui.core.formats.dialects import stream_parser
from ccproxy_tui.core.formats.names import Format

_LIMIT = 64 * 1024


class Opening:
    """Feed it the stream until `decided`; then `failed` is the refusal, or None for an answer.

    Anthropic sends `message_start` and ChatGPT `response.created` before an overload is told, so those decide nothing.
    """

    def __init__(self, dialect: Format) -> None:
        self._parser = stream_parser(dialect)
        self._seen = 0
        self.decided = False
        self.failed: Failed | None = None

    def feed(self, chunk: bytes) -> None:
        self._seen += len(chunk)
        for event in self._parser.feed(chunk):
            if not isinstance(event, Started | Ping):
                self.failed = event if isinstance(event, Failed) else None
                self.decided = True
                return
        self.decided = self._seen >= _LIMIT
