"""How Anthropic's API is asked. Bodies pass byte for byte, but for the identity where the settings want it.

Which paths there are: https://docs.anthropic.com/en/api
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.formats import Report
from ccproxy_tui.core.formats.anthropic_messages.native import with_identity
from ccproxy_tui.core.provider import Call, Headers, Patch, UpstreamRequest

OAUTH_BETA = "oauth-2025-04-20"
DEFAULT_VERSION = "2023-06-01"


def prepare(call: Call, credential: Credential, base_url: str) -> UpstreamRequest:
    """Return the request: the client's own, to Anthropic's address and with our authentication."""
    url = f"{base_url}/{_versioned(call.path)}"
    with_login = credential.kind == "oauth"
    return UpstreamRequest(
        call.method,
        f"{url}?{call.query}" if call.query else url,
        tuple(upstream_headers(call.headers, credential)),
        call.body,
        account=credential.plan or "login" if with_login else "API key",
        billing="plan" if with_login else "API key",
        notes=call.notes,
    )


def identity_patch(blocks: Sequence[str]) -> Patch:
    """Return the patch that puts Claude Code's identity, and `blocks` after it, before a system prompt without it."""
    return partial(_with_identity, blocks)


def _with_identity(blocks: Sequence[str], call: Call, notes: Report) -> Call:
    return replace(call, body=with_identity(call.body, notes, blocks))


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
