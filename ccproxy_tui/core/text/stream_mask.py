"""Masks secrets in text that comes in pieces, wherever it was cut."""

from __future__ import annotations

from ccproxy_tui.core.text.redact import masked, open_secret, secret_spans
from ccproxy_tui.core.text.secret_shapes import LEAD


class StreamMask:
    """Give it the pieces of one text; what it returns, joined, is that text as `redact_text` masks it.

    Only an end that may be the beginning of a secret is held back, until more of it shows what it is.
    """

    def __init__(self) -> None:
        self._before = b""  # the end of what was let go: a secret may be known by what stands before it
        self._held = b""

    def feed(self, piece: str) -> str:
        """Return what can be shown with this piece; it may be empty."""
        data = self._before + self._held + piece.encode("utf-8", "surrogatepass")
        start = len(self._before)
        spans = secret_spans(data, start)
        end = open_secret(data, start)
        for begin, last in reversed(spans):
            if last > end:
                end = min(end, begin)
        return self._release(data, start, end, [span for span in spans if span[1] <= end])

    def flush(self) -> str:
        """Return what was held back: nothing comes after it."""
        data, start = self._before + self._held, len(self._before)
        return self._release(data, start, len(data), secret_spans(data, start))

    def _release(self, data: bytes, start: int, end: int, spans: list[tuple[int, int]]) -> str:
        self._before, self._held = data[max(end - LEAD, 0) : end], data[end:]
        shown = masked(data[start:end], [(max(begin - start, 0), last - start) for begin, last in spans])
        return shown.decode("utf-8", "surrogatepass")
