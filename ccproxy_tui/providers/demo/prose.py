"""Sentences that the simulated provider puts together."""

from __future__ import annotations

OPENINGS = (
    "I'll start with the failing test, because it tells us exactly what the caller expects.",
    "Let me look at how the module is used before changing it.",
    "The short answer: the state is kept in two places, and they disagree after a retry.",
    "Here is what happens, step by step.",
    "That error comes from the decoder, not from the network.",
)
SENTENCES = (
    "The decoder drops a trailing carriage return when a chunk ends between the two bytes of a line end.",
    "So the event boundary is lost and two events are glued together.",
    "I am going to add a flag to the state and a regression test for it.",
    "Nothing else in the call chain depends on the old behaviour.",
    "The cache key should be built from the request alone; the clock has no place in it.",
    "A single writer thread is enough here, and it keeps the ordering simple.",
    "I checked the callers: three of them pass a list, one passes a generator.",
    "It would be cleaner to return early than to nest another condition.",
    "The test now cuts the input at every byte and compares the result with the uncut run.",
    "If the token was rotated by another process, the file on disk is newer than what we hold.",
    "Reading it again before refreshing avoids the race without a second lock.",
    "The function does two things, so I split it in half and named the halves.",
    "Unicode line separators inside JSON strings must not split the stream.",
    "The retry only makes sense before the first byte has gone out to the client.",
    "I kept the public signature, so nothing outside this package has to change.",
    "Measured on this machine, the new version needs a third of the time.",
)
_PYTHON = """```python
def flush(self) -> list[Event]:
    block, self._buffer = self._buffer, b""
    return self._parse(block)
```"""
_DIFF = """```diff
-        return None
+        event = self._flush()
+        self._cr = False
+        return event
```"""
_SHELL = """```sh
pytest -q tests/test_stream.py -k boundary
```"""
CODE = (_PYTHON, _DIFF, _SHELL)
CLOSINGS = (
    "All tests pass. Shall I also update the change log?",
    "That should do it; run the suite once more on your side.",
    "I left the old name as an alias for one release.",
)
THOUGHTS = (
    "The user wants the cause, not only a fix.",
    "The stack trace points at the decoder, but the chunk sizes matter more.",
    "Let me think about what happens when the buffer ends exactly at a boundary.",
    "A lock is tempting; a re-read before the write is simpler.",
    "There may be a second place with the same assumption.",
    "I should check the behaviour for an empty input first.",
)
