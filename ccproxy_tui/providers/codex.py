"""ChatGPT's Codex backend with the account of the Codex CLI. It speaks Responses, stores nothing and only streams."""

from __future__ import annotations

from functools import partial

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.auth.codex_file import KEYS, CodexFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.oauth_login import CodexLogin, Endpoints
from ccproxy_tui.core.auth.quota import Reading, read_codex_usage
from ccproxy_tui.core.auth.renewal import CodexRenewal
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.events import Converted, Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Misfit, Profile, Report
from ccproxy_tui.core.formats.models import ModelCard
from ccproxy_tui.core.formats.openai_responses.native import CODEX_REFUSES, patch_request
from ccproxy_tui.core.provider import Answer, Call, Headers
from ccproxy_tui.core.provider import Report as Publish
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.settings.models import CodexProvider
from ccproxy_tui.providers.login import account_word, ask_usage, guard_of, make_ask, make_pool, send_by, turns_of
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream

LOGIN_HINT = "Log in with `codex login` or `ccproxy-tui auth login codex`."
MODELS = ("gpt-5.4", "gpt-5.3-codex", "gpt-5.2-codex")  # the backend tells its list to Codex clients alone
ORIGINATOR = "ccproxy-tui"  # who asks, when the client is not a Codex that says so itself


class Codex:
    """Native relay of Responses; the other dialects are converted into it."""

    name = "codex"
    prefixes: tuple[str, ...] = ("/codex",)
    lists: Format | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        own = CodexFile(context.paths, context.clock, context.environ)
        self._pool = make_pool(context, "codex", "Codex", own, self._settings.accounts, self._make_account, KEYS)
        http = context.settings().http
        self._upstream = Upstream("ChatGPT", self._settings.base_url, http)
        self._api = Upstream("OpenAI", self._settings.api_base_url, http)

    def _make_account(self, name: str, title: str, file: JsonFile) -> Account:
        context = self._context
        ask = make_ask("OpenAI's login", lambda: context.settings().http)
        return Account(
            name,
            title,
            file,
            CodexRenewal(
                ask, lambda: self._settings.oauth.token_url, lambda: self._settings.oauth.client_id, context.clock
            ),
            context.clock,
            context.paths.state / "locks",
            LOGIN_HINT,
            make_login=lambda: CodexLogin(self._endpoints, ask, context.clock),
            check=self._usage,
            guard=guard_of(context, name),
        )

    @property
    def _endpoints(self) -> Endpoints:
        oauth = self._settings.oauth
        return Endpoints(oauth.authorize_url, oauth.token_url, oauth.client_id)

    @property
    def _settings(self) -> CodexProvider:
        return self._context.settings().providers.codex

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile(
            "openai_responses",
            "openai",
            "The Codex backend",
            refused=CODEX_REFUSES,
            stream_only=True,
            cache_marks=False,
        )

    async def send(self, call: Call, report: Publish) -> Answer:
        if call.operation == "embeddings":
            raise RouteNotFound("The Codex backend has no embeddings.")
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
        body = self._body(call, report)
        with_key = credential.kind == "api_key"
        base = self._settings.api_base_url if with_key else self._settings.base_url
        url = f"{base}/{call.path.removeprefix('v1/')}"
        if call.query:
            url = f"{url}?{call.query}"
        headers = upstream_headers(call, credential)
        report(UpstreamAsked(call.exchange, call.method, url, tuple(redact_headers(headers)), body))
        return await (self._api if with_key else self._upstream).send(call.method, url, headers, body)

    def _body(self, call: Call, report: Publish) -> bytes:
        if call.converted or call.operation != "responses":
            return call.body
        notes = Report()
        try:
            body = patch_request(call.body, model=call.model, cache_key=call.session, report=notes)
        except Misfit as misfit:
            raise InvalidRequest(misfit.message, field=misfit.bracketed()) from misfit
        if len(notes):
            report(Converted(call.exchange, tuple(notes)))
        return body

    async def models(self) -> list[ModelCard]:
        return [ModelCard(name, owner="openai") for name in MODELS]

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
        await self._upstream.close()
        await self._api.close()


def upstream_headers(call: Call, credential: Credential) -> Headers:
    """The client's headers with our authentication; what a Codex client says of its session is kept."""
    named = {name for name, _ in call.headers}
    headers = [(name, value) for name, value in call.headers if name != "accept"]
    headers += [("authorization", f"Bearer {credential.secret}"), ("accept", "text/event-stream")]
    if credential.account and "chatgpt-account-id" not in named:
        headers.append(("chatgpt-account-id", credential.account))
    if "originator" not in named:
        headers.append(("originator", ORIGINATOR))
    if "user-agent" not in named:
        headers.append(("user-agent", f"ccproxy-tui/{__version__}"))
    if "content-type" not in named:
        headers.append(("content-type", "application/json"))
    headers.append(("accept-encoding", "identity"))
    return headers
