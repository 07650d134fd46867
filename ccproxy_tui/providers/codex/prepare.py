"""How the Codex backend is asked, with a login, or OpenAI's API, with a key. It speaks Responses and only streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.formats import Report
from ccproxy_tui.core.formats.openai_responses.instructions import Injection, Mode
from ccproxy_tui.core.formats.openai_responses.native import inject_into, patch_request
from ccproxy_tui.core.provider import Call, Headers, Patch, UpstreamRequest

ORIGINATOR = "ccproxy-tui"  # who asks, when the client is not a Codex that names itself
_SOCKET_WISH = "socket"  # the header x-ccproxy-socket: the client came by a WebSocket
_LONGEST_SESSION = 200


def prepare(call: Call, credential: Credential, base_url: str, api_base_url: str, *, sockets: bool) -> UpstreamRequest:
    """Return the request. `sockets`: a client that came by a WebSocket may be served by one of the backend's."""
    with_login = credential.kind == "oauth"
    url = f"{base_url if with_login else api_base_url}/{call.path.removeprefix('v1/')}"
    by_socket = sockets and with_login and call.operation == "responses" and _SOCKET_WISH in call.wishes
    return UpstreamRequest(
        call.method,
        f"{url}?{call.query}" if call.query else url,
        tuple(upstream_headers(call, credential)),
        call.body,
        account=credential.plan or "ChatGPT",
        billing="plan" if with_login else "API key",
        notes=call.notes,
        conversation=(credential.source, credential.account, call.session or call.exchange) if by_socket else (),
    )


def instructions_patch(injection: Injection, refused: frozenset[str]) -> Patch:
    """Return the patch that makes a request acceptable to the backend, with the CLI's instructions in it."""
    return partial(_patched, injection, refused)


def _patched(injection: Injection, refused: frozenset[str], call: Call, notes: Report) -> Call:
    if call.converted:
        return replace(call, body=inject_into(call.body, injection, notes))
    body = patch_request(
        call.body, model=call.model, cache_key=call.session, report=notes, injection=injection, refused=refused
    )
    return replace(call, body=body)


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
