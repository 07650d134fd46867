"""GitHub Copilot's API. Its models speak Chat or Responses; which one is told by their names."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import msgspec

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.auth.copilot_file import KEYS, CopilotFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.oauth_login import DeviceLogin, Endpoints
from ccproxy_tui.core.auth.quota import Reading, read_copilot_usage
from ccproxy_tui.core.auth.renewal import CopilotRenewal
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.errors import InvalidRequest
from ccproxy_tui.core.events import Converted, Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Misfit, Profile, Report
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.formats.openai_chat.native import patch_request, tokens_field
from ccproxy_tui.core.formats.weight import is_too_heavy
from ccproxy_tui.core.provider import Answer, Call, Headers
from ccproxy_tui.core.provider import Report as Publish
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.settings.models import CopilotProvider
from ccproxy_tui.core.threads import work_on
from ccproxy_tui.providers.login import Kind, account_word, ask_usage, make_ask, make_pool, send_by, turns_of
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

LOGIN_HINT = "Log in with `ccproxy-tui auth login copilot`."
DEFAULT_URL = "https://api.githubcopilot.com"
API_VERSION = "2025-05-01"
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
        self._upstream = Upstream("GitHub Copilot", self._settings.base_url or DEFAULT_URL, context.settings().http)
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

    async def send(self, call: Call, report: Publish) -> Answer:
        call = replace(call, body=await self._body(call, report))
        agent = await work_on(len(call.body), partial(is_agent_turn, call.body))
        turns = turns_of(self._context, self._settings.strategy)
        return await send_by(self._pool, turns, call, report, partial(self._send, call, report, agent))

    async def _send(self, call: Call, report: Publish, agent: bool, account: Account, credential: Credential) -> Answer:
        report(
            Routed(
                call.exchange,
                self.name,
                account=account_word(account, credential, "Copilot"),
                upstream_format=call.format or "",
                billing="not billed (agent turn)" if agent else "premium request",
            )
        )
        url = f"{self._base(credential)}/{call.path.removeprefix('v1/')}"
        headers = self._headers(call, credential, agent=agent)
        report(UpstreamAsked(call.exchange, call.method, url, tuple(redact_headers(headers)), call.body))
        return await self._upstream.send(call.method, url, headers, call.body)

    async def _body(self, call: Call, report: Publish) -> bytes:
        if call.converted or call.operation != "chat":
            return call.body
        notes = Report()
        try:
            body = await work_on(len(call.body), partial(patch_request, call.body, model=call.model, report=notes))
        except Misfit as misfit:
            raise InvalidRequest(misfit.message, field=misfit.bracketed()) from misfit
        if len(notes):
            report(Converted(call.exchange, tuple(notes)))
        return body

    def _headers(self, call: Call, credential: Credential, *, agent: bool) -> Headers:
        settings = self._settings
        own = {
            "authorization": f"Bearer {credential.secret}",
            "copilot-integration-id": settings.integration_id,
            "editor-version": settings.editor_version or f"ccproxy-tui/{__version__}",
            "x-github-api-version": API_VERSION,
            "openai-intent": "conversation-agent",
            "x-initiator": "agent" if agent else "user",
            "content-type": "application/json",
            "accept-encoding": "identity",
        }
        if has_image(call.body):
            own["copilot-vision-request"] = "true"
        return [(name, value) for name, value in call.headers if name not in own] + list(own.items())

    async def models(self) -> list[ModelCard]:
        credential = await self._pool.accounts[0].credential()
        call = Call("", "models", "GET", "models", "", [], b"")
        headers = self._headers(call, credential, agent=True)
        answer = await self._upstream.send("GET", f"{self._base(credential)}/models", headers, b"")
        return read_models(await read_all(answer), "github-copilot")

    def _base(self, credential: Credential) -> str:
        return self._settings.base_url or credential.base_url or DEFAULT_URL

    def accounts(self) -> list[AnyAccount]:
        return [*self._pool.accounts]

    async def _usage(self, credential: Credential) -> Reading:
        """GitHub tells it to GitHub's own token, not to Copilot's."""
        headers = [("authorization", f"token {credential.refresh}"), ("accept", "application/json")]
        headers.append(("user-agent", f"ccproxy-tui/{__version__}"))
        return read_copilot_usage(await ask_usage(self._github, self._settings.oauth.user_url, headers))

    async def close(self) -> None:
        await self._upstream.close()
        await self._github.close()


class _Turn(msgspec.Struct):
    role: str = ""
    type: str = ""


class _Turns(msgspec.Struct):
    messages: list[_Turn] = []
    input: list[_Turn] | str = ""


def is_agent_turn(body: bytes) -> bool:
    """Whether this request goes on with a task (a tool's result came back) and asks nothing new.

    Copilot bills a premium request for each question of the user, and none for the steps of an agent.
    """
    if is_too_heavy(body):
        return False
    try:
        turns = msgspec.json.decode(body, type=_Turns)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    for turn in reversed(turns.messages or (turns.input if isinstance(turns.input, list) else [])):
        if turn.role == "tool" or turn.type.endswith("_call_output"):
            return True
        if turn.role == "assistant" or turn.type in ("function_call", "custom_tool_call", "reasoning"):
            return False
    return False


def has_image(body: bytes) -> bool:
    return b'"image_url"' in body or b'"input_image"' in body
