"""What a vendor signed or encrypted, wrapped so that another dialect's client can carry it and bring it back.

A seal keeps the vendor's own block as it came: Anthropic's `thinking` or `redacted_thinking` block, OpenAI's
`reasoning` item, Copilot's reasoning fields. It only ever goes back to the vendor that made it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal, get_args

import msgspec

Vendor = Literal["anthropic", "openai", "copilot"]

_MARK = "ccproxy1."
MARK = _MARK.encode()  # stands in every body that brings a seal of ours back
_VENDORS = frozenset(get_args(Vendor))


class Seal(msgspec.Struct, frozen=True, gc=False):
    vendor: Vendor
    block: dict[str, Any]


def wrap(seal: Seal) -> str:
    """The seal as one opaque token. The same seal is always the same token, so that prefixes stay stable."""
    packed = base64.urlsafe_b64encode(msgspec.json.encode(seal.block)).decode().rstrip("=")
    return f"{_MARK}{seal.vendor}.{packed}"


def unwrap(token: str) -> Seal | None:
    """The seal in a token of ours; None for any other token, and for one that was damaged on its way."""
    if not token.startswith(_MARK):
        return None
    vendor, _, packed = token.removeprefix(_MARK).partition(".")
    try:
        block = msgspec.json.decode(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (binascii.Error, ValueError):
        return None
    if vendor not in _VENDORS or not isinstance(block, dict):
        return None
    return Seal(vendor, block)  # type: ignore[arg-type]  # it is one of the vendors: checked above


def is_wrapped(token: str) -> bool:
    """Whether a token is one of ours, be it whole or damaged."""
    return token.startswith(_MARK)
