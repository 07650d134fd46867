"""One client request and everything that happened to it, as the store keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.formats.report import Note
from ccproxy_tui.core.records.events import EndReason, Summary
from ccproxy_tui.core.records.kept_bodies import Capture

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A step on the timeline: seconds since the exchange was accepted, its name, and what is worth saying."""

    at: float
    name: str
    detail: str = ""


@dataclass(slots=True, eq=False)
class ExchangeRecord:
    """Written by the store alone, from events, but for the live counters: the tap advances these for each chunk."""

    id: str
    seq: int
    started: float  # seconds since the epoch
    origin: float  # monotonic; marks count from here
    method: str = ""
    path: str = ""
    query: str = ""
    peer: str = ""
    client: str = ""
    user_agent: str = ""
    dialect: str = ""
    provider: str = ""
    account: str = ""
    billing: str = ""
    upstream_format: str = ""
    upstream_url: str = ""
    upstream_method: str = ""
    model: str = ""
    served_model: str = ""
    session: str = ""
    stream: bool = False

    status: int = 0  # sent to the client
    upstream_status: int = 0
    ended: EndReason | None = None
    error: str = ""
    stop_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    calls: int = 0  # upstream requests made
    pings: int = 0
    first_byte: float | None = None
    first_token: float | None = None
    duration: float | None = None
    questions: int = 0  # permission requests that hold it

    # Live counters; the bodies of the answer are live, too.
    upstream_bytes: int = 0
    client_bytes: int = 0
    events: int = 0
    last_byte: float = 0.0  # monotonic, of the last byte from upstream

    notes: tuple[Note, ...] = ()  # the conversion report
    marks: list[Mark] = field(default_factory=list)
    request_headers: Headers = ()
    upstream_request_headers: Headers = ()
    response_headers: Headers = ()
    request_body: Capture = field(default_factory=Capture)
    upstream_request_body: Capture | None = None  # None: the client's own bytes were sent
    upstream_body: Capture = field(default_factory=Capture)
    client_body: Capture | None = None  # None: the upstream's own bytes were sent

    revision: int = 0

    @property
    def live(self) -> bool:
        return self.ended is None

    def captures(self) -> list[Capture]:
        """Every body that is kept."""
        optional = (self.upstream_request_body, self.client_body)
        return [
            self.request_body,
            self.upstream_body,
            *(capture for capture in optional if capture is not None),
        ]

    def summary(
        self,
        reason: EndReason,
        status: int,
        now: float,
        *,
        error: str = "",
        usage: Usage | None = None,
        served_model: str = "",
        stop_reason: str = "",
    ) -> Summary:
        """Return what `Finished` says of it. `now` is monotonic."""
        return Summary(
            reason,
            status,
            now - self.origin,
            error,
            usage or Usage(),
            served_model,
            stop_reason,
            started=self.started,
            method=self.method,
            path=self.path,
            client=self.client,
            user_agent=self.user_agent,
            session=self.session,
            model=self.model,
            stream=self.stream,
            dialect=self.dialect,
            upstream_format=self.upstream_format,
            provider=self.provider,
            account=self.account,
            billing=self.billing,
            first_byte=self.first_byte,
            first_token=self.first_token,
            request_bytes=self.request_body.total,
            upstream_bytes=self.upstream_bytes,
            client_bytes=self.client_bytes,
            events=self.events,
            pings=self.pings,
            calls=self.calls,
            losses=sum(note.count for note in self.notes if note.action == "dropped"),
        )

    def output_tokens(self) -> int:
        """Exact once the provider has said it; until then the number of events, about one token each.

        A stream that breaks off leaves what its start reports (in Messages: 1), which is not what was sent.
        """
        reported = self.usage.output
        if reported is not None and (self.ended == "done" or self.stop_reason):
            return reported
        streamed = self.first_token is not None and self.stream
        return max(self.events - 3, reported or 0) if streamed else (reported or 0)

    def token_rate(self, now: float) -> float | None:
        """Output tokens a second since the first one; None while there is none. `now` is monotonic."""
        if self.first_token is None or not self.stream:
            return None
        end = self.duration if self.duration is not None else now - self.origin
        elapsed = end - self.first_token
        tokens = self.output_tokens()
        return tokens / elapsed if elapsed > 0.05 and tokens > 0 else None
