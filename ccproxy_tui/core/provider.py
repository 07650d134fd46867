"""The seam between an exchange and an upstream. Providers implement it; the core knows nothing else of them.

A provider is of one of two kinds. `Prepares` says how its upstream is asked, as values, and `core.exchange.sending`
asks. `Runs` serves a call itself: agents in SDK mode, and the demo.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from ccproxy_tui.core.auth.account import AnyAccount
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.pool import Turns
from ccproxy_tui.core.control.frames import SdkView
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.errors import ProxyError
from ccproxy_tui.core.formats.models import ModelCard
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Note, Report
from ccproxy_tui.core.permissions import Entry, PermissionRequest
from ccproxy_tui.core.routing import Operation

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Call:
    """One request to an upstream, in the format of the profile that the provider gave for it.

    `converted` says that the body was made by a conversion, and needs no mending. `headers` are the client's
    end-to-end headers, lower case; `path` is the client's path below the provider's prefix; `wishes` are its headers
    for this proxy alone (`x-ccproxy-...`, without that). `notes` are what was changed for this provider alone.
    """

    exchange: str
    operation: Operation
    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    format: Format | None = None
    model: str = ""
    stream: bool = False
    session: str = ""
    converted: bool = False
    wishes: dict[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


class UpstreamRequest(msgspec.Struct, frozen=True):
    """What an upstream is asked: a prepared HTTP request.

    `account` and `billing` name who serves and what pays, in a few words; `notes` are what was changed in the body for
    this provider. `conversation` is the key of a WebSocket that may carry the request; empty, it goes over HTTP.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    account: str = ""
    billing: str = ""
    notes: tuple[Note, ...] = ()
    conversation: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without headers and body, which hold secrets."""
        return f"UpstreamRequest({self.method!r}, {self.url!r}, {len(self.body)} bytes)"


Mark = Callable[[str, str], None]  # puts a step on the timeline of an exchange: its name, and details
Patch = Callable[[Call, Report], Call]  # what an upstream needs changed in a request, with a note of each change


@dataclass(slots=True)
class Answer:
    """What came back: the head at once, the body as it comes. Whoever gets it must call `close`."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]
    close: Callable[[], object] = field(default=lambda: None)  # may return an awaitable

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


async def close_answer(answer: Answer) -> None:
    closing = answer.close()
    if inspect.isawaitable(closing):
        await closing


async def keep_answer(answer: Answer, limit: int = 1024 * 1024) -> tuple[Answer, bytes]:
    """The same answer with as much of its body as comes, up to `limit` bytes, in memory; its connection is free."""
    body = bytearray()
    try:
        with contextlib.suppress(ProxyError):  # a body that breaks off leaves the status and what has come
            async for chunk in answer.body:
                body += chunk
                if len(body) > limit:
                    break
    finally:
        await close_answer(answer)
    if len(body) > limit:
        del body[limit:]
        answer.headers = [(name, value) for name, value in answer.headers if name != "content-length"]
    return held_answer(answer, bytes(body)), bytes(body)


def held_answer(answer: Answer, body: bytes) -> Answer:
    """The head of an answer with a body that is at hand."""

    async def given() -> AsyncIterator[bytes]:
        yield body

    return Answer(answer.status, answer.headers, given())


class Host(Protocol):
    """What the proxy offers to a provider that runs agents."""

    @property
    def url(self) -> str:
        """Where the proxy is reached from this machine."""
        ...

    async def ask(self, request: PermissionRequest) -> Entry:
        """Put a permission request; the answer when there is one. Who is cancelled meanwhile takes it back."""
        ...

    def accounts(self) -> list[AnyAccount]: ...

    def notice(self) -> None:
        """Something that front ends show has changed."""
        ...


