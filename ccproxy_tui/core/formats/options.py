"""What rendering an answer needs to know of the request that it answers."""

from __future__ import annotations

from typing import Any

import msgspec


class ReplyOptions(msgspec.Struct):
    """`model` is the name that the client asked for; `created` is in seconds since the epoch.

    `include_usage` and `legacy_functions` are Chat's; `echo` are the fields that a Responses answer repeats.
    """

    model: str
    created: int
    include_usage: bool = False
    legacy_functions: bool = False
    echo: dict[str, Any] = msgspec.field(default_factory=dict)
