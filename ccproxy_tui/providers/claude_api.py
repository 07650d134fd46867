"""Anthropic's API with the account of the Claude CLI, or with an API key. Bodies pass byte for byte."""

from __future__ import annotations

from ccproxy_tui.core.auth.claude_file import ClaudeFile, UnreadableCredentials
from ccproxy_tui.core.auth.credentials import Credential, state_of
from ccproxy_tui.core.errors import NoCredentials, RouteNotFound
from ccproxy_tui.core.events import Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Profile
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.frames import AccountView
from ccproxy_tui.core.provider import Answer, Call, Headers, Report
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.settings.models import ClaudeApiProvider
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

OAUTH_BETA = "oauth-2025-04-20"
DEFAULT_VERSION = "2023-06-01"
LOGIN_HINT = "Log in with `claude` (or set PROVIDERS__CLAUDE_API__API_KEY)."


class ClaudeApi:
    """Native relay of Anthropic Messages and of every other path below /v1."""

    name = "claude_api"
    prefixes = ("/api", "/claude", "")
    lists: Format | None = "anthropic_messages"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clock = context.clock
        self._file = ClaudeFile(context.paths, context.clock, context.environ)
        self._upstream = Upstream("Anthropic", self._settings.base_url, context.settings().http)

    @property
    def _settings(self) -> ClaudeApiProvider:
        return self._context.settings().providers.claude_api

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile("anthropic_messages", "anthropic", "Anthropic", thinking=thinking_mode(model), auto_cache=True)

    async def send(self, call: Call, report: Report) -> Answer:
        if call.operation == "embeddings":
            raise RouteNotFound("Anthropic has no embeddings.")
        credential = self._credential()
        report(
            Routed(
                call.exchange,
                self.name,
                account=credential.plan or credential.kind.replace("_", " "),
                upstream_format=call.format or "",
                billing="plan" if credential.kind == "oauth" else "API key",
            )
        )
        url = f"{self._settings.base_url}/{_versioned(call.path)}"
        if call.query:
            url = f"{url}?{call.query}"
        headers = upstream_headers(call.headers, credential)
        report(UpstreamAsked(call.exchange, call.method, url, tuple(redact_headers(headers)), call.body))
        return await self._upstream.send(call.method, url, headers, call.body)

    async def models(self) -> list[ModelCard]:
        headers = upstream_headers([], self._credential())
        answer = await self._upstream.send("GET", f"{self._settings.base_url}/v1/models?limit=1000", headers, b"")
        return read_models(await read_all(answer), "anthropic")

    def _credential(self) -> Credential:
        """What to authenticate with. Raises NoCredentials with the next step."""
        key = self._settings.api_key
        if key is not None and key.get_secret_value():
            return Credential("api_key", key.get_secret_value())
        try:
            credential = self._file.read()
        except UnreadableCredentials as error:
            raise NoCredentials(f"The Claude credentials can't be used: {error}.", hint=LOGIN_HINT) from error
        if credential is None:
            raise NoCredentials("No Claude credentials were found.", hint=LOGIN_HINT)
        if credential.expired(self._clock.now()):
            raise NoCredentials("The Claude login has expired.", hint="Run `claude` once to renew it.")
        return credential

    def accounts(self) -> list[AccountView]:
        key = self._settings.api_key
        if key is not None and key.get_secret_value():
            return [AccountView("claude", "API key", "ok", ok=True)]
        try:
            credential = self._file.read()
        except UnreadableCredentials as error:
            return [AccountView("claude", "", "unreadable", hint=str(error))]
        word, ok = state_of(credential, self._clock.now())
        return [
            AccountView("claude", credential.plan if credential else "", word, ok=ok, hint="" if ok else LOGIN_HINT)
        ]

    async def close(self) -> None:
        await self._upstream.close()


def _versioned(path: str) -> str:
    """Clients may leave out `v1`; Anthropic's paths always have it."""
    return path if path.startswith(("v1/", "api/")) else f"v1/{path}"


def upstream_headers(headers: Headers, credential: Credential) -> Headers:
    """The client's headers with our authentication. Its `anthropic-beta` is kept and only added to."""
    named = {name for name, _ in headers}
    result = [(name, value) for name, value in headers if name != "anthropic-beta"]
    betas = [
        tag.strip() for name, value in headers if name == "anthropic-beta" for tag in value.split(",") if tag.strip()
    ]
    if credential.kind == "oauth":
        betas.append(OAUTH_BETA)
        result.append(("authorization", f"Bearer {credential.secret}"))
    else:
        result.append(("x-api-key", credential.secret))
    if betas:
        result.append(("anthropic-beta", ",".join(dict.fromkeys(betas))))
    if "anthropic-version" not in named:
        result.append(("anthropic-version", DEFAULT_VERSION))
    result.append(("accept-encoding", "identity"))
    return result
