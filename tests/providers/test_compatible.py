"""Servers named in the settings: any of the three dialects, with a key, without one, or with one that is missing."""

from __future__ import annotations

from typing import Any

import pytest

from ccproxy_tui.core.settings import SettingsError, load
from tests.conftest import StartProxy
from tests.core.formats.tools import read_answer, texts
from tests.fakes.streams import chat_events, message_events, response_events, said
from tests.fakes.upstream import ScriptedUpstream, json_reply, sse_reply

MESSAGES: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"type": "text", "text": "Hello"}


def table(upstream: ScriptedUpstream, dialect: str, **more: str) -> dict[str, str]:
    base = upstream.url if dialect == "anthropic_messages" else f"{upstream.url}/v1"
    values = {"BASE_URL": base, "FORMAT": dialect, **more}
    return {f"PROVIDERS__COMPATIBLE__MINE__{name}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("dialect", "target", "events", "header"),
    [
        ("openai_chat", "/v1/chat/completions", chat_events("Hello"), ("authorization", "Bearer sk-mine")),
        ("openai_responses", "/v1/responses", response_events(said("Hello")), ("authorization", "Bearer sk-mine")),
        ("anthropic_messages", "/v1/messages", message_events(TEXT), ("x-api-key", "sk-mine")),
    ],
)
async def test_every_dialect_with_a_key(
    start_proxy: StartProxy,
    upstream: ScriptedUpstream,
    dialect: str,
    target: str,
    events: list[bytes],
    header: tuple[str, str],
) -> None:
    proxy = await start_proxy(**table(upstream, dialect, API_KEY="sk-mine"))
    if dialect == "anthropic_messages":
        upstream.replies.append(json_reply({"type": "message", "model": "m", "content": [TEXT]}))
    else:
        upstream.replies.append(sse_reply(*events))
    response = await proxy.client.post("/mine/v1/messages", json=MESSAGES)
    assert texts(read_answer("anthropic_messages", response.content)) == "Hello"
    [seen] = upstream.seen
    assert (seen.target, seen.header(header[0])) == (target, header[1])
    record = await proxy.ended()
    assert (record.provider, record.billing) == ("mine", "API key")
    assert "sk-mine" not in repr(record)


async def test_a_server_that_wants_no_key_and_its_models(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy(**table(upstream, "openai_chat"))
    upstream.replies += [json_reply({"data": [{"id": "llama"}]}), json_reply({"data": [{"id": "llama"}]})]
    anthropic = await proxy.client.get("/mine/v1/models", headers={"anthropic-version": "2023-06-01"})
    assert anthropic.json()["data"][0]["id"] == "llama"
    assert (await proxy.client.get("/mine/v1/models")).json() == {"data": [{"id": "llama"}]}
    assert upstream.seen[0].header("authorization") == ""


async def test_a_missing_key_names_its_variable(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy(**table(upstream, "openai_chat", KEY_ENV="MY_KEY"))
    response = await proxy.client.post("/mine/v1/messages", json=MESSAGES)
    assert response.status_code == 401
    assert "MY_KEY" in response.json()["error"]["message"]
    assert [one.view().state for one in proxy.hub.accounts() if one.provider == "mine"] == ["missing"]


async def test_the_model_table_can_name_it(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    rule = '[{"match": "llama", "kind": "prefix", "provider": "mine"}]'
    proxy = await start_proxy(**table(upstream, "openai_chat"), MODELS__RULES=rule)
    upstream.replies.append(sse_reply(*chat_events("Hello")))
    body = {**MESSAGES, "model": "llama-4"}
    assert (await proxy.client.post("/v1/messages", json=body)).json()["model"] == "llama-4"


@pytest.mark.parametrize("name", ["api", "Bad Name", "health"])
def test_a_name_that_is_no_path_is_refused(name: str) -> None:
    variable = f"PROVIDERS__COMPATIBLE__{name.upper()}__BASE_URL"
    with pytest.raises(SettingsError, match="can't be a path"):
        load(environ={variable: "http://x"})
