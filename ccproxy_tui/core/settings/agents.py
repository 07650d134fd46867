"""The settings of Claude's own tool: how it is detected, and how SDK mode runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ccproxy_tui.core.settings.section import LIVE, Section, StrList


class CodeOptions(Section):
    """What every Claude Code of SDK mode is started with. A request may narrow it, and never widen it."""

    cwd: Path | None = Field(None, description="Folder that agents work in; default: where the proxy was started.")
    model: str = Field(
        "", description="Model to keep agents ready for; the model of a request always takes precedence."
    )
    permission_mode: Literal["", "default", "plan", "dontAsk", "auto", "acceptEdits", "bypassPermissions"] = Field(
        "", description="Permission mode of agents; empty: Claude Code's own settings."
    )
    allowed_tools: StrList = Field(
        default_factory=list, description="Tools that agents may use without a permission request."
    )
    disallowed_tools: StrList = Field(default_factory=list, description="Tools that agents do not have.")
    max_turns: int = Field(
        0, ge=0, le=10_000, description="Maximum number of model turns for one request; 0: no limit."
    )
    max_thinking_tokens: int = Field(0, ge=0, le=200_000, description="Budget for thinking; 0: Claude Code's own.")
    append_system_prompt: str = Field("", description="Text after Claude Code's own system prompt.")
    permission_prompt_tool_name: str = Field(
        "",
        description="MCP tool that receives permission requests instead of this proxy; our own is "
        "mcp__ccproxy__check_permission.",
    )
    mcp_servers: dict[str, Any] = Field(default_factory=dict, description="MCP servers of agents, by name.")
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables of agents.")
    keep_env: StrList = Field(
        default_factory=list,
        description="Environment variables to pass to agents although they contain a key, such as GITHUB_TOKEN.",
    )


class SessionPool(Section):
    max_sessions: int = Field(
        20,
        ge=1,
        le=1000,
        description="Maximum number of agents at the same time; idle agents are ended to make room.",
        json_schema_extra=LIVE,
    )
    session_ttl: float = Field(
        3600, ge=60, le=86_400, description="Seconds after which a session gets a new process.", json_schema_extra=LIVE
    )
    idle_threshold: float = Field(
        600,
        ge=5,
        le=86_400,
        description="Seconds after which the process of an idle session ends; its conversation can be resumed.",
        json_schema_extra=LIVE,
    )
    cleanup_interval: float = Field(
        30, ge=1, le=3600, description="Seconds between checks for idle and ended agents.", json_schema_extra=LIVE
    )
    stream_first_chunk_timeout: float = Field(
        120,
        ge=1,
        le=3600,
        description="Seconds without output of the model after which a turn fails.",
        json_schema_extra=LIVE,
    )
    stream_ongoing_timeout: float = Field(
        300,
        ge=5,
        le=7200,
        description="Seconds without output in a turn, while no tool runs, after which it is interrupted.",
        json_schema_extra=LIVE,
    )
    stream_interrupt_timeout: float = Field(
        5, ge=1, le=60, description="Seconds that an agent has to end an interrupted turn.", json_schema_extra=LIVE
    )
    acquire_timeout: float = Field(
        30, ge=0, le=600, description="Seconds that a request waits for a free agent.", json_schema_extra=LIVE
    )


class SdkPool(Section):
    enabled: bool = Field(
        False, description="Keep agents ready for requests without a session.", json_schema_extra=LIVE
    )
    size: int = Field(3, ge=1, le=20, description="Number of agents to keep ready.", json_schema_extra=LIVE)
    idle_seconds: float = Field(
        900,
        ge=10,
        le=86_400,
        description="Seconds without such a request after which only one agent is kept ready.",
        json_schema_extra=LIVE,
    )
    health_check_interval: float = Field(
        60, ge=1, le=3600, description="Seconds between checks that the ready agents respond.", json_schema_extra=LIVE
    )


class Claude(Section):
    detection: bool = Field(
        True, description="Capture what the installed CLI sends (it is run against a local server only)."
    )
    cli_path: Path | None = Field(
        None, description="The claude to use; default: from the PATH (SDK mode: the one that comes with the SDK)."
    )
    sdk_message_mode: Literal["forward", "formatted", "ignore"] = Field(
        "forward",
        description="How SDK mode reports tool use of agents: blocks of their own, text with XML tags, or not at all.",
        json_schema_extra=LIVE,
    )
    pretty_format: bool = Field(True, description="Indent the text of the mode formatted.", json_schema_extra=LIVE)
    sdk_system_prompt: Literal["append", "replace"] = Field(
        "append",
        description="Where a request's system prompt goes in SDK mode: after Claude Code's own, or in its place.",
        json_schema_extra=LIVE,
    )
    request_cwd: bool = Field(
        False,
        description="Let a request choose the folder of its agent, below that of the settings (x-ccproxy-cwd).",
        json_schema_extra=LIVE,
    )
    builtin_permissions: bool = Field(
        True, description="Send permission requests of agents to the Approvals screen; if off, they are denied."
    )
    code_options: CodeOptions = CodeOptions()
    sdk_session_pool: SessionPool = SessionPool()
    sdk_pool: SdkPool = SdkPool()
