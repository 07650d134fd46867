"""Any server that speaks one of the three dialects, with a key or without: API keys, gateways, local models.

Each table `[providers.compatible.NAME]` of the settings is a provider of that name, served below `/NAME`.
"""

from __future__ import annotations

from ccproxy_tui.core.auth.account import AnyAccount, KeyAccount
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.keychain import Keychain, KeychainError
from ccproxy_tui.core.auth.quota import Reading
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.errors import NoCredentials, RouteNotFound
from ccproxy_tui.core.events import Routed, UpstreamAsked
from ccproxy_tui.core.formats import Format, Profile
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.formats.openai_chat.native import tokens_field
from ccproxy_tui.core.provider import Answer, Call, Headers, Provider, Report
from ccproxy_tui.core.redact import learn_secret, redact_headers
from ccproxy_tui.core.settings.models import CompatibleProvider
from ccproxy_tui.providers.claude_api import DEFAULT_VERSION
from ccproxy_tui.providers.claude_api import PATHS as ANTHROPIC_PATHS
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

# Besides chat and responses, as https://platform.openai.com/docs/api-reference names them; `rerank` is a gateways' one.
_OPENAI_PATHS = (
    "POST completions",
    "POST embeddings",
    "POST moderations",
    "POST rerank",
    "POST audio/speech",
    "POST audio/transcriptions",
    "POST audio/translations",
    "POST images/edits",
    "POST images/generations",
    "POST images/variations",
    "GET models",
    "GET models/**",
    "POST files",
    "GET files",
    "GET files/*",
    "GET files/*/content",
    "DELETE files/*",
    "POST batches",
    "GET batches",
    "GET batches/*",
    "POST batches/*/cancel",
)


def make_compatible(context: Context) -> list[Provider]:
    """One provider for each table that is switched on."""
    tables = context.settings().providers.compatible
    learn_secret(*(context.environ.get(table.key_env, "") for table in tables.values() if table.key_env))
    return [Compatible(name, context) for name, table in tables.items() if table.enabled]


class Compatible:
    lists: Format | None
    detector: Detector | None = None

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.prefixes: tuple[str, ...] = (f"/{name}",)
        self._context = context
        self._first = context.settings().providers.compatible[name]
        self.lists = self._first.format if self._first.format == "anthropic_messages" else "openai_chat"
        self._ring_key: str | None = None
        self._upstream = Upstream(name, self._first.base_url, context.settings().http)

    @property
    def _settings(self) -> CompatibleProvider:
        return self._context.settings().providers.compatible.get(self.name, self._first)

    @property
    def paths(self) -> list[str]:
        settings = self._settings
        known = ANTHROPIC_PATHS if settings.format == "anthropic_messages" else _OPENAI_PATHS
        return [*known, *settings.extra_paths]

    def profile(self, model: str, dialect: Format) -> Profile:
        settings = self._settings
        if settings.format == "anthropic_messages":
            return Profile(
                settings.format, "anthropic", self.name, thinking=thinking_mode(model), auto_cache=settings.auto_cache
            )
        return Profile(
            settings.format,
            "openai",
            self.name,
            custom_tools=settings.format == "openai_responses",
            web_search=settings.format == "openai_responses",
            cache_marks=False,
            tokens_field=tokens_field(model),
        )

    async def send(self, call: Call, report: Report) -> Answer:
        if call.operation == "embeddings" and self._settings.format == "anthropic_messages":
            raise RouteNotFound(f"{self.name} has no embeddings.")
        report(Routed(call.exchange, self.name, "API key", call.format or "", billing="API key"))
        url = self._url(call.path)
        if call.query:
            url = f"{url}?{call.query}"
        headers = [*call.headers, *self._authentication(call.headers)]
        report(UpstreamAsked(call.exchange, call.method, url, tuple(redact_headers(headers)), call.body))
        return await self._upstream.send(call.method, url, headers, call.body)

    def _url(self, path: str) -> str:
        """Base URLs are what the vendors' SDKs take: OpenAI's end with /v1, Anthropic's do not."""
        bare = path.removeprefix("v1/")
        versioned = "v1/" if self._settings.format == "anthropic_messages" else ""
        return f"{self._settings.base_url}/{versioned}{bare}"

    def _authentication(self, given: Headers) -> Headers:
        """Raises NoCredentials when the variable that shall hold the key does not."""
        settings = self._settings
        named = {name for name, _ in given}
        headers: Headers = [("accept-encoding", "identity")]
        if "content-type" not in named:
            headers.append(("content-type", "application/json"))
        if settings.format == "anthropic_messages" and "anthropic-version" not in named:
            headers.append(("anthropic-version", DEFAULT_VERSION))
        if (key := self._key()) is not None:
            anthropic = settings.format == "anthropic_messages"
            headers.append(("x-api-key", key) if anthropic else ("authorization", f"Bearer {key}"))
        return headers

    def _key(self) -> str | None:
        key = self._read_key()
        if key is not None:
            learn_secret(key)
        return key

    def _read_key(self) -> str | None:
        settings = self._settings
        if settings.key_env:
            if not (key := self._context.environ.get(settings.key_env, "")):
                raise NoCredentials(f"{self.name} has no key.", hint=f"Set the variable {settings.key_env}.")
            return key
        if settings.key_ring:
            return self._key_of_ring(settings.key_ring)
        return None if settings.api_key is None else settings.api_key.get_secret_value() or None

    def _key_of_ring(self, entry: str) -> str:
        """Read once: asking the keychain is slow, and may ask the person."""
        if self._ring_key is None:
            service, _, user = entry.partition("/")
            hint = f"Save it with `keyring set {service} {user}`; the package keyring must be installed."
            try:
                self._ring_key = Keychain(service, user).read()
            except KeychainError as error:
                raise NoCredentials(f"{self.name} has no key: {error}.", hint=hint) from error
            if self._ring_key is None:
                raise NoCredentials(f"{self.name} has no key: the keychain holds no {entry}.", hint=hint)
        return self._ring_key

    async def models(self) -> list[ModelCard]:
        answer = await self._upstream.send("GET", self._url("models"), self._authentication([]), b"")
        return read_models(await read_all(answer), self.name)

    def accounts(self) -> list[AnyAccount]:
        try:
            key = self._key()
        except NoCredentials as problem:
            return [KeyAccount(self.name, None, problem.text)]
        return [KeyAccount(self.name, Credential("api_key", key), check=self._usage)] if key is not None else []

    async def _usage(self, _: Credential) -> Reading:
        await self.models()
        return Reading()

    async def close(self) -> None:
        await self._upstream.close()
