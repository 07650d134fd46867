"""ChatGPT's Codex backend with the account of the Codex CLI. It speaks Responses, stores nothing and only streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.auth.codex_file import KEYS, CodexFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.oauth_login import CodexLogin, Endpoints
from ccproxy_tui.core.auth.quota import Reading, read_codex_usage
from ccproxy_tui.core.auth.renewal import CodexRenewal
from ccproxy_tui.core.detection import CODEX, DetectionCache, Detector
from ccproxy_tui.core.detection.catalog import read_catalog
from ccproxy_tui.core.errors import InvalidRequest, ProxyError, RouteNotFound
from ccproxy_tui.core.events import Converted, Marked, Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Misfit, Profile, Report
from ccproxy_tui.core.formats.models import ModelCard
from ccproxy_tui.core.formats.openai_responses.instructions import MODES, Injection, Mode
from ccproxy_tui.core.formats.openai_responses.native import CODEX_REFUSES, inject_into, patch_request
from ccproxy_tui.core.frames import CodexView
from ccproxy_tui.core.provider import Answer, Call, Headers
from ccproxy_tui.core.provider import Report as Publish
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.settings.models import Codex as CodexSettings
from ccproxy_tui.core.settings.models import CodexProvider
from ccproxy_tui.core.threads import work_on
from ccproxy_tui.providers.codex.models import ModelList, built_in, of_tool, read_cache, with_defaults
from ccproxy_tui.providers.codex.socket import Sockets, Unavailable
from ccproxy_tui.providers.login import Kind, account_word, ask_usage, make_ask, make_pool, send_by, turns_of
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream

log = logging.getLogger(__name__)

LOGIN_HINT = "Log in with `codex login` or `ccproxy-tui auth login codex`."
INSTRUCTIONS_WISH = "codex-instructions"  # the header x-ccproxy-codex-instructions
SOCKET_WISH = "socket"  # the header x-ccproxy-socket: the client came by a WebSocket
_LONGEST_SESSION = 200
_ASK_SECONDS = 2.0  # a client waits for it
_MODELS_SECONDS = 3600.0  # for which a list of models is good
ORIGINATOR = "ccproxy-tui"  # who asks, when the client is not a Codex that says so itself


class Codex:
    """Native relay of Responses; the other dialects are converted into it."""

    name = "codex"
    prefixes: tuple[str, ...] = ("/codex",)
    lists: Format | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        own = CodexFile(context.paths, context.clock, context.environ)
        self._pool = make_pool(context, self._kind, own, self._settings.accounts)
        http = context.settings().http
        cache = DetectionCache(context.paths.cache)
        home = context.paths.home
        self.detector: Detector | None = Detector(
            CODEX, cache, context.clock, home, context.environ, lambda: context.settings().codex.cli_path
        )
        self._list: ModelList | None = None
        self._listed = 0.0
        self._sockets = Sockets(lambda: context.settings().http)
        self._upstream = Upstream("ChatGPT", self._settings.base_url, http)
        self._api = Upstream("OpenAI", self._settings.api_base_url, http)

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

    async def send(self, call: Call, report: Publish) -> Answer:
        if call.operation == "embeddings":
            raise RouteNotFound("The Codex backend has no embeddings.")
        call = replace(call, body=await self._body(call, report))
        turns = turns_of(self._context, self._settings.strategy)
        return await send_by(self._pool, turns, call, report, partial(self._send, call, report))

    async def _send(self, call: Call, report: Publish, account: Account, credential: Credential) -> Answer:
        report(
            Routed(
                call.exchange,
                self.name,
                account=account_word(account, credential, "ChatGPT"),
                upstream_format=call.format or "",
                billing="plan" if credential.kind == "oauth" else "API key",
            )
        )
        with_key = credential.kind == "api_key"
        base = self._settings.api_base_url if with_key else self._settings.base_url
        url = f"{base}/{call.path.removeprefix('v1/')}"
        if call.query:
            url = f"{url}?{call.query}"
        headers = upstream_headers(call, credential)
        report(UpstreamAsked(call.exchange, call.method, url, tuple(redact_headers(headers)), call.body))
        if self._by_socket(call, credential):
            key = (account.provider, call.session or call.exchange)
            try:
                return await self._sockets.ask(url, headers, call.body, key)
            except Unavailable as reason:
                report(Marked(call.exchange, "over HTTP", str(reason)))
        return await (self._api if with_key else self._upstream).send(call.method, url, headers, call.body)

    def _by_socket(self, call: Call, credential: Credential) -> bool:
        """Whether the backend's socket is tried: for a client that came by one, with a login."""
        wanted = self._codex.upstream_websocket == "auto" and SOCKET_WISH in call.wishes
        return wanted and call.operation == "responses" and credential.kind == "oauth"

    async def _body(self, call: Call, report: Publish) -> bytes:
        if call.operation != "responses":
            return call.body
        notes = Report()
        injection, refused = self._injection(call), self._refused

        def make() -> bytes:
            if call.converted:
                return inject_into(call.body, injection, notes)
            return patch_request(
                call.body,
                model=call.model,
                cache_key=call.session,
                report=notes,
                injection=injection,
                refused=refused,
            )

        try:
            body = await work_on(len(call.body), make)
        except Misfit as misfit:
            raise InvalidRequest(misfit.message, field=misfit.bracketed()) from misfit
        if len(notes):
            report(Converted(call.exchange, tuple(notes)))
        if self._codex.verbose_logging:
            log.info("%s: instructions %s, session %s", call.model, injection.mode, call.session or "new")
        return body

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
                document = await ask_usage(self._upstream, url, upstream_headers(call, credential))
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
            await ask_usage(self._api, f"{self._settings.api_base_url}/models", headers)
            return Reading()
        url = f"{self._settings.base_url.removesuffix('/codex')}/wham/usage"
        return read_codex_usage(await ask_usage(self._upstream, url, headers))

    async def close(self) -> None:
        await self._sockets.close()
        await self._upstream.close()
        await self._api.close()


def mode_for(model: str, mode: Mode, by_model: Mapping[str, Mode]) -> Mode:
    """The mode of the longest start of a model's name, or the general one."""
    starts = [start for start in by_model if model.startswith(start)]
    return by_model[max(starts, key=len)] if starts else mode


def is_codex(headers: Headers) -> bool:
    """Whether a Codex asks: it brings its instructions itself."""
    named = dict(headers)
    return named.get("originator", "").startswith("codex") or named.get("user-agent", "").startswith("codex")


def _is_header_safe(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= _LONGEST_SESSION


def upstream_headers(call: Call, credential: Credential) -> Headers:
    """The client's headers with our authentication; what a Codex client says of its session is kept."""
    session = call.session if _is_header_safe(call.session) else ""
    headers = [(name, value) for name, value in call.headers if name != "accept"]
    if session:  # the one in the path comes before the one in a header
        headers = [(name, value) for name, value in headers if name != "session-id"]
        headers.append(("session-id", session))
    named = {name for name, _ in headers}
    headers += [("authorization", f"Bearer {credential.secret}"), ("accept", "text/event-stream")]
    if credential.account and "chatgpt-account-id" not in named:
        headers.append(("chatgpt-account-id", credential.account))
    if session and "thread-id" not in named:
        headers.append(("thread-id", session))
    if "originator" not in named:
        headers.append(("originator", ORIGINATOR))
    if "user-agent" not in named:
        headers.append(("user-agent", f"ccproxy-tui/{__version__}"))
    if "content-type" not in named:
        headers.append(("content-type", "application/json"))
    headers.append(("accept-encoding", "identity"))
    return headers
