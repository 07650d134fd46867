"""What happens in the proxy, as frozen values on the bus, which says when each was published.

The record of an exchange can be built again from its events. Only the bytes of answers are in none, and the counters of
a live stream, which its end repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.formats.report import Note

# refused: by the proxy; upstream_error, cut, stalled: the upstream's doing; stopped: by the user; drained: the proxy
# ended; failed: an error of the proxy itself. The cause counts, not its consequence: a client that leaves because of an
# error that it was sent is no `client_gone`.
EndReason = Literal[
    "done", "refused", "upstream_error", "cut", "stalled", "client_gone", "stopped", "drained", "failed"
]
FAILED_ENDS: frozenset[EndReason] = frozenset({"refused", "upstream_error", "cut", "stalled", "drained", "failed"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A client's request head was read."""

    exchange: str
    started: float  # seconds since the epoch
    method: str
    path: str
    query: str
    peer: str
    client: str
    user_agent: str
    dialect: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BodyRead:
    """The request's body is complete, and what the proxy has read in it."""

    exchange: str
    body: bytes
    model: str
    stream: bool
    session: str


@dataclass(frozen=True, slots=True)
class Routed:
    """A provider and an account were picked; `billing` names the pool that pays."""

    exchange: str
    provider: str
    account: str
    upstream_format: str
    billing: str = ""


@dataclass(frozen=True, slots=True)
class Billed:
    """The answer says that another pool pays than the one it was asked of."""

    exchange: str
    pool: str


@dataclass(frozen=True, slots=True)
class UpstreamAsked:
    """The request as it goes upstream (secrets masked)."""

    exchange: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class UpstreamAnswered:
    exchange: str
    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Converted:
    """The request was changed on its way. Published again at the end, with what the answer lost on its way back."""

    exchange: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class FirstByte:
    """The first byte of the answer has come from upstream."""

    exchange: str


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The first token of the answer has come from upstream."""

    exchange: str


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client got a ping while it waits for the answer."""

    exchange: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A step on the timeline, in words."""

    exchange: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """An exchange that has ended, whole. Times in seconds, `started` since the epoch, the others since then.

    `upstream_bytes` came from upstream and `client_bytes` went to the client, without heads. `losses` counts what a
    conversion could not keep.
    """

    reason: EndReason
    status: int  # sent to the client
    duration: float = 0.0
    error: str = ""
    usage: Usage = field(default_factory=Usage)
    served_model: str = ""
    stop_reason: str = ""
    started: float = 0.0
    method: str = ""
    path: str = ""
    client: str = ""
    user_agent: str = ""
    session: str = ""
    model: str = ""
    stream: bool = False
    dialect: str = ""
    upstream_format: str = ""
    provider: str = ""
    account: str = ""
    billing: str = ""
    first_byte: float | None = None
    first_token: float | None = None
    request_bytes: int = 0
    upstream_bytes: int = 0
    client_bytes: int = 0
    events: int = 0
    pings: int = 0
    calls: int = 0  # upstream requests made
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The client has its last byte, or never will. Published once for each exchange, as its last event."""

    exchange: str
    summary: Summary


@dataclass(frozen=True, slots=True)
class PermissionAsked:
    """A tool wants to run. `exchange` is empty where none is known."""

    exchange: str
    request: str
    source: str
    tool: str


@dataclass(frozen=True, slots=True)
class PermissionDecided:
    """A permission request has ended: `status` says how, `by` who or what has decided."""

    exchange: str
    request: str
    status: str
    tool: str
    by: str


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """Something happened to an account, in words: renewed, renewal failed, taken over from another program."""

    account: str
    what: str


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """A setting is in force with a new value."""

    key: tuple[str, ...]


OfExchange = (
    Accepted
    | BodyRead
    | Routed
    | Billed
    | Converted
    | UpstreamAsked
    | UpstreamAnswered
    | FirstByte
    | FirstToken
    | Pinged
    | Marked
    | PermissionAsked
    | PermissionDecided
    | Finished
)
Event = OfExchange | AccountChanged | SettingsChanged
