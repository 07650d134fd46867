"""What a front end gets from the proxy: rows, texts, details, log lines and figures, as plain values on the wire."""

from __future__ import annotations

from typing import Literal

import msgspec

PROTOCOL = 2  # of the frames and verbs; a proxy and its front ends compare it. 2: heartbeats
HEARTBEAT = 2.0  # seconds; an empty frame is sent after that long without another
SILENCE = 5  # seconds without a frame after which the proxy is said to stand still

StateWord = str  # wait, live, stall, tool, a status number, STOP, or ERR
SegmentKind = Literal["text", "thinking", "tool", "arguments", "note", "error"]
BodyPart = Literal["request", "upstream_request", "upstream_response", "response"]


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One exchange as lists show it. Times in seconds, `started` since the epoch, the others since then.

    `age` is that of a live one when the frame was made: front ends count on by their own clocks.
    """

    id: str
    seq: int
    started: float
    state: StateWord
    live: bool = False
    client: str = ""
    dialect: str = ""
    provider: str = ""
    account: str = ""
    billing: str = ""
    model: str = ""
    served: str = ""
    session: str = ""
    path: str = ""
    stream: bool = False
    status: int = 0
    ttft: float | None = None
    rate: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cache_read: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    events: int = 0
    pings: int = 0
    duration: float | None = None
    silent: float = 0.0
    age: float = 0.0
    end: str = ""
    error: str = ""


class MarkView(msgspec.Struct, frozen=True, array_like=True):
    at: float
    name: str
    detail: str = ""


class NoteView(msgspec.Struct, frozen=True, array_like=True):
    """One line of a conversion report (see core.formats.report)."""

    action: str
    field: str
    reason: str
    count: int = 1
    example: str = ""


class BodyInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a body: its size, how much can be read, whether it is the same as the other leg's."""

    size: int = 0
    kept: int = 0
    same: bool = False


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything about one exchange but its bodies, which are fetched in pieces. Headers have their secrets masked."""

    row: Row
    method: str = ""
    path: str = ""
    query: str = ""
    peer: str = ""
    user_agent: str = ""
    upstream_format: str = ""
    upstream_method: str = ""
    upstream_url: str = ""
    upstream_status: int = 0
    stop_reason: str = ""
    calls: int = 0
    marks: list[MarkView] = []
    notes: list[NoteView] = []
    request_headers: list[tuple[str, str]] = []
    upstream_request_headers: list[tuple[str, str]] = []
    response_headers: list[tuple[str, str]] = []
    bodies: dict[str, BodyInfo] = {}


class ModelRoute(msgspec.Struct, frozen=True, array_like=True):
    """One way of a model's name: asked for at `path`, served by `provider` as `model`, because of `rule`.

    For a rule of the table, `path` is what it matches. `certain` is false for a fallback.
    """

    path: str
    provider: str
    model: str
    rule: str = ""
    certain: bool = True


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A piece of an answer's text. A new `block` starts a new paragraph; `title` names a tool."""

    block: int
    kind: SegmentKind
    text: str
    title: str = ""


class TextFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """Text that came since the viewer's last frame; `reset` says that it is all of it from the start."""

    id: str
    segments: list[Segment] = []
    reset: bool = False
    ended: bool = False


class LogView(msgspec.Struct, frozen=True, array_like=True):
    seq: int
    time: float
    level: str
    logger: str
    message: str
    exchange: str = ""


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """The figures of the status bar."""

    version: str = ""
    protocol: int = 1  # of a proxy that does not send it
    pid: int = 0
    host: str = ""
    port: int = 0
    started: float = 0.0
    live: int = 0
    total: int = 0
    errors: int = 0
    draining: bool = False
    ending: str = ""  # what asked the proxy to end, and when
    auth_required: bool = False
    token_file: str = ""  # has the token of this install, when it is the one that clients must send
    accounts: list[AccountView] = []
    waiting: int = 0  # permission requests
    agents: int = 0  # of SDK mode; `busy` of them work, `ready` wait in the pool
    busy: int = 0
    ready: int = 0
    refused: int = 0  # requests that the gate let not in; the latest one in words
    refusal: str = ""
    notices: list[str] = []
    history: str = ""  # why permission requests are not kept, where they should be
    project: str = ""  # what files of the project folder decide, because they were trusted


class WindowView(msgspec.Struct, frozen=True, array_like=True):
    """A limit of a plan: `used` in percent; times in seconds since the epoch, None when unknown."""

    name: str
    used: int
    resets: float | None = None
    fills: float | None = None


class AccountView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One account in words: provider, label, state (ok, expires 12m, missing ...). `alarm` is worth a notification."""

    provider: str
    label: str
    state: str
    ok: bool = False
    hint: str = ""
    windows: list[WindowView] = []
    alarm: str = ""
    unreachable: float | None = None  # its upstream does not answer, since then


class LoginView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A login under way (waiting), or how it ended (done, failed). `code` is for the device form."""

    state: Literal["waiting", "done", "failed"]
    url: str = ""
    code: str = ""
    port: int = 0
    message: str = ""


class AccountDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything about one account but its secrets. Times in seconds since the epoch."""

    view: AccountView
    source: str = ""
    expires: float | None = None
    renews: bool = False
    last_used: float | None = None
    served: int = 0
    plan_only: bool = False
    extra: Literal["", "off", "possible", "paid"] = ""
    aside: bool = False
    warning: str = ""
    problem: str = ""
    history: list[tuple[float, str]] = []
    login: LoginView | None = None


class ModelLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model and what it allows, in tokens."""

    id: str
    name: str = ""
    context: int = 0
    output: int = 0
    efforts: list[str] = []


