"""Anthropic's API with the account of the Claude CLI, or with an API key. Bodies pass byte for byte.

Which paths there are: https://docs.anthropic.com/en/api
"""

from __future__ import annotations

import sys

from ccproxy_tui.core.auth.account import AnyAccount, KeyAccount
from ccproxy_tui.core.auth.claude_file import KEYS, ClaudeFile, keychain_of
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.oauth_login import ClaudeLogin, Endpoints
from ccproxy_tui.core.auth.pool import Turns
from ccproxy_tui.core.auth.quota import Reading, read_claude_usage
from ccproxy_tui.core.auth.renewal import ClaudeRenewal
from ccproxy_tui.core.detection import CLAUDE, DetectionCache, Detector
from ccproxy_tui.core.errors import RouteNotFound
from ccproxy_tui.core.formats import Format, Profile
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.anthropic_messages.native import IDENTITY
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.provider import Call, Patch, UpstreamRequest
from ccproxy_tui.core.settings.models import ClaudeApiProvider
from ccproxy_tui.providers.claude_api.prepare import identity_patch, prepare, upstream_headers
from ccproxy_tui.providers.login import Kind, ask_usage, make_ask, make_pool, turns_of
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

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
        self.connection = Upstream("Anthropic", self._settings.base_url, context.settings().http)

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

    def access(self) -> Credential | Turns:
        return self._key or turns_of(self._context, self._pool, self._settings.strategy)

    def patch(self, call: Call) -> Patch | None:
        """The identity is added to what goes out with a login, where the settings want it."""
        if call.operation == "embeddings":
            raise RouteNotFound("Anthropic has no embeddings.")
        mode = self._settings.system_prompt_injection_mode
        if mode == "none" or call.operation not in ("messages", "count_tokens") or self._key is not None:
            return None
        return identity_patch(self._blocks() if mode == "full" else ())

    def prepare(self, call: Call, credential: Credential) -> UpstreamRequest:
        return prepare(call, credential, self._settings.base_url)

    def _blocks(self) -> list[str]:
        """What the installed CLI was seen to say, after its identity."""
        detected = self.detector.current() if self.detector is not None else None
        return [text for text in detected.instructions if IDENTITY not in text[:100]] if detected is not None else []

    async def models(self) -> list[ModelCard]:
        return await self._models(self._key or await self._pool.accounts[0].credential())

    async def _models(self, credential: Credential) -> list[ModelCard]:
        url = f"{self._settings.base_url}/v1/models?limit=1000"
        answer = await self.connection.send("GET", url, upstream_headers([], credential), b"")
        return read_models(await read_all(answer), "anthropic")

    async def _usage(self, credential: Credential) -> Reading:
        """How the plan is; for a key, whether it is taken."""
        if credential.kind == "api_key":
            await self._models(credential)
            return Reading()
        url = f"{self._settings.base_url}/api/oauth/usage"
        return read_claude_usage(await ask_usage(self.connection, url, upstream_headers([], credential)))

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
        await self.connection.close()