@runtime_checkable
class RunsAgents(Protocol):
    """A provider whose upstream are agents that it runs itself (SDK mode)."""

    name: str

    def move_in(self, host: Host) -> None:
        """Called once, before anything is asked of it."""
        ...

    async def sdk(self) -> SdkView: ...

    @property
    def project_words(self) -> str:
        """What agents use of a project folder's own settings, because it was trusted; "" for nothing."""
        ...

    def runs_agent(self, name: str) -> bool:
        """Whether that is the id by which an agent of its own is known to hooks."""
        ...

    def sdk_counts(self) -> tuple[int, int, int]:
        """Agents that work, agents there are, and agents that the pool has ready."""
        ...

    def warm_up(self) -> bool:
        """Fill the pool, in the background. False when there is none."""
        ...

    async def interrupt_agent(self, number: int) -> bool:
        """End its turn. False when there is no such agent, or it does nothing."""
        ...

    async def end_agent(self, number: int, *, again: bool) -> bool:
        """End its process; `again` starts another one in its place. False when there is no such agent."""
        ...


class Recorder(Protocol):
    """Takes what happens while an exchange is served, for its record."""

    def routed(self, account: str, billing: str) -> None:
        """Record which account serves, and what pays."""
        ...

    def asked(self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Record what the upstream is asked, just before it is. Secrets in headers are masked."""
        ...

    def changed(self, notes: Iterable[Note]) -> None:
        """Record differences between the client's request and what is asked."""
        ...

    def billed(self, pool: str) -> None:
        """Record that something else pays than was routed."""
        ...

    def mark(self, name: str, detail: str) -> None:
        """Put a step on the timeline."""
        ...


class Connection(Protocol):
    """The way to an upstream."""

    async def carry(self, request: UpstreamRequest, mark: Mark) -> Answer:
        """Send one request. Raises UpstreamUnreachable, UpstreamGarbled, UpstreamStalled or UpstreamCut."""
        ...


class _Common(Protocol):
    """What both kinds of providers have. One is built once per proxy, with the settings and a clock."""

    name: str
    prefixes: tuple[str, ...]
    lists: Format | None  # the dialect in which its own list of models can be relayed
    detector: Detector | None  # of the command-line tool whose requests it serves, if there is one

    @property
    def paths(self) -> Sequence[str]:
        """The operations that a client may ask of the account besides inference: patterns for `routing.allows`.

        Everything else below the provider's prefix is a 404, so that a client of models is not one of the account.
        """
        ...

    def profile(self, model: str, dialect: Format) -> Profile:
        """The target for a request of this dialect. Another format in it means that the request is converted."""
        ...

    async def models(self) -> list[ModelCard]:
        """The models that the account can use, live where the upstream has a list. Raises a ProxyError."""
        ...

    def accounts(self) -> list[AnyAccount]:
        """The accounts that may serve."""
        ...

    async def close(self) -> None:
        """Let go of connections and children."""
        ...


class Prepares(_Common, Protocol):
    """A provider whose upstream is asked over HTTP."""

    @property
    def connection(self) -> Connection:
        """The way to its upstream."""
        ...

    def access(self) -> Credential | Turns:
        """Return what to authenticate with: one credential, or accounts in turn. Raises NoCredentials."""
        ...

    def patch(self, call: Call) -> Patch | None:
        """Return the change that this upstream needs in a request, or None when it takes the request as it is.

        The change itself is pure: a large body is changed in a thread. Raises InvalidRequest, and RouteNotFound for
        what the upstream does not serve.
        """
        ...

    def prepare(self, call: Call, credential: Credential) -> UpstreamRequest:
        """Return how the upstream is asked with this credential. Pure and quick; the body is that of `call`."""
        ...


class Runs(_Common, Protocol):
    """A provider that serves calls itself."""

    async def run(self, call: Call, record: Recorder) -> Answer:
        """Serve a call. Raises a ProxyError. `record` must be given `routed` and `asked` on the way."""
        ...


Provider = Prepares | Runs


def runs(provider: Provider) -> TypeIs[Runs]:
    """Return which of the two kinds a provider is of."""
    return hasattr(provider, "run")