class CodexView(msgspec.Struct, frozen=True, omit_defaults=True):
    """The Codex backend as it is set up: how instructions are put in, and the models with where their list is from."""

    base_url: str
    mode: str
    shape: str
    models: list[ModelLimits] = []
    models_from: str = ""
    models_at: float | None = None


class TestResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A connectivity test: the request as it was sent (secrets masked), and what came back."""

    method: str
    url: str
    headers: list[tuple[str, str]] = []
    body: str = ""
    status: int = 0
    seconds: float = 0.0
    answer: str = ""


class DetectionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an installed tool was seen to send. `before` is the capture that this one replaced, for a comparison."""

    tool: str
    state: str
    version: str = ""
    captured_version: str = ""
    captured: float | None = None
    headers: list[tuple[str, str]] = []
    instructions: str = ""
    shape: str = ""
    digest: str = ""
    model: str = ""
    file: str = ""
    before_version: str = ""
    before: str = ""
    problem: str = ""


class AgentView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Claude Code process of SDK mode. `age` and `idle` in seconds; `memory` in bytes, shared ones by its share."""

    id: int
    state: Literal["starting", "idle", "busy", "interrupting", "dead"]
    kind: Literal["session", "pool", "one turn"] = "session"
    session: str = ""
    cwd: str = ""
    model: str = ""
    mode: str = ""
    requests: int = 0
    age: float = 0.0
    idle: float = 0.0
    memory: int = 0
    waiting: int = 0
    exchange: str = ""
    pid: int = 0
    problem: str = ""


class SdkView(msgspec.Struct, frozen=True, omit_defaults=True):
    """SDK mode: its agents, which Claude Code they are, how the pool is set. `problem`: why there can be none."""

    agents: list[AgentView] = []
    cli: str = ""
    version: str = ""
    mode: str = ""
    pool: bool = False
    pool_size: int = 0
    ready: int = 0
    sessions: int = 0
    limit: int = 0
    problem: str = ""


class AskView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A permission request. `input` is JSON text, cut when `size` (bytes) says more.

    `masked`: a credential of ours is in it, and is not shown. `edited` is the input that was allowed in its place.
    `high` asks for the key twice; `preview` is what would become of a file, and shows the fields of the input that
    `covers` names in whole; `programs` are those that a command would run, as far as can be told. `digest` is the
    SHA-256 of the input in hexadecimal; `looks` counts how often it was looked at. Times are seconds since the epoch,
    to be shown; `left` is how many seconds there were for a decision when this was made: front ends count on by their
    own clocks.
    """

    id: str
    tool: str
    status: Literal["pending", "allowed", "denied", "expired", "cancelled"]
    source: str = ""
    client: str = ""
    session: str = ""
    cwd: str = ""
    model: str = ""
    reason: str = ""
    created: float = 0.0
    expires: float = 0.0
    left: float = 0.0
    ended: float | None = None
    by: str = ""
    message: str = ""
    exchange: str = ""
    agent: str = ""
    input: str = ""
    size: int = 0
    masked: bool = False
    notes: list[str] = []
    programs: list[str] = []
    high: bool = False
    preview: list[str] = []
    decider: str = ""
    covers: list[str] = []
    digest: str = ""
    edited: str = ""
    looks: int = 1


class AuditRow(msgspec.Struct, frozen=True):
    """A permission request that has ended. `asked` is in seconds since the epoch.

    `input` is the masked start of what was decided; where the user edited it, `original` is that of what was asked for.
    `digest` is the SHA-256 of the whole `input` as JSON, unmasked, in hexadecimal: a row can't be blinded.
    """

    id: str
    asked: float
    seconds: float
    source: str
    client: str
    session: str
    exchange: str
    cwd: str
    model: str
    tool: str
    input: str
    status: str
    by: str
    message: str
    decider: str = ""  # the facts of the process that decided
    original: str = ""
    digest: str = ""


class RuleView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule in force; `until` when it is temporary (`lent`). Times in seconds since the epoch, to be shown; `left` and
    `idle_left` are the seconds until these times when this was made: front ends count on by their own clocks.

    One for the session ends at `idle` when it is not used until then, and answers the process `asker` alone if it has
    one.

    `hits` and the `last` of them are told as far as the history goes, which begins with the proxy where none is kept.
    """

    rule: str
    action: Literal["allow", "ask", "deny"]
    project: str = ""
    session: str = ""
    hits: int = 0
    last: float = 0.0
    until: float | None = None
    lent: bool = False
    idle: float | None = None
    asker: int = 0
    left: float | None = None
    idle_left: float | None = None


class RuleProposal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rules that would have allowed `fits` of the last `of` permission requests.

    `offer` says in words what the tool itself would change for not having to ask again. `high`: the request is high
    risk, which no allow rule answers, and for which the tool offers nothing.
    """

    rules: list[str] = []
    fits: int = 0
    of: int = 0
    offer: str = ""
    high: bool = False


class Frame(msgspec.Struct, frozen=True, omit_defaults=True):
    """What changed since the viewer's last frame. An empty one is a heartbeat: the proxy lives.

    `ask_ids` names all questions that are shown now, in their order; without it `asks` are all of them.
    """

    revision: int = 0
    reset: bool = False
    status: Status | None = None
    rows: list[Row] = []
    gone: list[str] = []
    texts: list[TextFrame] = []
    detail: Detail | None = None
    logs: list[LogView] = []
    asks: list[AskView] | None = None
    ask_ids: list[str] | None = None


class Watch(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a viewer looks at. Frames hold nothing else. `answers` says whether a person can answer there."""

    rows: bool = True
    texts: list[str] = []
    detail: str = ""
    logs: bool = False
    hz: float = 4.0
    answers: bool = True
