"""How a server with a compatible API is asked: the client's own request, with the key of the settings."""

from __future__ import annotations

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.formats import Format
from ccproxy_tui.core.provider import Call, Headers, UpstreamRequest
from ccproxy_tui.providers.claude_api.prepare import DEFAULT_VERSION


def prepare(call: Call, credential: Credential, base_url: str, dialect: Format) -> UpstreamRequest:
    """Return the request to a server that speaks `dialect`. A credential with an empty secret is no key."""
    url = url_of(base_url, dialect, call.path)
    return UpstreamRequest(
        call.method,
        f"{url}?{call.query}" if call.query else url,
        (*call.headers, *authentication(call.headers, credential, dialect)),
        call.body,
        account="API key",
        billing="API key",
        notes=call.notes,
    )


def url_of(base_url: str, dialect: Format, path: str) -> str:
    """Base URLs are what the vendors' SDKs take: OpenAI's end with /v1, Anthropic's do not."""
    versioned = "v1/" if dialect == "anthropic_messages" else ""
    return f"{base_url}/{versioned}{path.removeprefix('v1/')}"


def authentication(given: Headers, credential: Credential, dialect: Format) -> Headers:
    """Return the headers to add to `given`."""
    named = {name for name, _ in given}
    headers: Headers = [("accept-encoding", "identity")]
    if "content-type" not in named:
        headers.append(("content-type", "application/json"))
    if dialect == "anthropic_messages" and "anthropic-version" not in named:
        headers.append(("anthropic-version", DEFAULT_VERSION))
    if key := credential.secret:
        headers.append(("x-api-key", key) if dialect == "anthropic_messages" else ("authorization", f"Bearer {key}"))
    return headers
