"""A question "may this tool run?", and the answer to it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ccproxy_tui.core.limits import HOOK_SECONDS
from ccproxy_tui.core.system.processes import Process

Source = Literal["mcp", "rest", "script", "claude-code", "codex", "opencode", "sdk"]
Status = Literal["pending", "allowed", "denied", "expired", "cancelled"]
# Its client ends a hook after a time of its own; the answer needs a moment to get there.
_LONGEST_OF_HOOK = HOOK_SECONDS - 5.0
_LONGEST = 3600.0


class PermissionRequest(msgspec.Struct, frozen=True):
    """`input` is any JSON that the tool takes. What a source does not tell is empty."""

    tool: str
    input: Any
    source: Source
    client: str = ""
    session: str = ""
    cwd: str = ""
    model: str = ""
    reason: str = ""
    tool_use: str = ""
    suggestions: list[Any] = []
    exchange: str = ""  # the one that caused it, when it came through this proxy
    agent: str = ""  # the sub-agent that wants it
    asker: Process | None = None  # the process of the agent, where the server knows it; never from the request

    @property
    def longest(self) -> float:
        """The most seconds that it can wait for a decision, all extensions included."""
        return _LONGEST_OF_HOOK if self.source in ("claude-code", "codex") else _LONGEST


class FileState(msgspec.Struct, frozen=True):
    """What was seen of a file when its difference was made; None where it was not there."""

    path: str
    seen: tuple[int, int, int, int] | None


class Look(msgspec.Struct, frozen=True):
    """What there is to see of a permission request: notes, a difference, and the start of its input as JSON.

    `programs` are those that a command runs, as far as can be told. `covers` names the fields of the input that the
    difference shows in whole, and `files` are those that it was made from. `digest` is the SHA-256 of the input as JSON
    in hexadecimal, `size` its bytes.
    """

    preview: list[str] = []
    notes: list[str] = []
    programs: list[str] = []
    covers: list[str] = []
    shown: bytes = b"{}"
    size: int = 2
    digest: str = ""
    files: list[FileState] = []


class Decision(msgspec.Struct, frozen=True):
    """`input` replaces the tool's own when it is set. `message` is for the model, on a denial.

    `by` is set by the server, never by who answers: "you (screens, pts/3)", "rule Bash(ls:*)", "time-out".
    """

    allowed: bool
    by: str
    input: Any = None
    message: str = ""
    interrupt: bool = False
    updates: list[Any] = []
    decider: str = ""  # the facts of the process that decided
