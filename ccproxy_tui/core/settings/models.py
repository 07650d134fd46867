"""The settings: one model per TOML table. Descriptions are what the README, the schema and the Settings screen show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ccproxy_tui.core.model_map import DEFAULT_RULES, DefaultRule
from ccproxy_tui.core.permissions.rules import BadRule, parse_rule
from ccproxy_tui.core.settings.agents import Claude
from ccproxy_tui.core.settings.section import LIVE, Reachable, Section, StrList, check_url


class Server(Section):
    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs security.auth_token.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    network_calls: bool = Field(
        True,
        description="Let the proxy make requests of its own (such as for lists of models), besides those of clients.",
    )
    bypass_mode: bool = Field(False, description="Answer every provider from the built-in demo (nothing goes out).")
    max_body_mb: int = Field(
        64, ge=1, le=1024, description="Largest request body, after decompression.", json_schema_extra=LIVE
    )
    client_memory_mb: int = Field(
        256,
        ge=1,
        le=65_536,
        description="Memory for large bodies of one client at the same time; further bodies wait, then get a 429.",
        json_schema_extra=LIVE,
    )
    memory_mb: int = Field(
        512,
        ge=1,
        le=65_536,
        description="The same for all clients together. Processing a body may take 4 times its size.",
        json_schema_extra=LIVE,
    )
    max_header_kb: int = Field(64, ge=4, le=1024, description="Largest request head (request line and headers).")
    head_seconds: float = Field(30, gt=0, le=600, description="How long a client may take to send a request head.")
    body_seconds: float = Field(
        600, gt=0, le=86_400, description="How long a client may take to send a request body.", json_schema_extra=LIVE
    )
    keepalive_seconds: float = Field(
        15,
        ge=0,
        le=300,
        description="Silence of an upstream after which the client gets a ping; 0 turns pings off.",
        json_schema_extra=LIVE,
    )
    stall_seconds: float = Field(
        20,
        ge=1,
        le=3600,
        description="Silence after which a stream is shown as stalled.",
        json_schema_extra=LIVE,
    )
    drain_seconds: float = Field(5, ge=0, le=600, description="How long a stopping proxy lets live streams finish.")
    on_hangup: Literal["keep", "stop"] = Field(
        "keep",
        description="What the proxy does when its terminal closes: keep running (you can attach later) or stop.",
    )
    idle_stop_hours: float = Field(
        12,
        ge=0,
        le=720,
        description="A kept proxy with no front end and no request for this long stops; 0: never.",
    )

    @field_validator("host")
    @classmethod
    def _host_is_set(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must name an address, such as 127.0.0.1 or 0.0.0.0")
        return value.strip()


class Security(Section):
    auth_token: SecretStr | None = Field(
        None,
        description="Token that clients must send (Bearer or x-api-key). Without it they get /health/live, and "
        "/health without the accounts.",
    )
    peer_check: Literal["uid", "token"] = Field(
        "uid",
        description="Who may connect on loopback while auth_token is not set. uid: programs of the user that runs the "
        "proxy (Linux; elsewhere as token). token: clients that send the token of this install, which "
        "`ccproxy-tui connect` gives to tools.",
        json_schema_extra=LIVE,
    )
    allowed_hosts: StrList = Field(
        default_factory=list,
        description="Host names that requests may carry besides loopback, the machine's own name and the bind address "
        "(names of a container network, `host.docker.internal`, a reverse proxy's).",
        json_schema_extra=LIVE,
    )

    @property
    def token(self) -> str:
        """The configured token, or nothing."""
        return self.auth_token.get_secret_value() if self.auth_token is not None else ""

    @field_validator("auth_token")
    @classmethod
    def _token_is_usable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        token = value.get_secret_value()
        if not token.isascii() or any(char.isspace() for char in token):
            raise ValueError("must be ASCII without spaces, so that it fits into a header")
        return value


class Cors(Section):
    origins: StrList = Field(
        default_factory=list,
        description="Web origins that may call the proxy from a browser; none by default.",
    )
    origin_regex: str | None = Field(None, description="Pattern of further origins (whole match).")
    credentials: bool = Field(False, description="Let those origins send cookies and authorization.")
    methods: StrList = Field(default_factory=lambda: ["GET", "POST", "OPTIONS"], description="Methods they may use.")
    headers: StrList = Field(
        default_factory=lambda: [
            "authorization",
            "content-type",
            "x-api-key",
            "anthropic-version",
            "anthropic-beta",
        ],
        description="Request headers they may send.",
    )
    expose_headers: StrList = Field(default_factory=list, description="Response headers they may read.")
    max_age: int = Field(600, ge=0, description="Seconds a browser may remember a preflight.")


class Logging(Section):
    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level that is logged."
    )
    format: Literal["auto", "rich", "plain", "json"] = Field(
        "auto", description="Format of the lines that `serve` prints: json; every other value prints plain text."
    )
    file: Path | None = Field(None, description="File for JSON log lines (created with mode 0600, rotated at 10 MB).")

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class Http(Section):
    connect_timeout: float = Field(10, gt=0, le=300, description="Seconds to reach an upstream.")
    read_timeout: float = Field(
        600, gt=0, le=7200, description="Seconds without data from an upstream after which an exchange fails."
    )
    max_connections: int = Field(1000, ge=1, le=100_000, description="Connections to one provider at the same time.")
    keepalive_expiry: float = Field(60, ge=0, le=3600, description="Seconds an unused upstream connection is kept.")
    proxy: str | None = Field(
        None,
        description="Forward proxy for upstream traffic; default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.",
    )
    ca_bundle: Path | None = Field(
        None, description="CA file for upstream TLS; default: SSL_CERT_FILE, REQUESTS_CA_BUNDLE."
    )
    ssl_verify: bool = Field(True, description="Verify upstream certificates (SSL_VERIFY=false is honoured too).")


class ClaudeOAuth(Section):
    authorize_url: str = Field(
        "https://claude.ai/oauth/authorize", description="Authorization endpoint, opened in a browser."
    )
    token_url: str = Field("https://console.anthropic.com/v1/oauth/token", description="Token endpoint.")
    client_id: str = Field("9d1c250a-e61b-44d9-88ed-5944d1962f5e", description="The OAuth client.")


class CodexOAuth(Section):
    authorize_url: str = Field(
        "https://auth.openai.com/oauth/authorize", description="Authorization endpoint, opened in a browser."
    )
    token_url: str = Field("https://auth.openai.com/oauth/token", description="Token endpoint.")
    client_id: str = Field("app_EMoamEEZ73f0CkXaXp7hrann", description="The OAuth client.")


class CopilotOAuth(Section):
    device_url: str = Field("https://github.com/login/device/code", description="Where a device login starts.")
    token_url: str = Field("https://github.com/login/oauth/access_token", description="Where a device login ends.")
    copilot_token_url: str = Field(
        "https://api.github.com/copilot_internal/v2/token", description="Endpoint for Copilot tokens."
    )
    user_url: str = Field(
        "https://api.github.com/copilot_internal/user", description="Endpoint for the plan and its usage."
    )
    client_id: str = Field("Iv1.b507a08c87ecfe98", description="The OAuth client.")


class Pooled(Reachable):
    """A provider with logins."""

    accounts: dict[str, Path] = Field(
        default_factory=dict,
        description="More accounts, by label: credential files in the format of the provider's command-line tool.",
    )
    strategy: Literal["sticky", "failover", "round_robin", "soonest_reset"] = Field(
        "sticky",
        description="Which of several accounts serves a request: the one that the session used before, the first "
        "available one, each in turn, or the one whose quota window resets first.",
        json_schema_extra=LIVE,
    )

    @field_validator("accounts")
    @classmethod
    def _labels_are_words(cls, value: dict[str, Path]) -> dict[str, Path]:
        for label in value:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,30}", label):
                raise ValueError(f"{label!r} can't be a label: use small letters, digits, - and _")
        return value


class ClaudeApiProvider(Pooled):
    enabled: bool = Field(True, description="Serve /api and /claude.")
    base_url: str = Field("https://api.anthropic.com", description="Where Anthropic's API is reached.")
    api_key: SecretStr | None = Field(
        None, description="API key to use instead of an OAuth account (ANTHROPIC_API_KEY style)."
    )
    system_prompt_injection_mode: Literal["none", "minimal", "full"] = Field(
        "none",
        description="With an OAuth account: do not change the system prompt, or add Claude Code's identity before it "
        "when it is missing (full: the whole prompt that was captured from the installed CLI).",
        json_schema_extra=LIVE,
    )
    oauth: ClaudeOAuth = ClaudeOAuth()

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return check_url(value)


class ClaudeSdkProvider(Section):
    enabled: bool = Field(True, description="Serve /sdk and /claude/sdk: Claude Code's own agent.")


class CodexProvider(Pooled):
    enabled: bool = Field(True, description="Serve /codex.")
    base_url: str = Field(
        "https://chatgpt.com/backend-api/codex", description="Where ChatGPT's Codex backend is reached."
    )
    api_base_url: str = Field(
        "https://api.openai.com/v1", description="Where OpenAI's API is reached, when auth.json holds an API key alone."
    )
    oauth: CodexOAuth = CodexOAuth()

    @field_validator("base_url", "api_base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return check_url(value)


class CopilotProvider(Pooled):
    enabled: bool = Field(True, description="Serve /copilot.")
    base_url: str = Field("", description="Where GitHub Copilot is reached; default: the address in its token.")
    integration_id: str = Field("vscode-chat", description="Integration id sent to Copilot (required).")
    editor_version: str = Field("", description="Editor version sent to Copilot; default: the name of this program.")
    oauth: CopilotOAuth = CopilotOAuth()

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return check_url(value) if value else ""


class CompatibleProvider(Reachable):
    enabled: bool = Field(True, description="Serve it below /NAME.")
    base_url: str = Field(description="Its address, as the vendor's SDK takes it.")
    format: Literal["anthropic_messages", "openai_chat", "openai_responses"] = Field(
        "openai_chat", description="The dialect that it speaks."
    )
    api_key: SecretStr | None = Field(None, description="Its key; empty if the server needs none.")
    key_env: str = Field("", description="The environment variable that holds the key, instead of api_key.")
    key_ring: str = Field(
        "", description="The keychain entry that holds the key, as service/user (needs the package keyring)."
    )
    auto_cache: bool = Field(True, description="The server accepts Anthropic's cache marks.")

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return check_url(value)


# First parts of paths that are ours.
RESERVED = frozenset(("api", "claude", "sdk", "codex", "copilot", "demo", "v1", "health", "control", "oauth", "mcp"))
RESERVED |= {"permissions", "hooks", "metrics", "logs", "dashboard"}


class DemoProvider(Section):
    enabled: bool = Field(True, description="Serve /demo, the built-in simulated provider.")
    seed: int = Field(7, description="Seed of the generated answers.")
    speed: float = Field(1.0, gt=0, le=1000, description="Speed factor.")
    asks: bool = Field(
        True, description="Let a client of `demo` send permission requests; nothing is run.", json_schema_extra=LIVE
    )


class Accounts(Section):
    plan_only: StrList = Field(
        default_factory=list,
        description="Accounts (claude, claude:work, codex, ...; * for all) that stop where paid use beyond their plan "
        "would begin.",
        json_schema_extra=LIVE,
    )
    quota_alarms: list[int] = Field(
        default_factory=lambda: [80, 95],
        description="Shares of a plan's window, in percent, at which a warning is given.",
        json_schema_extra=LIVE,
    )
    hold_seconds: float = Field(
        0,
        ge=0,
        le=6 * 3600,
        description="How long a request may wait, kept alive with pings, for an account to become available; 0: never.",
        json_schema_extra=LIVE,
    )

    @field_validator("quota_alarms")
    @classmethod
    def _are_percent(cls, value: list[int]) -> list[int]:
        if any(not 1 <= share <= 100 for share in value):
            raise ValueError("must be percent: numbers from 1 to 100")
        return sorted(value)


class Providers(Section):
    claude_api: ClaudeApiProvider = ClaudeApiProvider()
    claude_sdk: ClaudeSdkProvider = ClaudeSdkProvider()
    codex: CodexProvider = CodexProvider()
    copilot: CopilotProvider = CopilotProvider()
    demo: DemoProvider = DemoProvider()
    compatible: dict[str, CompatibleProvider] = Field(
        default_factory=dict,
        description="Servers by name, each a table: base_url, format, api_key, key_env or key_ring (see the README).",
    )

    @field_validator("compatible")
    @classmethod
    def _names_are_paths(cls, value: dict[str, CompatibleProvider]) -> dict[str, CompatibleProvider]:
        for name in value:
            if name in RESERVED or not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
                raise ValueError(f"{name!r} can't be a path: use small letters, digits, - and _, and no name of ours")
        return value


class Codex(Section):
    system_prompt_injection_mode: Literal["override", "append", "disabled"] = Field(
        "disabled",
        description="How the captured instructions of the Codex CLI are used for other clients: put before the "
        "client's own, after them, or left out. Requests of Codex itself are not changed.",
        json_schema_extra=LIVE,
    )
    injection_by_model: dict[str, Literal["override", "append", "disabled"]] = Field(
        default_factory=dict,
        description="The same by the start of a model's name; the longest match applies.",
        json_schema_extra=LIVE,
    )
    instructions_shape: Literal["auto", "instructions", "developer"] = Field(
        "auto",
        description="Where they are put: the field of that name, a developer message, or as the CLI does it.",
        json_schema_extra=LIVE,
    )
    header_override_enabled: bool = Field(
        True,
        description="Let a request choose its mode by the header x-ccproxy-codex-instructions.",
        json_schema_extra=LIVE,
    )
    propagate_unsupported_params: bool = Field(
        False,
        description="Send parameters that the backend is known to refuse, instead of leaving them out.",
        json_schema_extra=LIVE,
    )
    enable_dynamic_model_info: bool = Field(
        True, description="Get models and limits from the backend, or from the CLI's cache.", json_schema_extra=LIVE
    )
    max_output_tokens_fallback: int = Field(
        8192, ge=1, le=32768, description="Longest output of a model whose limit is unknown.", json_schema_extra=LIVE
    )
    local_history: bool = Field(
        True,
        description="Remember answers in memory for previous_response_id, which the backend does not.",
        json_schema_extra=LIVE,
    )
    websocket: bool = Field(
        True, description="Accept Responses over WebSocket; if off, clients use HTTP.", json_schema_extra=LIVE
    )
    upstream_websocket: Literal["auto", "off"] = Field(
        "auto",
        description="Ask the backend over its own WebSocket for clients that came by one; HTTP where it refuses.",
        json_schema_extra=LIVE,
    )
    verbose_logging: bool = Field(False, description="Log how each request is built.", json_schema_extra=LIVE)
    detection: bool = Field(
        True, description="Capture what the installed CLI sends (it is run against a local server only)."
    )
    cli_path: Path | None = Field(None, description="The codex to use; default: from the PATH.")


class PermissionRule(Section):
    """One line of `permissions.rules`."""

    rule: str = Field(
        min_length=1, description="Rule in the syntax of Claude Code: Bash(git diff:*), Edit(src/**), mcp__server."
    )
    action: Literal["allow", "ask", "deny"] = "allow"
    project: str = Field("", description="Only below this folder.")

    @model_validator(mode="after")
    def _can_be_read(self) -> PermissionRule:
        try:
            parse_rule(self.rule, self.action)
        except BadRule as problem:
            raise ValueError(str(problem)) from None
        return self


class Permissions(Section):
    rules: list[PermissionRule] = Field(
        default_factory=list,
        description="Rules that decide permission requests: rule, action (allow, ask, deny), project (see the README).",
        json_schema_extra=LIVE,
    )
    timeout_seconds: float = Field(
        60,
        ge=1,
        le=600,
        description="How long a permission request waits for a decision; then it is denied, or the tool asks you.",
        json_schema_extra=LIVE,
    )
    without_front_end: Literal["rules", "deny", "wait"] = Field(
        "rules",
        description="What happens to a permission request while no front end is connected: rules decide, and without "
        "a matching rule it is denied; it is always denied; or it waits for a front end.",
        json_schema_extra=LIVE,
    )
    deciders: Literal["terminal", "no_agent", "any"] = Field(
        "terminal",
        description="Which of your processes may decide permission requests and change rules, settings and accounts: "
        "those at a terminal that no agent started; also those without a terminal (bridges, services); or any.",
    )
    session_rule_idle_minutes: float = Field(
        30,
        gt=0,
        le=1440,
        description="A rule for the session ends when no permission request has matched it for this long.",
        json_schema_extra=LIVE,
    )
    session_rule_hours: float = Field(
        8,
        gt=0,
        le=168,
        description="A rule for the session ends at the latest after this long.",
        json_schema_extra=LIVE,
    )


class History(Section):
    enabled: bool = Field(
        False, description="Keep permission requests and decisions in history.duckdb in the data folder."
    )
    days: float = Field(90, ge=1, le=3650, description="How long permission requests are kept.")


class ModelRule(Section):
    """One line of the model table."""

    match: str = Field(min_length=1, description="A model's id, or a part or pattern of it.")
    kind: Literal["exact", "prefix", "suffix", "regex"] = "exact"
    provider: str = Field("", description="Provider that serves it; empty: the provider of the request's path.")
    target: str = Field("", description="The provider's name for the model; empty: the same name.")
    fallbacks: StrList = Field(default_factory=list, description="Models (or provider/model) to try after it.")
    notes: str = ""

    @model_validator(mode="after")
    def _is_pattern(self) -> ModelRule:
        if self.kind == "regex":
            try:
                re.compile(self.match).sub(self.target, "")
            except (re.error, IndexError) as error:
                raise ValueError(f"match is not a regular expression: {error}") from None
        return self


class Models(Section):
    rules: list[ModelRule] = Field(
        default_factory=list,
        description="Model table, before the built-in one (`ccproxy-tui models` shows both): match, kind (exact, "
        "prefix, suffix, regex), provider, target, fallbacks.",
        json_schema_extra=LIVE,
    )
    defaults: bool = Field(True, description="Use the built-in model table after your own.", json_schema_extra=LIVE)
    limit_max_tokens: bool = Field(
        False, description="Lower max_tokens to what the model allows, instead of an error.", json_schema_extra=LIVE
    )
    max_tokens: dict[str, int] = Field(
        default_factory=dict,
        description="Longest answers by the start of a model's name, before the built-in limits.",
        json_schema_extra=LIVE,
    )
    auto_cache: bool = Field(
        True,
        description="Let Anthropic cache the prompts of converted requests (clients of OpenAI's dialects expect it).",
        json_schema_extra=LIVE,
    )

    def table(self) -> list[ModelRule | DefaultRule]:
        return [*self.rules, *(DEFAULT_RULES if self.defaults else ())]


class Ui(Section):
    theme: str = Field(
        "auto",
        description="dark, light, ansi, mono, any Textual theme, or auto (from the terminal).",
        json_schema_extra=LIVE,
    )
    symbols: Literal["unicode", "ascii"] = Field(
        "unicode",
        description="ascii draws frames and marks with letters alone, for fonts without them.",
        json_schema_extra=LIVE,
    )
    mouse: bool = Field(True, description="Accept mouse input (when on, shift selects text natively).")
    frame_hz: float = Field(
        4, ge=0.2, le=30, description="Maximum repaints of live figures per second.", json_schema_extra=LIVE
    )
    slow: bool = Field(False, description="Repaint every two seconds only, for slow lines.", json_schema_extra=LIVE)
    bell: bool = Field(
        True, description="Ring the terminal bell when a permission request arrives.", json_schema_extra=LIVE
    )
    on_quit: Literal["ask", "stop", "leave"] = Field(
        "ask", description="What quitting does with the proxy.", json_schema_extra=LIVE
    )
    keys: dict[str, str] = Field(
        default_factory=dict,
        description='Key bindings by id, such as `app.help = "f1,?"` (see `?` for the ids).',
    )


class Settings(BaseSettings):
    """Every setting of the program. Loaded by `core.settings.load`, which knows where each value came from."""

    model_config = SettingsConfigDict(extra="ignore", validate_default=True)

    server: Server = Server()
    security: Security = Security()
    cors: Cors = Cors()
    logging: Logging = Logging()
    http: Http = Http()
    accounts: Accounts = Accounts()
    providers: Providers = Providers()
    claude: Claude = Claude()
    codex: Codex = Codex()
    permissions: Permissions = Permissions()
    history: History = History()
    models: Models = Models()
    ui: Ui = Ui()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        from ccproxy_tui.core.settings.sources import LayerSource, active_layers

        return (init_settings, *(LayerSource(settings_cls, layer) for layer in active_layers()))
