"""Anthropic's API with the account of the Claude CLI, or with an API key. Bodies pass byte for byte."""

from __future__ import annotations

from functools import partial

from ccproxy_tui.core.auth.account import Account, AnyAccount, KeyAccount
from ccproxy_tui.core.auth.claude_file import ClaudeFile, parse
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.oauth_login import ClaudeLogin, Endpoints
from ccproxy_tui.core.auth.pool import Pool
from ccproxy_tui.core.auth.renewal import Ask, ClaudeRenewal
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.events import Converted, Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Misfit, Profile
from ccproxy_tui.core.formats import Report as ConversionReport
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.anthropic_messages.native import with_identity
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.provider import Answer, Call, Headers, Report
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.settings.models import ClaudeApiProvider
from ccproxy_tui.providers.login import make_ask, send_by
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

OAUTH_BETA = "oauth-2025-04-20"
DEFAULT_VERSION = "2023-06-01"
LOGIN_HINT = "Log in with `claude` or `ccproxy-tui auth login` (or set PROVIDERS__CLAUDE_API__API_KEY)."


class ClaudeApi:
    """Native relay of Anthropic Messages and of every other path below /v1."""

    name = "claude_api"
    prefixes = ("/api", "/claude", "")
    lists: Format | None = "anthropic_messages"

    def __init__(self, context: Context) -> None:
        self._context = context
        files: dict[str, JsonFile] = {"claude": ClaudeFile(context.paths, context.clock, context.environ)}
        for label, path in self._settings.accounts.items():
            files[f"claude:{label}"] = JsonFile([path.expanduser()], path.expanduser(), parse, context.clock)
        self._pool = Pool([self._make_account(name, file) for name, file in files.items()], context.clock)
        self._upstream = Upstream("Anthropic", self._settings.base_url, context.settings().http)

    def _make_account(self, name: str, file: JsonFile) -> Account:
        context = self._context
        ask = make_ask("Anthropic's login", lambda: context.settings().http)
        oauth = ClaudeRenewal(
            ask, lambda: self._settings.oauth.token_url, lambda: self._settings.oauth.client_id, context.clock
        )
        locks = context.paths.state / "locks"
        title = "Claude" if name == "claude" else f"Claude ({name.partition(':')[2]})"
        make_login = partial(self._make_login, ask)
        return Account(name, title, file, oauth, context.clock, locks, LOGIN_HINT, make_login)

    def _make_login(self, ask: Ask) -> ClaudeLogin:
        return ClaudeLogin(self._endpoints, ask, self._context.clock)

    @property
    def _endpoints(self) -> Endpoints:
        oauth = self._settings.oauth
        return Endpoints(oauth.authorize_url, oauth.token_url, oauth.client_id)

    @property
    def _settings(self) -> ClaudeApiProvider:
        return self._context.settings().providers.claude_api

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile("anthropic_messages", "anthropic", "Anthropic", thinking=thinking_mode(model), auto_cache=True)

    async def send(self, call: Call, report: Report) -> Answer:
        if call.operation == "embeddings":
            raise RouteNotFound("Anthropic has no embeddings.")
        key = self._key
        if key is not None:
            return await self._send(call, key, report)
        strategy = self._settings.strategy
        return await send_by(self._pool, strategy, call, report, lambda one: self._send(call, one, report))

    async def _send(self, call: Call, credential: Credential, report: Report) -> Answer:
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
        body = self._body(call, credential, report)
        report(UpstreamAsked(call.exchange, call.method, url, tuple(redact_headers(headers)), body))
        return await self._upstream.send(call.method, url, headers, body)

    def _body(self, call: Call, credential: Credential, report: Report) -> bytes:
        """The client's own, unless the person wants the identity added to what goes out with a login."""
        wanted = self._settings.system_prompt_injection_mode != "none" and credential.kind == "oauth"
        if not wanted or call.operation not in ("messages", "count_tokens"):
            return call.body
        notes = ConversionReport()
        try:
            body = with_identity(call.body, notes)
        except Misfit as misfit:
            raise InvalidRequest(misfit.message) from misfit
        if len(notes):
            report(Converted(call.exchange, tuple(notes)))
        return body

    async def models(self) -> list[ModelCard]:
        headers = upstream_headers([], self._key or await self._pool.order("", "failover")[0].credential())
        answer = await self._upstream.send("GET", f"{self._settings.base_url}/v1/models?limit=1000", headers, b"")
        return read_models(await read_all(answer), "anthropic")

    @property
    def _key(self) -> Credential | None:
        """The API key of the settings, which comes before any login."""
        key = self._settings.api_key
        return Credential("api_key", key.get_secret_value()) if key is not None and key.get_secret_value() else None

    def accounts(self) -> list[AnyAccount]:
        key = self._key
        if key is not None:
            return [KeyAccount("claude", key)]
        return [*self._pool.accounts]

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
