"""A proxy for the screens that does what a test says: frames in, verbs recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ccproxy_tui.core.control.frames import (
    PROTOCOL,
    AccountDetail,
    AccountView,
    AgentView,
    AskView,
    AuditRow,
    BodyInfo,
    BodyPart,
    CodexView,
    Detail,
    DetectionView,
    Frame,
    LoginView,
    MarkView,
    ModelLimits,
    ModelRoute,
    NoteView,
    Row,
    RuleProposal,
    RuleView,
    SdkView,
    Status,
    TestResult,
    Watch,
    WindowView,
)
from ccproxy_tui.core.control.protocol import Control, ControlError, ControlLost
from ccproxy_tui.screens.ui.session import Ending

STARTED = 1_800_000_000.0


def make_row(number: int, **changes: Any) -> Row:
    """A row that looks like the real thing; every field can be changed."""
    clients = ("claude-code", "codex", "aider", "opencode", "anthropic-sdk")
    models = ("claude-sonnet-4-5-20250929", "claude-opus-4-1-20250805", "claude-haiku-4-5-20251001")
    values: dict[str, Any] = {
        "id": f"01M80SH6XM{number:06d}0100PAD0",
        "seq": number,
        "started": STARTED - 100 + number,
        "state": "200",
        "client": clients[number % len(clients)],
        "dialect": "anthropic_messages",
        "provider": "claude_api",
        "account": "max",
        "model": models[number % len(models)],
        "served": models[number % len(models)],
        "path": "/api/v1/messages",
        "stream": True,
        "status": 200,
        "ttft": 0.4 + number / 10,
        "rate": 40.0 + number,
        "tokens_in": 12_000 + number * 100,
        "cache_read": 11_000,
        "tokens_out": 100 * number,
        "bytes_in": 40_000,
        "bytes_out": 9_000,
        "events": 100 * number,
        "duration": 3.0,
        "end": "done",
    }
    return Row(**{**values, **changes})


def live_row(number: int, **changes: Any) -> Row:
    return make_row(
        number,
        **{
            "state": "live",
            "live": True,
            "age": 100.0 - number,
            "duration": None,
            "end": "",
            "tokens_in": 0,
            **changes,
        },
    )


STATUS = Status(
    protocol=PROTOCOL,
    version="0.1.0",
    pid=4242,
    host="127.0.0.1",
    port=8000,
    started=STARTED - 500,
    live=1,
    total=12,
    errors=1,
    accounts=[AccountView("claude", "max", "ok 3h12m", ok=True), AccountView("codex", "", "missing", hint="log in")],
)


def make_detail(row: Row) -> Detail:
    return Detail(
        row=row,
        method="POST",
        path=row.path,
        peer="127.0.0.1:50000",
        user_agent="claude-cli/2.1.197",
        upstream_method="POST",
        upstream_url="https://api.anthropic.com/v1/messages",
        upstream_status=200,
        calls=1,
        marks=[
            MarkView(0.0, "accepted", "POST /api/v1/messages"),
            MarkView(0.001, "body read", "40,000 bytes"),
            MarkView(0.002, "upstream asked", "https://api.anthropic.com/v1/messages"),
            MarkView(0.61, "first token"),
        ],
        upstream_format="openai_responses",
        notes=[
            NoteView("renamed", "tools[].name", "the target wants shorter names", 2, "mcp__server__tool"),
            NoteView("dropped", "top_k", "the Responses dialect has no such field"),
        ],
        request_headers=[("content-type", "application/json"), ("authorization", "[redacted]")],
        upstream_request_headers=[("anthropic-beta", "oauth-2025-04-20")],
        response_headers=[("request-id", "req_1")],
        bodies={
            "request": BodyInfo(40_000, 40_000),
            "upstream_request": BodyInfo(38_000, 38_000),
            "upstream_response": BodyInfo(9_000, 9_000),
            "response": BodyInfo(0, 0, same=True),
        },
    )


class FakeControl:
    """Gives out the frames that `push` puts in; `lose` ends the connection."""

    def __init__(self, *frames: Frame) -> None:
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue()
        for frame in frames:
            self._queue.put_nowait(frame)
        self.watches: list[Watch] = []
        self.calls: list[tuple[Any, ...]] = []
        self.cards: dict[str, AskView] = {}  # as they are when their credentials are shown
        self.details: dict[str, Detail] = {}
        self.bodies: dict[str, bytes] = {}
        self.entries: list[dict[str, Any]] = []
        self.refusal = ""
        self.offer = ""
        self.high = False
        self.login: LoginView | None = None

    def push(self, frame: Frame) -> None:
        self._queue.put_nowait(frame)

    def lose(self) -> None:
        self._queue.put_nowait(None)

    async def frames(self, watch: Watch) -> AsyncIterator[Frame]:
        self.watches.append(watch)
        while (frame := await self._queue.get()) is not None:
            yield frame
        raise ControlLost("the connection ended")

    async def look_at(self, watch: Watch) -> None:
        self.watches.append(watch)

    async def status(self) -> Status:
        return STATUS

    async def detail(self, exchange: str) -> Detail:
        if exchange not in self.details:
            raise ControlError("There is no such exchange (any more).")
        return self.details[exchange]

    async def body(self, exchange: str, part: BodyPart, offset: int = 0, limit: int = 1 << 20) -> bytes:
        self.calls.append(("body", exchange, part))
        return self.bodies.get(part, b"")

    async def stop_exchange(self, exchange: str) -> None:
        self.calls.append(("stop", exchange))
        if self.refusal:
            raise ControlError(self.refusal)

    async def shutdown(self, *, drain: bool) -> None:
        self.calls.append(("shutdown", drain))

    async def settings(self) -> list[dict[str, Any]]:
        return self.entries

    async def change_setting(self, key: str, value: str | None) -> str:
        self.calls.append(("set", key, value))
        if self.refusal:
            raise ControlError(self.refusal)
        return "in effect now (config.toml)"

    async def model_routes(self, name: str) -> list[ModelRoute]:
        self.calls.append(("models", name))
        if not name:
            return [
                ModelRoute("prefix claude", "claude_api", "same name"),
                ModelRoute("prefix gpt-", "codex", "same name"),
            ]
        return [
            ModelRoute("/v1", "codex", name, "prefix gpt-"),
            ModelRoute("/v1", "claude_api", "claude-opus-4-6", f"fallback of {name}", certain=False),
        ]

    async def accounts(self) -> list[AccountDetail]:
        login = self.login
        return [
            AccountDetail(
                AccountView(
                    "claude",
                    "max",
                    "ok 3h12m",
                    ok=True,
                    windows=[
                        WindowView("5h", 41, STARTED + 4000),
                        WindowView("7d", 93, None, STARTED + 500),
                    ],
                ),
                source="~/.claude/.credentials.json",
                expires=STARTED + 11_000,
                renews=True,
                last_used=STARTED,
                served=9,
                history=[(STARTED - 500, "renewed"), (STARTED - 100, "taken over from another program")],
                login=login,
            ),
            AccountDetail(
                AccountView("claude:work", "pro", "cooling 12m (too fast: claude-opus-4-6)"),
                source="~/repo.json",
                expires=STARTED + 11_000,
                renews=True,
                served=3,
                plan_only=True,
                extra="possible",
                warning="~/repo.json can be read by other users: chmod 600 ~/repo.json",
            ),
            AccountDetail(AccountView("codex", "", "missing", hint="log in"), renews=True, login=login),
        ]

    async def renew_account(self, provider: str) -> None:
        self.calls.append(("renew", provider))
        if self.refusal:
            raise ControlError(self.refusal)

    async def check_account(self, provider: str) -> str:
        self.calls.append(("check", provider))
        if self.refusal:
            raise ControlError(self.refusal)
        return "the login works; used: 5h 41%"

    async def set_account_aside(self, provider: str, *, aside: bool) -> None:
        self.calls.append(("aside", provider, aside))

    async def log_out(self, provider: str) -> str:
        self.calls.append(("log out", provider))
        return "~/.claude/.credentials.json"

    async def answer_permission(
        self, ask: str, *, allowed: bool, message: str = "", interrupt: bool = False, edited: Any = None
    ) -> None:
        self.calls.append(("answer ask", ask, allowed, message, interrupt, edited))
        if self.refusal:
            raise ControlError(self.refusal)

    async def propose_rules(self, ask: str) -> RuleProposal:
        return RuleProposal(["Bash(git status:*)"], 14, 200, self.offer, high=self.high)

    async def add_rules(self, ask: str, rules: list[str], *, action: str, scope: str, hours: float | None) -> None:
        self.calls.append(("rules", ask, rules, action, scope, hours))
        if self.refusal:
            raise ControlError(self.refusal)

    async def permission_card(self, ask: str, *, reveal: bool) -> AskView:
        self.calls.append(("card", ask, reveal))
        return self.cards[ask]

    async def permission_history(self, count: int) -> list[AuditRow]:
        one = AuditRow(
            "p1",
            STARTED,
            4.2,
            "claude-code",
            "claude-code",
            "s1",
            "e1",
            "/repo",
            "opus",
            "Bash",
            '{"command": "make"}',
            "allowed",
            "person",
            "",
        )
        by_rule = {"id": "p2", "asked": STARTED + 60, "seconds": 0.0, "status": "denied", "by": "rule Bash(rm\x1b:*)"}
        return [one, msgspec.structs.replace(one, **by_rule, message="Denied by the rule")]

    async def rules(self) -> list[RuleView]:
        return [
            RuleView("Bash(git diff:*)", "allow", hits=14, last=STARTED - 90),
            RuleView("Edit(src/**)", "allow", "/repo", hits=3, until=STARTED + 7200, left=7200, lent=True),
            RuleView(
                "Bash(rm\x1b:*)",
                "deny",
                session="s1",
                lent=True,
                until=STARTED + 28_000,
                idle=STARTED + 1800,
                left=28_000,
                idle_left=1800,
                asker=4242,
            ),
        ]

    async def remove_rule(self, rule: RuleView) -> None:
        self.calls.append(("remove rule", rule.rule))
        if self.refusal:
            raise ControlError(self.refusal)

    async def undo_rules(self) -> str:
        self.calls.append(("undo rules",))
        return "Bash(git diff:*) is back"

    async def extend_permission(self, ask: str, seconds: float) -> None:
        self.calls.append(("extend", ask, seconds))

    async def detections(self) -> list[DetectionView]:
        return [
            DetectionView(
                "claude",
                "from the cache",
                "2.1.197",
                captured_version="2.1.197",
                captured=STARTED - 90_000,
                headers=[("user-agent", "claude-cli/2.1.197"), ("x-api-key", "")],
                instructions="You are an agent.",
                shape="system",
                digest="0123456789ab",
                model="claude-opus-4-8",
                file="~/.cache/ccproxy/claude_headers_2.1.197.json",
            ),
            DetectionView(
                "codex",
                "stale: 0.168.0 was captured, 0.169.0 is installed",
                "0.169.0",
                captured_version="0.168.0",
                captured=STARTED - 500,
                headers=[("originator", "codex_exec"), ("authorization", "")],
                instructions="You are Codex.\nBe brief.\n",
                shape="developer",
                digest="ba9876543210",
                model="gpt-5.4",
                file="~/.cache/ccproxy/codex_headers_0.168.0.json",
                before_version="0.167.0",
                before="You are Codex.\nBe long.\n",
                problem="codex did not end within 20 s",
            ),
        ]

    async def refresh_detection(self, tool: str) -> DetectionView:
        self.calls.append(("detect", tool))
        if self.refusal:
            raise ControlError(self.refusal)
        return next(one for one in await self.detections() if one.tool == tool)

    async def clear_detection(self, tool: str) -> int:
        self.calls.append(("clear", tool))
        return 2

    async def sdk(self) -> SdkView:
        return SdkView(
            agents=[
                AgentView(
                    1,
                    "busy",
                    "session",
                    "refactor",
                    "/repo",
                    "claude-opus-5",
                    "default",
                    7,
                    754.0,
                    0.4,
                    171_000_000,
                    waiting=2,
                    exchange="e1",
                    pid=4711,
                ),
                AgentView(
                    2,
                    "idle",
                    "session",
                    "docs\x1b[2J",
                    "/repo/docs",
                    "claude-sonnet-5",
                    "plan",
                    3,
                    64.0,
                    21.0,
                    148_000_000,
                    pid=4712,
                    problem="it ended in the middle of its turn: error: out of memory",
                ),
                AgentView(3, "idle", "pool", "", "/repo", "claude-sonnet-5", "default", 0, 12.0, 12.0, 131_000_000),
                AgentView(4, "starting", "pool", "", "/repo", "claude-sonnet-5", "default", 0, 0.2, 0.2),
            ],
            cli="~/.local/bin/claude",
            version="2.1.330",
            mode="forward",
            pool=True,
            pool_size=3,
            ready=1,
            sessions=5,
            limit=20,
        )

    async def warm_agents(self) -> None:
        self.calls.append(("warm",))

    async def interrupt_agent(self, agent: int) -> None:
        self.calls.append(("interrupt agent", agent))
        if self.refusal:
            raise ControlError(self.refusal)

    async def end_agent(self, agent: int, *, again: bool) -> None:
        self.calls.append(("end agent", agent, again))

    async def codex(self) -> CodexView:
        return CodexView(
            "https://chatgpt.com/backend-api/codex",
            "append",
            "auto",
            [ModelLimits("gpt-5.4", "GPT-5.4", 272_000, 128_000, ["low", "medium", "high"])],
            "the Codex CLI's cache",
            STARTED - 7200,
        )

    async def test_codex(self) -> TestResult:
        self.calls.append(("test codex",))
        if self.refusal:
            raise ControlError(self.refusal)
        return TestResult(
            "POST",
            "https://chatgpt.com/backend-api/codex/responses",
            [("authorization", "[redacted]"), ("originator", "ccproxy-tui")],
            '{"model":"gpt-5.4","input":[]}',
            200,
            0.42,
            "a whole answer",
        )

    async def start_login(self, provider: str) -> LoginView:
        self.calls.append(("login", provider))
        self.login = LoginView("waiting", "https://claude.ai/oauth/authorize?code=true&client_id=9d1c", port=54545)
        return self.login

    async def answer_login(self, provider: str, answer: str) -> None:
        self.calls.append(("answer", provider, answer))
        self.login = LoginView("done", message="logged in")

    async def cancel_login(self, provider: str) -> None:
        self.calls.append(("cancel login", provider))

    async def close(self) -> None:
        self.calls.append(("close",))


class FakeSource:
    """Hands out controls in order; the last one again and again."""

    socket = ""

    def __init__(self, *controls: FakeControl, owned: bool = True) -> None:
        self.controls = list(controls)
        self.owned = owned
        self.connections = 0
        self.released = False
        self.stopped = False
        self.how_it_ends = Ending("the proxy was killed by SIGKILL")

    async def connect(self) -> Control:
        self.connections += 1
        return self.controls.pop(0) if len(self.controls) > 1 else self.controls[0]

    async def ending(self) -> Ending:
        return self.how_it_ends

    def start_here(self) -> None:
        self.owned = True

    async def found_again(self) -> bool:
        return False

    def release(self) -> None:
        self.released = True

    def abandon(self, outcome: str) -> None:
        self.stopped = outcome == "stop"

    async def stop(self, seconds: float) -> None:
        self.stopped = True
