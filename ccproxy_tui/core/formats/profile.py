"""What a target accepts, as far as a conversion must know. Providers make one per model."""

from __future__ import annotations

from typing import Literal

import msgspec

from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.seal import Vendor

ThinkingMode = Literal["adaptive", "budget", "none"]


class Profile(msgspec.Struct, frozen=True):
    """`vendor` is who reads the seals. `refused` names parameters of the target's dialect that it answers with 400.

    `custom_tools`: takes tools with free text input. `files`: takes documents. `cache_marks`: takes cache marks in
    the target's own spelling. `tokens_field` is how a Chat target spells the limit; `default_tokens` is what a
    Messages target gets when the client set none. `stream_only`: answers in streams alone. `mends`: requests and
    answers that stay in their dialect still have to be put right on both ways.
    """

    format: Format
    vendor: Vendor
    name: str = "this provider"
    refused: frozenset[str] = frozenset()
    thinking: ThinkingMode = "none"
    custom_tools: bool = True
    files: bool = True
    web_search: bool = True
    cache_marks: bool = True
    auto_cache: bool = False
    max_tools: int | None = None
    tokens_field: str = "max_completion_tokens"
    default_tokens: int = 32_000
    max_tokens: int | None = None
    stream_only: bool = False
    mends: bool = False
