"""How GitHub Copilot's API is asked: its paths, its headers, and which requests it bills."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.formats import Report
from ccproxy_tui.core.formats.openai_chat.native import patch_request
from ccproxy_tui.core.formats.weight import is_too_heavy
from ccproxy_tui.core.provider import Call, UpstreamRequest

API_VERSION = "2025-05-01"
_INITIATOR = "x-initiator"  # the header by which Copilot knows the steps of an agent


def patch(call: Call, notes: Report) -> Call:
    """Return the request as Copilot takes it, with the header that says who asks. Raises Misfit."""
    body = call.body
    if call.operation == "chat" and not call.converted:
        body = patch_request(body, model=call.model, report=notes)
    initiator = (_INITIATOR, "agent" if is_agent_turn(body) else "user")
    return replace(call, body=body, headers=[*call.headers, initiator])


def prepare(call: Call, credential: Credential, base_url: str, *, integration: str, editor: str) -> UpstreamRequest:
    """Return the request for a call that was patched. `integration` and `editor` are what Copilot wants named."""
    initiator = dict(call.headers).get(_INITIATOR, "agent")  # the last one is that of `patch`
    own = {
        "authorization": f"Bearer {credential.secret}",
        "copilot-integration-id": integration,
        "editor-version": editor or f"ccproxy-tui/{__version__}",
        "x-github-api-version": API_VERSION,
        "openai-intent": "conversation-agent",
        _INITIATOR: initiator,
        "content-type": "application/json",
        "accept-encoding": "identity",
    }
    if has_image(call.body):
        own["copilot-vision-request"] = "true"
    return UpstreamRequest(
        call.method,
        f"{base_url}/{call.path.removeprefix('v1/')}",
        (*((name, value) for name, value in call.headers if name not in own), *own.items()),
        call.body,
        account=credential.plan or "Copilot",
        billing="not billed (agent turn)" if initiator == "agent" else "premium request",
        notes=call.notes,
    )


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
