"""Ids of exchanges: short enough to read aloud, sortable by time (ULID layout, Crockford base 32)."""

from __future__ import annotations

import secrets

from ccproxy_tui.core.clock import Clock

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _encode(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def new_id(clock: Clock) -> str:
    """26 characters: 10 of milliseconds, 16 of randomness (https://github.com/ulid/spec)."""
    return _encode(int(clock.now() * 1000), 10) + _encode(secrets.randbits(80), 16)


def short_id(exchange_id: str) -> str:
    """The six characters that lists show: the start of the random part."""
    return exchange_id[10:16] or exchange_id[:6]
