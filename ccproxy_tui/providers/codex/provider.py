"""ChatGPT's Codex backend with the account of the Codex CLI. It speaks Responses, stores nothing and only streams."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ccproxy_tui.core.auth.account import AnyAccount
from ccproxy_tui.core.auth.codex_file import KEYS, CodexFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.oauth_login import CodexLogin, Endpoints
from ccproxy_tui.core.auth.pool import Turns
from ccproxy_tui.core.auth.quota import Reading, read_codex_usage
from ccproxy_tui.core.auth.renewal import CodexRenewal
from ccproxy_tui.core.control.frames import CodexView
from ccproxy_tui.core.detection import CODEX, DetectionCache, Detector
from ccproxy_tui.core.detection.catalog import read_catalog
from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound
from ccproxy_tui.core.formats import Format, Profile
from ccproxy_tui.core.formats.models import ModelCard
from ccproxy_tui.core.formats.openai_responses.instructions import MODES, Injection
from ccproxy_tui.core.formats.openai_responses.native import CODEX_REFUSES
from ccproxy_tui.core.provider import Call, Patch, UpstreamRequest
from ccproxy_tui.core.settings.models import Codex as CodexSettings
from ccproxy_tui.core.settings.models import CodexProvider
from ccproxy_tui.providers.codex.connection import CodexConnection
from ccproxy_tui.providers.codex.models import ModelList, built_in, of_tool, read_cache, with_defaults
from ccproxy_tui.providers.codex.prepare import instructions_patch, is_codex, mode_for, prepare, upstream_headers
from ccproxy_tui.providers.login import Kind, ask_usage, make_ask, make_pool, turns_of
from ccproxy_tui.providers.registry import Context

log = logging.getLogger(__name__)

LOGIN_HINT = "Log in with `codex login` or `ccproxy-tui auth login codex`."
INSTRUCTIONS_WISH = "codex-instructions"  # the header x-ccproxy-codex-instructions
_ASK_SECONDS = 2.0  # a client waits for it
_MODELS_SECONDS = 3600.0  # for which a list of models is good


class Codex:
    """Native relay of Responses; the other dialects are converted into it."""

    name = "codex"
    prefixes: tuple[str, ...] = ("/codex",)
    lists: Format | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        own = CodexFile(context.paths, context.clock, context.environ)
        self._pool = make_pool(context, self._kind, own, self._settings.accounts)
        cache = DetectionCache(context.paths.cache)
        home = context.paths.home
        self.detector: Detector | None = Detector(
            CODEX, cache, context.clock, home, context.environ, lambda: context.settings().codex.cli_path
        )
        self._list: ModelList | None = None
        self._listed = 0.0
        self.connection = CodexConnection(lambda: self._settings, lambda: context.settings().http)

    @property
    def _kind(self) -> Kind:
        context = self._context
        ask = make_ask("OpenAI's login", lambda: context.settings().http, context.clock)
        return Kind(
            "codex",
            "Codex",
            KEYS,
            LOGIN_HINT,
            CodexRenewal(
                ask, lambda: self._settings.oauth.token_url, lambda: self._settings.oauth.client_id, context.clock
            ),
            lambda: CodexLogin(self._endpoints, ask, context.clock),
            self._usage,
        )

    @property
    def _endpoints(self) -> Endpoints:
        oauth = self._settings.oauth
        return Endpoints(oauth.authorize_url, oauth.token_url, oauth.client_id)

    @property
    def _settings(self) -> CodexProvider:
        return self._context.settings().providers.codex

    @property
    def paths(self) -> list[str]:
        """Lists of models are answered here; the backend serves nothing else that a client of models needs."""
        return ["GET models", "GET models/**", *self._settings.extra_paths]

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile(
            "openai_responses",
            "openai",
            "The Codex backend",
            refused=self._refused,
            stream_only=True,
            cache_marks=False,
        )

    def access(self) -> Turns:
        return turns_of(self._context, self._pool, self._settings.strategy)

    def patch(self, call: Call) -> Patch | None:
        if call.operation == "embeddings":
            raise RouteNotFound("The Codex backend has no embeddings.")
        if call.operation != "responses":
            return None
        injection = self._injection(call)
        if self._codex.verbose_logging:
            log.info("%s: instructions %s, session %s", call.model, injection.mode, call.session or "new")
        return instructions_patch(injection, self._refused)

    def prepare(self, call: Call, credential: Credential) -> UpstreamRequest:
        settings = self._settings
        sockets = self._codex.upstream_websocket == "auto"
        return prepare(call, credential, settings.base_url, settings.api_base_url, sockets=sockets)

    @property
    def _codex(self) -> CodexSettings:
        return self._context.settings().codex

    @property
    def _refused(self) -> frozenset[str]:
        return frozenset() if self._codex.propagate_unsupported_params else CODEX_REFUSES

    def _injection(self, call: Call) -> Injection:
        """How the CLI's instructions go into this request. Raises InvalidRequest for a wish that is no mode."""
        settings = self._codex
        mode = mode_for(call.model, settings.system_prompt_injection_mode, settings.injection_by_model)
        wish = call.wishes.get(INSTRUCTIONS_WISH, "") if settings.header_override_enabled else ""
        if wish:
            if wish not in MODES:
                raise InvalidRequest(f"x-ccproxy-{INSTRUCTIONS_WISH} must be one of {', '.join(MODES)}.")
            mode = wish
        detected = self.detector.current() if self.detector is not None and mode != "disabled" else None
        if detected is None or is_codex(call.headers):
            return Injection("disabled", "")
        shape = detected.shape if settings.instructions_shape == "auto" else settings.instructions_shape
        return Injection(mode, detected.text, developer=shape == "developer")

    # --- models ---

    async def models(self) -> list[ModelCard]:
        found = await self.model_list()
        return [
            ModelCard(
                one.id, name=one.name, owner="openai", max_input=one.context or None, max_output=one.output or None
            )
            for one in found.models
        ]

    async def model_list(self) -> ModelList:
        """Asked of the backend at most once an hour; else what the CLI has asked; else what is known by heart."""
        now = self._context.clock.since_boot()
        if self._list is None or now - self._listed > _MODELS_SECONDS:
            self._listed = now  # also when nobody answered: a client must not wait each time
            self._list = await self._fetch_models(self._context.clock.now()) or self._known_models()
        return with_defaults(self._list, self._codex.max_output_tokens_fallback)

    async def describe(self) -> CodexView:
        """How requests are made, and the models, for people."""
        found = await self.model_list()
        settings = self._codex
        shape = settings.instructions_shape
        return CodexView(
            self._settings.base_url,
            settings.system_prompt_injection_mode,
            shape,
            found.models,
            found.source,
            found.fetched,
        )

    def _known_models(self) -> ModelList:
        if not self._codex.enable_dynamic_model_info:
            return built_in()
        folder = Path(self._context.environ.get("CODEX_HOME") or self._context.paths.home / ".codex")
        detected = self.detector.current() if self.detector is not None else None
        return read_cache(folder) or of_tool(detected) or built_in()

    async def _fetch_models(self, now: float) -> ModelList | None:
        settings = self._context.settings()
        if not settings.server.network_calls or not settings.codex.enable_dynamic_model_info:
            return None
        detected = self.detector.current() if self.detector is not None else None
        version = detected.version if detected is not None else "0.0.0"
        try:
            credential = await self._pool.accounts[0].credential()
            if credential.kind == "api_key":
                return None
            call = Call("", "models", "GET", "", "", [("accept", "application/json")], b"")
            url = f"{settings.providers.codex.base_url}/models?client_version={version}"
            async with asyncio.timeout(_ASK_SECONDS):
                document = await ask_usage(self.connection.backend, url, upstream_headers(call, credential))
        except (ProxyError, TimeoutError) as problem:
            log.info("no models from the Codex backend: %s", str(problem) or "no answer in time")
            return None
        models = read_catalog(document)
        return ModelList(models, "the Codex backend", now) if models else None

    def accounts(self) -> list[AnyAccount]:
        return [*self._pool.accounts]

    async def _usage(self, credential: Credential) -> Reading:
        """How the plan is; for a key, whether it is taken."""
        call = Call("", "other", "GET", "", "", [("accept", "application/json")], b"")
        headers = upstream_headers(call, credential)
        if credential.kind == "api_key":
            await ask_usage(self.connection.api, f"{self._settings.api_base_url}/models", headers)
            return Reading()
        url = f"{self._settings.base_url.removesuffix('/codex')}/wham/usage"
        return read_codex_usage(await ask_usage(self.connection.backend, url, headers))

    async def close(self) -> None:
        await self.connection.close()
