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
from ccproxy_tui.core.formats import Format, Profile
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.models import ModelCard, read_models
from ccproxy_tui.core.formats.openai_chat.native import tokens_field
from ccproxy_tui.core.provider import Call, Patch, Provider, UpstreamRequest
from ccproxy_tui.core.settings.models import CompatibleProvider
from ccproxy_tui.core.text.redact import learn_secret
from ccproxy_tui.providers.claude_api.provider import PATHS as ANTHROPIC_PATHS
from ccproxy_tui.providers.compatible.prepare import authentication, prepare, url_of
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

_NO_KEY = Credential("api_key", "")


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
        self.connection = Upstream(name, self._first.base_url, context.settings().http)

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

    def access(self) -> Credential:
        key = self._key()
        return _NO_KEY if key is None else Credential("api_key", key)

    def patch(self, call: Call) -> Patch | None:
        if call.operation == "embeddings" and self._settings.format == "anthropic_messages":
            raise RouteNotFound(f"{self.name} has no embeddings.")
        return None

    def prepare(self, call: Call, credential: Credential) -> UpstreamRequest:
        settings = self._settings
        return prepare(call, credential, settings.base_url, settings.format)

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
        settings = self._settings
        url = url_of(settings.base_url, settings.format, "models")
        headers = authentication([], self.access(), settings.format)
        return read_models(await read_all(await self.connection.send("GET", url, headers, b"")), self.name)

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
        await self.connection.close()
