"""Anthropic's API with the account of the Claude CLI, or with an API key. Bodies pass byte for byte.

Which paths there are: https://docs.anthropic.com/en/api
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from ccproxy_tui.core.auth.account import Account, AnyAccount, KeyAccount
from ccproxy_tui.core.auth.claude_file import KEYS, ClaudeFile, keychain_of
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.oauth_login import ClaudeLogin, Endpoints
from ccproxy_tui.core.auth.quota import Reading, read_claude_usage
from ccproxy_tui.core.auth.renewal import ClaudeRenewal
from ccproxy_tui.core.detection import CLAUDE, DetectionCache, Detector
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.events import Converted, Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Misfit, Profile
from ccproxy_tui.core.formats import Report as ConversionReport
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.anthropic_messages.native import IDENTITY, with_identity
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.provider import Answer, Call, Headers, Report
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.settings.models import ClaudeApiProvider
from ccproxy_tui.core.threads import work_on
from ccproxy_tui.providers.login import Kind, account_word, ask_usage, make_ask, make_pool, send_by, turns_of
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

OAUTH_BETA = "oauth-2025-04-20"
DEFAULT_VERSION = "2023-06-01"
LOGIN_HINT = "Log in with `claude` or `ccproxy-tui auth login` (or set PROVIDERS__CLAUDE_API__API_KEY)."
# Besides messages and count_tokens. Skills, organizations, keys and profiles are not for a client of models.
PATHS = (
    "POST complete",
    "GET models",
    "GET models/**",
    "POST messages/batches",
    "GET messages/batches",
    "GET messages/batches/*",
    "DELETE messages/batches/*",
    "POST messages/batches/*/cancel",
    "GET messages/batches/*/results",
    "POST files",
    "GET files",
    "GET files/*",
    "GET files/*/content",
    "DELETE files/*",
)
_USAGE = "GET api/oauth/usage"  # how much of the plan is used; Claude Code shows it


class ClaudeApi:
    """Native relay of Anthropic Messages, and of the operations in `paths`."""

    name = "claude_api"
    prefixes = ("/api", "/claude", "")
    lists: Format | None = "anthropic_messages"

    def __init__(self, context: Context) -> None:
        self._context = context
        keychain = keychain_of(context.environ) if sys.platform == "darwin" else None
        own = ClaudeFile(context.paths, context.clock, context.environ, keychain)
        self.detector: Detector | None = Detector(
            CLAUDE,
            DetectionCache(context.paths.cache),
            context.clock,
            context.paths.home,
            context.environ,
            lambda: context.settings().claude.cli_path,
        )
        self._pool = make_pool(context, self._kind, own, self._settings.accounts)
        self._upstream = Upstream("Anthropic", self._settings.base_url, context.settings().http)

    @property
    def _kind(self) -> Kind:
        context = self._context
        ask = make_ask("Anthropic's login", lambda: context.settings().http, context.clock)
        return Kind(
            "claude",
            "Claude",
            KEYS,
            LOGIN_HINT,
            ClaudeRenewal(
                ask, lambda: self._settings.oauth.token_url, lambda: self._settings.oauth.client_id, context.clock
            ),
            lambda: ClaudeLogin(self._endpoints, ask, context.clock),
            self._usage,
        )

    @property
    def _endpoints(self) -> Endpoints:
        oauth = self._settings.oauth
        return Endpoints(oauth.authorize_url, oauth.token_url, oauth.client_id)

    @property
    def _settings(self) -> ClaudeApiProvider:
        return self._context.settings().providers.claude_api

    @property
    def paths(self) -> list[str]:
        return [*PATHS, _USAGE, *self._settings.extra_paths]

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile("anthropic_messages", "anthropic", "Anthropic", thinking=thinking_mode(model), auto_cache=True)

    async def send(self, call: Call, report: Report) -> Answer:
        if call.operation == "embeddings":
            raise RouteNotFound("Anthropic has no embeddings.")
        key = self._key
        if key is not None:
            return await self._send(call, key, "API key", report)
        named = await self._with_identity(call, report)
        turns = turns_of(self._context, self._settings.strategy)
        return await send_by(self._pool, turns, call, report, partial(self._send_as, call, named, report))

    async def _send_as(
        self, call: Call, named: Call, report: Report, account: Account, credential: Credential
    ) -> Answer:
        sent = named if credential.kind == "oauth" else call
        return await self._send(sent, credential, account_word(account, credential, "login"), report)

    async def _send(self, call: Call, credential: Credential, account: str, report: Report) -> Answer:
        report(
            Routed(
                call.exchange,
                self.name,
                account=account,
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

    async def _with_identity(self, call: Call, report: Report) -> Call:
        """The client's own, unless the person wants the identity added to what goes out with a login."""
        mode = self._settings.system_prompt_injection_mode
        if mode == "none" or call.operation not in ("messages", "count_tokens"):
            return call
        notes = ConversionReport()
        blocks = self._blocks() if mode == "full" else ()
        try:
            body = await work_on(len(call.body), partial(with_identity, call.body, notes, blocks))
        except Misfit as misfit:
            raise InvalidRequest(misfit.message) from misfit
        if len(notes):
            report(Converted(call.exchange, tuple(notes)))
        return replace(call, body=body)

    def _blocks(self) -> list[str]:
        """What the installed CLI was seen to say, after its identity."""
        detected = self.detector.current() if self.detector is not None else None
        return [text for text in detected.instructions if IDENTITY not in text[:100]] if detected is not None else []

    async def models(self) -> list[ModelCard]:
        return await self._models(self._key or await self._pool.accounts[0].credential())

    async def _models(self, credential: Credential) -> list[ModelCard]:
        url = f"{self._settings.base_url}/v1/models?limit=1000"
        answer = await self._upstream.send("GET", url, upstream_headers([], credential), b"")
        return read_models(await read_all(answer), "anthropic")

    async def _usage(self, credential: Credential) -> Reading:
        """How the plan is; for a key, whether it is taken."""
        if credential.kind == "api_key":
            await self._models(credential)
            return Reading()
        url = f"{self._settings.base_url}/api/oauth/usage"
        return read_claude_usage(await ask_usage(self._upstream, url, upstream_headers([], credential)))

    @property
    def _key(self) -> Credential | None:
        """The API key of the settings, which comes before any login."""
        key = self._settings.api_key
        return Credential("api_key", key.get_secret_value()) if key is not None and key.get_secret_value() else None

    def accounts(self) -> list[AnyAccount]:
        key = self._key
        if key is not None:
            return [KeyAccount("claude", key, check=self._usage)]
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
