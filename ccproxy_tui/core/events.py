"""What happens in the proxy, as frozen values on the bus. Times are seconds since the exchange was accepted."""

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
    at: float
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
    """The request's body is complete; what could be told from it."""

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
    """The request was changed on its way; again when the answer is over, with what was lost on the way back."""

    exchange: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A step on the timeline, in words."""

    exchange: str
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The client has its last byte, or never will."""

    exchange: str
    reason: EndReason
    status: int
    error: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    stop_reason: str = ""


Event = Accepted | BodyRead | Routed | Billed | Converted | UpstreamAsked | UpstreamAnswered | Marked | Ended
