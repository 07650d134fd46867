"""GitHub Copilot's API. Its models speak Chat or Responses, by their names."""

from __future__ import annotations

import re

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import AnyAccount
from ccproxy_tui.core.auth.copilot_file import KEYS, CopilotFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.oauth_login import DeviceLogin, Endpoints
from ccproxy_tui.core.auth.pool import Turns
from ccproxy_tui.core.auth.quota import Reading, read_copilot_usage
from ccproxy_tui.core.auth.renewal import CopilotRenewal
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.formats import Format, Profile
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.formats.openai_chat.native import tokens_field
from ccproxy_tui.core.provider import Call, Patch, UpstreamRequest
from ccproxy_tui.core.settings.models import CopilotProvider
from ccproxy_tui.providers.copilot.prepare import patch, prepare
from ccproxy_tui.providers.login import Kind, ask_usage, make_ask, make_pool, turns_of
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

LOGIN_HINT = "Log in with `ccproxy-tui auth login copilot`."
DEFAULT_URL = "https://api.githubcopilot.com"
# Models that answer 400 (unsupported_api_for_model) to Chat.
_RESPONSES_ONLY = re.compile(r"gpt-5\.\d+-codex|gpt-5\.[4-9]|gpt-6")
_MAX_TOOLS = 128


class Copilot:
    """Relay of Chat and Responses, whichever the model speaks; everything else is converted into that."""

    name = "copilot"
    prefixes: tuple[str, ...] = ("/copilot",)
    lists: Format | None = None
    detector: Detector | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        own = CopilotFile(context.paths, context.clock, context.environ)
        self._pool = make_pool(context, self._kind, own, self._settings.accounts)
        self.connection = Upstream("GitHub Copilot", self._settings.base_url or DEFAULT_URL, context.settings().http)
        self._github = Upstream("GitHub", self._settings.oauth.user_url, context.settings().http)

    @property
    def _kind(self) -> Kind:
        context = self._context
        ask = make_ask("GitHub", lambda: context.settings().http, context.clock)
        return Kind(
            "copilot",
            "Copilot",
            KEYS,
            LOGIN_HINT,
            CopilotRenewal(ask, lambda: self._settings.oauth.copilot_token_url),
            lambda: DeviceLogin(self._settings.oauth.device_url, self._endpoints, ask, context.clock),
            self._usage,
        )

    @property
    def _endpoints(self) -> Endpoints:
        oauth = self._settings.oauth
        return Endpoints("", oauth.token_url, oauth.client_id)

    @property
    def _settings(self) -> CopilotProvider:
        return self._context.settings().providers.copilot

    @property
    def paths(self) -> list[str]:
        return ["GET models", "GET models/**", "POST embeddings", *self._settings.extra_paths]

    def profile(self, model: str, dialect: Format) -> Profile:
        if _RESPONSES_ONLY.match(model):
            return Profile(
                "openai_responses", "copilot", "Copilot", max_tools=_MAX_TOOLS, web_search=False, cache_marks=False
            )
        return Profile(
            "openai_chat",
            "copilot",
            "Copilot",
            custom_tools=False,
            web_search=False,
            files=model.startswith(("gpt-", "gemini")),
            cache_marks=model.startswith("claude"),
            max_tools=_MAX_TOOLS,
            tokens_field=tokens_field(model),
            mends=True,
        )

    def access(self) -> Turns:
        return turns_of(self._context, self._pool, self._settings.strategy)

    def patch(self, call: Call) -> Patch:
        return patch

    def prepare(self, call: Call, credential: Credential) -> UpstreamRequest:
        settings = self._settings
        base_url = settings.base_url or credential.base_url or DEFAULT_URL
        return prepare(call, credential, base_url, integration=settings.integration_id, editor=settings.editor_version)

    async def models(self) -> list[ModelCard]:
        credential = await self._pool.accounts[0].credential()
        asked = self.prepare(Call("", "models", "GET", "models", "", [], b""), credential)
        answer = await self.connection.send("GET", asked.url, list(asked.headers), b"")
        return read_models(await read_all(answer), "github-copilot")

    def accounts(self) -> list[AnyAccount]:
        return [*self._pool.accounts]

    async def _usage(self, credential: Credential) -> Reading:
        """GitHub tells it to GitHub's own token, not to Copilot's."""
        headers = [("authorization", f"token {credential.refresh}"), ("accept", "application/json")]
        headers.append(("user-agent", f"ccproxy-tui/{__version__}"))
        return read_copilot_usage(await ask_usage(self._github, self._settings.oauth.user_url, headers))

    async def close(self) -> None:
        await self.connection.close()
        await self._github.close()
