"""Ids of exchanges: short enough to read aloud, sortable by time (ULID layout, Crockford base 32)."""

from __future__ import annotations

import secrets
from base64 import b32hexencode

from ccproxy_tui.core.system.clock import Clock

_CROCKFORD = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_LENGTH = 26  # characters of 5 bits


def new_id(clock: Clock) -> str:
    """26 characters: 10 of milliseconds, 16 of randomness (https://github.com/ulid/spec)."""
    data = int(clock.now() * 1000).to_bytes(10, "big") + secrets.token_bytes(10)
    return b32hexencode(data)[-_LENGTH:].translate(_CROCKFORD).decode("ascii")


def short_id(exchange_id: str) -> str:
    """The six characters that lists show: the start of the random part."""
    return exchange_id[10:16] or exchange_id[:6]
