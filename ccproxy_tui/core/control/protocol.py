"""The one door for a person: what a front end may see and do. Screens know this Protocol and nothing behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from ccproxy_tui.core.control.frames import (
    PROTOCOL,
    AccountDetail,
    AskView,
    AuditRow,
    BodyPart,
    CodexView,
    Detail,
    DetectionView,
    Frame,
    LoginView,
    ModelRoute,
    RuleProposal,
    RuleView,
    SdkView,
    Status,
    TestResult,
    Watch,
)


class ControlError(Exception):
    """A verb was refused, or the proxy can't be reached. The message is for the person."""


class ControlLost(ControlError):
    """The connection to the proxy ended."""


def differs(protocol: int, port: int) -> str:
    """Return what to do about a proxy that speaks another protocol than this program; nothing when it is the same."""
    if protocol == PROTOCOL:
        return ""
    seen = f"The proxy on {port} is {'older' if protocol < PROTOCOL else 'newer'} than these screens"
    if protocol < PROTOCOL:
        return f"{seen}: not everything can be shown. `ccproxy-tui stop {port}`, then start it again."
    return f"{seen}: not everything can be shown. Quit, and start them again."


class Control(Protocol):
    """Verbs and subscriptions. Every verb raises ControlError with a readable reason."""

    def frames(self, watch: Watch) -> AsyncIterator[Frame]:
        """Frames of what `watch` names, until the connection ends (ControlLost) or the iterator is closed."""
        ...

    async def look_at(self, watch: Watch) -> None:
        """Change what the running `frames` shows."""
        ...

    async def status(self) -> Status: ...

    async def detail(self, exchange: str) -> Detail: ...

    async def body(self, exchange: str, part: BodyPart, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """A piece of a kept body, its secrets masked."""
        ...

    async def stop_exchange(self, exchange: str) -> None: ...

    async def shutdown(self, *, drain: bool) -> None:
        """Stop the proxy: at once, or after its live streams (bounded by its settings)."""
        ...

    async def settings(self) -> list[dict[str, Any]]:
        """Every setting as a `core.settings.Entry`, as a mapping."""
        ...

    async def change_setting(self, key: str, value: str | None) -> str:
        """Write a setting (None removes it) to the settings file. Says when it takes effect."""
        ...

    async def model_routes(self, name: str) -> list[ModelRoute]:
        """Who serves the model `name`, on the bare /v1 and on each provider's path; the table for an empty name."""
        ...

    async def accounts(self) -> list[AccountDetail]: ...

    async def renew_account(self, provider: str) -> None:
        """Renew its token now."""
        ...

    async def check_account(self, provider: str) -> str:
        """Ask the provider, at no cost, whether it takes the credential and how the plan is. What it says."""
        ...

    async def set_account_aside(self, provider: str, *, aside: bool) -> None:
        """Let it serve nothing, or let it serve again at once (which ends every cooldown, too)."""
        ...

    async def log_out(self, provider: str) -> str:
        """Take the login out of its file. Where that is."""
        ...

    async def answer_permission(
        self, ask: str, *, allowed: bool, message: str = "", interrupt: bool = False, edited: Any = None
    ) -> None:
        """Answer a permission request; only the first answer counts. `edited` replaces the tool's input."""
        ...

    async def propose_rules(self, ask: str) -> RuleProposal:
        """Rules that would allow a permission request, and how many of the last ones they fit."""
        ...

    async def add_rules(self, ask: str, rules: list[str], *, action: str, scope: str, hours: float | None) -> str:
        """Rules for the request's session, its project, or the user; they settle the request, too."""
        ...

    async def permission_card(self, ask: str, *, reveal: bool) -> AskView:
        """A permission request as it is shown; `reveal` leaves credentials of ours unmasked."""
        ...

    async def permission_history(self, count: int) -> list[AuditRow]:
        """Permission requests that have ended, the latest first."""
        ...

    async def rules(self) -> list[RuleView]:
        """Every rule in force."""
        ...

    async def remove_rule(self, rule: RuleView) -> None: ...

    async def undo_rules(self) -> str:
        """Take back the last change of the rules. What came of it."""
        ...

    async def extend_permission(self, ask: str, seconds: float) -> None:
        """Give a permission request that much time from now on."""
        ...

    async def detections(self) -> list[DetectionView]:
        """What the installed command-line tools were seen to send."""
        ...

    async def refresh_detection(self, tool: str) -> DetectionView:
        """Capture it anew. Bounded in time."""
        ...

    async def clear_detection(self, tool: str) -> int:
        """Forget its captures. How many files are gone."""
        ...

    async def codex(self) -> CodexView: ...

    async def test_codex(self) -> TestResult:
        """One small request to the Codex backend."""
        ...

    async def sdk(self) -> SdkView:
        """The agents of SDK mode."""
        ...

    async def warm_agents(self) -> None:
        """Fill the pool."""
        ...

    async def interrupt_agent(self, agent: int) -> None:
        """End its turn; its session goes on."""
        ...

    async def end_agent(self, agent: int, *, again: bool) -> None:
        """End its process; `again` starts a new one for its conversation."""
        ...

    async def start_login(self, provider: str) -> LoginView:
        """Start a login; it ends by itself when the browser comes back, or by `answer_login`."""
        ...

    async def answer_login(self, provider: str, answer: str) -> None:
        """Give a waiting login the code, or the address that the browser ended at."""
        ...

    async def cancel_login(self, provider: str) -> None: ...

    async def close(self) -> None: ...
