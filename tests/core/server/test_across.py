"""Exchanges between two dialects, over real sockets: errors, ends, models, fallbacks, reports."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import anthropic
import openai
import pytest

from ccproxy_tui.core.formats.dialects import stream_parser
from tests.conftest import Proxy, StartProxy
from tests.core.formats.tools import calls, read_answer, read_stream, texts
from tests.fakes.streams import called, chat_events, message_events, response_events, said, thought
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Wait, json_reply, sse_reply

pytestmark = pytest.mark.usefixtures("other_logins")

HI = {"role": "user", "content": "hi"}
MESSAGES = {"model": "m", "max_tokens": 50, "messages": [HI]}
CHAT = {"model": "m", "messages": [HI]}
RESPONSES = {"model": "m", "input": "hi"}
TEXT = {"type": "text", "text": "Hello you"}

# path, request, the upstream's stream
ROUTES: dict[str, tuple[str, dict[str, Any], list[bytes]]] = {
    "chat on claude": ("/api/v1/chat/completions", CHAT, message_events(TEXT)),
    "responses on claude": ("/claude/v1/responses", RESPONSES, message_events(TEXT)),
    "messages on codex": ("/codex/v1/messages", MESSAGES, response_events(said("Hello you"))),
    "chat on codex": ("/codex/chat/completions", CHAT, response_events(said("Hello you"))),
    "messages on copilot": ("/copilot/v1/messages", MESSAGES, chat_events("Hello you")),
    "responses on copilot": ("/copilot/responses", RESPONSES, chat_events("Hello you")),
    "responses on codex": ("/codex/v1/responses", RESPONSES, response_events(said("Hello you"))),
    "chat on copilot": ("/copilot/v1/chat/completions", CHAT, chat_events("Hello you")),
}


def dialect_of(path: str) -> Any:
    if path.endswith("messages"):
        return "anthropic_messages"
    return "openai_responses" if path.endswith("responses") else "openai_chat"


@pytest.mark.parametrize("name", ROUTES)
async def test_streams_and_whole_answers(proxy: Proxy, upstream: ScriptedUpstream, name: str) -> None:
    path, request, events = ROUTES[name]
    usage = {"prompt_tokens": 9, "completion_tokens": 42}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello you"}}
    completion = json_reply({"id": "c", "choices": [choice], "usage": usage})
    upstream.replies += [sse_reply(*events), completion if name == "chat on copilot" else sse_reply(*events)]
    streamed = await proxy.client.post(path, json={**request, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert texts(read_stream(dialect_of(path), streamed.content)) == "Hello you"
    whole = await proxy.client.post(path, json=request)
    assert whole.headers["content-type"] == "application/json"
    reply = read_answer(dialect_of(path), whole.content)
    assert texts(reply) == "Hello you"
    assert reply.finished.usage.output == 42
    record = await proxy.ended()
    assert (record.ended, record.usage.output, record.calls) == ("done", 42, 1)
    assert record.client_bytes == len(whole.content)


@pytest.mark.parametrize("name", ROUTES)
async def test_a_cut_stream_never_looks_whole(proxy: Proxy, upstream: ScriptedUpstream, name: str) -> None:
    path, request, events = ROUTES[name]
    upstream.replies += [sse_reply(*events[:3]), sse_reply(*events[:3], Cut), sse_reply(*events[:3])]
    for _ in range(2):
        response = await proxy.client.post(path, json={**request, "stream": True})
        reply = read_stream(dialect_of(path), response.content)
        assert not reply.whole
        assert reply.failed is not None
        assert (await proxy.ended()).ended == "cut"
    if name != "chat on copilot":
        response = await proxy.client.post(path, json=request)
        assert response.status_code == 502
        assert "error" in response.json()


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request"), (401, "authentication"), (403, "permission"), (404, "not_found"), (429, "rate_limit")],
)
async def test_refusals_keep_their_status_and_words(
    proxy: Proxy, upstream: ScriptedUpstream, name: str, status: int, kind: str
) -> None:
    path, request, _ = ROUTES[name]
    upstream.replies.append(json_reply({"detail": "not like this"}, status, [("retry-after", "17")]))
    response = await proxy.client.post(path, json={**request, "stream": True})
    assert (response.status_code, response.headers["retry-after"]) == (status, "17")
    [failed] = stream_parser(dialect_of(path)).take_answer(response.json())
    assert (failed.kind, failed.message) == (kind, "not like this")  # type: ignore[union-attr]
    assert (await proxy.ended()).ended == "upstream_error"


async def test_an_overload_hidden_in_a_200_is_an_http_error(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    busy = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    upstream.replies += [sse_reply(busy), sse_reply(busy)]
    for stream in (True, False):
        response = await proxy.client.post("/api/v1/chat/completions", json={**CHAT, "stream": stream})
        assert response.status_code == 503
        assert response.json()["error"]["message"] == "busy"


async def test_an_error_in_the_middle_comes_in_the_stream(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    busy = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    upstream.replies.append(sse_reply(*message_events(TEXT)[:4], busy))
    response = await proxy.client.post("/api/v1/responses", json={**RESPONSES, "stream": True})
    assert response.status_code == 200
    reply = read_stream("openai_responses", response.content)
    assert reply.failed is not None
    assert (reply.failed.kind, reply.failed.message) == ("overloaded", "busy")
    assert (await proxy.ended()).error == "busy"


async def test_what_cannot_be_converted_is_refused_before_anybody_is_asked(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://e.com/a.png"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [picture]}]}
    response = await proxy.client.post("/api/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages[0].content")
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "hologram"}]}]}
    response = await proxy.client.post("/codex/v1/messages", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("messages.0.content.0.type: ")
    assert upstream.seen == []
    assert (await proxy.ended()).ended == "refused"


async def test_the_first_event_comes_while_the_upstream_is_open(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    events = response_events(said("Hello you"))
    upstream.replies.append(sse_reply(*events[:4], Wait(event=go_on), *events[4:]))
    body = {**MESSAGES, "stream": True}
    async with proxy.client.stream("POST", "/codex/v1/messages", json=body) as response:
        chunks = response.aiter_bytes()
        seen = b""
        while b"Hell" not in seen:
            seen += await anext(chunks)
        go_on.set()
        async for chunk in chunks:
            seen += chunk
    assert texts(read_stream("anthropic_messages", seen)) == "Hello you"


async def test_a_client_that_leaves_ends_the_upstream_call(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*message_events(TEXT)[:4], Wait(30)))
    async with proxy.client.stream("POST", "/api/v1/responses", json={**RESPONSES, "stream": True}) as response:
        await anext(response.aiter_bytes())
    assert (await proxy.ended()).ended == "client_gone"


async def test_the_report_comes_in_a_header_and_on_the_record(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies += [json_reply({"detail": "x"}, 400), sse_reply(*response_events(said("x")))]
    body = {**MESSAGES, "top_k": 3, "metadata": {"user_id": "ü"}}
    response = await proxy.client.post("/codex/v1/messages", json=body, headers={"x-ccproxy-report": "1"})
    response = await proxy.client.post("/codex/v1/messages", json=body, headers={"x-ccproxy-report": "1"})
    notes = json.loads(response.headers["x-ccproxy-conversion"])
    assert ["dropped", "top_k"] in [note[:2] for note in notes]
    record = await proxy.ended()
    assert ("dropped", "top_k") in {(note.action, note.field) for note in record.notes}
    assert "x-ccproxy-conversion" not in (await proxy.client.get("/demo/v1/models")).headers


async def test_secrets_stay_out_of_what_is_sent_and_kept(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*chat_events("x")))
    headers = {"authorization": "Bearer the-clients-own", "x-api-key": "another"}
    await proxy.client.post("/copilot/v1/messages", json=MESSAGES, headers=headers)
    [seen] = upstream.seen
    assert seen.all("authorization") == ["Bearer copilot-token"]
    assert seen.header("x-api-key") == ""
    assert "copilot-token" not in repr((await proxy.ended()).upstream_request_headers)


async def test_headers_of_one_vendors_sdk_do_not_go_to_another(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*response_events(said("x"))))
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "x", "x-stainless-lang": "python"}
    await proxy.client.post("/codex/v1/messages", json=MESSAGES, headers=headers)
    [seen] = upstream.seen
    assert not [name for name, _ in seen.headers if name.startswith(("anthropic-", "x-stainless-"))]
    assert seen.header("originator") == "ccproxy-tui"


# --- models ---


async def test_the_bare_route_goes_by_the_model(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies += [
        json_reply({"id": "msg_1", "type": "message", "model": "claude-sonnet-4-6", "content": []}),
        sse_reply(*response_events(said("x"))),
    ]
    response = await proxy.client.post("/v1/messages", json={**MESSAGES, "model": "sonnet"})
    assert response.json()["model"] == "sonnet", "the client sees the name that it asked for"
    assert upstream.seen[0].json["model"] == "claude-sonnet-4-6"
    response = await proxy.client.post("/v1/messages", json={**MESSAGES, "model": "gpt-5.4"})
    assert upstream.seen[1].target == "/codex/responses"
    assert response.json()["model"] == "gpt-5.4"


async def test_a_mapped_model_is_shown_under_its_own_name_in_a_relayed_stream(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    words = {"type": "text", "text": 'say "model":"x" and "model": "y"'}
    data = b"".join(message_events(words, model="claude-sonnet-4-6-20260101"))
    upstream.replies.append(sse_reply(*[data[at : at + 50] for at in range(0, len(data), 50)]))
    body = {**MESSAGES, "model": "sonnet", "stream": True}
    response = await proxy.client.post("/api/v1/messages", json=body)
    assert response.content == data.replace(b'"claude-sonnet-4-6-20260101"', b'"sonnet"')


async def test_own_rules_come_before_the_built_in_ones(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    rules = [
        {"match": "^(big|huge)-(.*)$", "kind": "regex", "provider": "codex", "target": r"gpt-\2"},
        {"match": "-fast", "kind": "suffix", "provider": "claude_api", "target": "claude-haiku-4-5"},
    ]
    proxy = await start_proxy(MODELS__RULES=json.dumps(rules))
    upstream.replies += [sse_reply(*response_events(said("x"))), json_reply({"model": "claude-haiku-4-5"})]
    await proxy.client.post("/v1/messages", json={**MESSAGES, "model": "huge-7"})
    await proxy.client.post("/api/v1/messages", json={**MESSAGES, "model": "claude-opus-fast"})
    assert [seen.json["model"] for seen in upstream.seen] == ["gpt-7", "claude-haiku-4-5"]


async def test_a_fallback_serves_when_the_first_choice_cannot(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    rule = {"match": "best", "provider": "claude_api", "target": "claude-opus-5", "fallbacks": ["codex/gpt-5.4"]}
    proxy = await start_proxy(MODELS__RULES=json.dumps([rule]))
    upstream.replies += [json_reply({"error": {"message": "busy"}}, 529), sse_reply(*response_events(said("from gpt")))]
    response = await proxy.client.post("/v1/messages", json={**MESSAGES, "model": "best"})
    assert response.json()["content"][0]["text"] == "from gpt"
    record = await proxy.ended()
    assert (record.provider, record.calls) == ("codex", 2)
    assert any(mark.name == "fell back" and "529" in mark.detail for mark in record.marks)


async def test_the_last_fallbacks_refusal_is_the_clients_to_know(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    rule = {"match": "best", "provider": "nobody", "target": "x", "fallbacks": ["claude_api/claude-opus-5"]}
    proxy = await start_proxy(MODELS__RULES=json.dumps([rule]))
    refusal = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    upstream.replies.append(json_reply(refusal, 429))
    response = await proxy.client.post("/v1/messages", json={**MESSAGES, "model": "best"})
    assert (response.status_code, response.json()) == (429, refusal)


async def test_limits_are_kept_when_asked_for(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy(MODELS__LIMIT_MAX_TOKENS="true", MODELS__MAX_TOKENS='{"claude-tiny": 10}')
    upstream.replies += [json_reply({}), json_reply({}), sse_reply(*message_events(TEXT))]
    await proxy.client.post("/api/v1/messages", json={**MESSAGES, "model": "claude-tiny-1"})
    await proxy.client.post("/api/v1/messages", json={**MESSAGES, "model": "claude-huge"})
    await proxy.client.post("/api/v1/chat/completions", json={**CHAT, "model": "claude-tiny-1", "max_tokens": 999})
    assert [seen.json["max_tokens"] for seen in upstream.seen] == [10, 50, 10]
    assert any(note.field == "max_tokens" for note in (await proxy.ended()).notes)


@pytest.mark.parametrize("path", ["/codex/v1/messages/count_tokens", "/copilot/messages/count_tokens"])
async def test_tokens_are_estimated_where_nobody_counts_them(
    proxy: Proxy, upstream: ScriptedUpstream, path: str
) -> None:
    response = await proxy.client.post(path, json=MESSAGES)
    assert 5 < response.json()["input_tokens"] < 50
    assert "estimate" in response.headers["x-ccproxy-note"]
    assert upstream.seen == []


async def test_model_lists_in_the_clients_form(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    claude = {"data": [{"type": "model", "id": "claude-opus-5-5", "display_name": "Opus"}], "has_more": False}
    copilot = {"data": [{"id": "gpt-4.1", "name": "GPT-4.1"}, {"id": "claude-sonnet-4.5", "name": "S"}]}

    def answer(seen: Any) -> Reply:
        return json_reply(copilot if seen.target.startswith("/copilot") else claude)

    upstream.default = answer
    async with anthropic.AsyncAnthropic(api_key="any", base_url=f"{proxy.url}/api", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["claude-opus-5-5"]
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{proxy.url}/api/v1", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["claude-opus-5-5"]
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{proxy.url}/v1", max_retries=0) as client:
        everybody = {model.id async for model in client.models.list()}
        assert {"claude-opus-5-5", "gpt-4.1", "gpt-5.4", "demo-1"} <= everybody
        assert (await client.models.retrieve("gpt-4.1")).id == "gpt-4.1"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nothing")


async def test_claude_codes_discovery_sees_models_that_it_accepts(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    headers = {"user-agent": "claude-cli/2.1.197", "anthropic-version": "2023-06-01"}
    listed = (await proxy.client.get("/codex/v1/models?limit=1000", headers=headers)).json()["data"]
    assert all(model["id"].startswith(("claude", "anthropic")) for model in listed)
    body = {**MESSAGES, "model": listed[0]["id"]}
    assert (await proxy.client.post("/codex/v1/messages", json=body)).status_code == 200
    assert upstream.seen[-1].json["model"] == listed[0]["id"].removeprefix("anthropic/")


async def test_a_session_in_the_path_names_the_conversation(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*response_events(said("x"))))
    await proxy.client.post("/codex/my-session/v1/messages", json=MESSAGES)
    assert upstream.seen[0].json["prompt_cache_key"] == "my-session"
    assert (await proxy.ended()).session == "my-session"


async def test_the_demo_speaks_every_dialect(proxy: Proxy) -> None:
    proxy.hub.settings.providers.demo.speed = 1000
    for path, request in (("chat/completions", CHAT), ("responses", RESPONSES)):
        body = json.loads(json.dumps(request).replace('"hi"', '"demo: echo=Hello from the demo"'))
        response = await proxy.client.post(f"/demo/v1/{path}", json={**body, "stream": True})
        assert "Hello from the demo" in texts(read_stream(dialect_of(path), response.content))


async def test_thinking_is_remembered_by_the_proxy(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}}
    upstream.replies += [sse_reply(*message_events(signed, use, stop="tool_use")), sse_reply(*message_events(TEXT))]
    tools = [{"type": "function", "function": {"name": "t"}}]
    request = {**CHAT, "model": "claude-sonnet-4-5", "tools": tools, "reasoning_effort": "low"}
    proxy = await start_proxy()
    answer = await proxy.client.post("/api/v1/chat/completions", json=request)
    call = answer.json()["choices"][0]["message"]["tool_calls"][0]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "x"}
    history = [HI, {"role": "assistant", "tool_calls": [call]}, result]
    again = await start_proxy()  # another process would read the same file
    await again.client.post("/api/v1/chat/completions", json={**request, "messages": history})
    assert upstream.seen[1].json["messages"][1]["content"] == [signed, use]


async def test_the_text_of_every_dialect_is_read_for_the_screens(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    from ccproxy_tui.core.text_reader import TextReader

    for path, request, events in (
        ("/codex/v1/messages", MESSAGES, response_events(thought("Hm."), said("Hello you"), called("t", {}))),
        ("/copilot/v1/messages", MESSAGES, chat_events("Hello you", [("c", "t", {})])),
    ):
        upstream.replies.append(sse_reply(*events))
        await proxy.client.post(path, json=request)
        segments = TextReader(await proxy.ended()).read()
        assert "Hello you" in "".join(segment.text for segment in segments if segment.kind == "text")
        assert "t" in [segment.title for segment in segments if segment.kind == "tool"]


async def test_a_whole_answer_that_no_parser_takes_has_no_text(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    from ccproxy_tui.core.text_reader import TextReader

    deep = b'{"content":' + b"[" * 5000 + b"]" * 5000 + b"}"
    upstream.replies.append(Reply(headers=[("content-type", "application/json")], body=[deep]))
    await proxy.client.post("/api/v1/messages", json=MESSAGES)
    assert TextReader(await proxy.ended()).read() == []


async def test_the_text_of_a_whole_answer_is_read_too(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    from ccproxy_tui.core.text_reader import TextReader

    upstream.replies.append(json_reply({"id": "msg_1", "type": "message", "model": "m", "content": [TEXT]}))
    await proxy.client.post("/api/v1/messages", json=MESSAGES)
    segments = TextReader(await proxy.ended()).read()
    assert [(segment.kind, segment.text) for segment in segments] == [("text", "Hello you")]


async def test_calls_reach_a_client_of_another_dialect(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*response_events(called("weather", {"city": "Bern"}))))
    response = await proxy.client.post("/codex/v1/messages", json={**MESSAGES, "stream": True})
    assert calls(read_stream("anthropic_messages", response.content)) == [("call_1", "weather", {"city": "Bern"})]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/codex/v1/responses/resp_1"),
        ("DELETE", "/api/v1/responses/resp_1"),
        ("POST", "/api/v1/responses/compact"),
        ("POST", "/api/v1/embeddings"),
        ("POST", "/codex/v1/embeddings"),
    ],
)
async def test_what_no_provider_has_is_a_404_in_openais_words(
    proxy: Proxy, upstream: ScriptedUpstream, method: str, path: str
) -> None:
    content = b'{"model":"m","input":"x"}' if method == "POST" else None
    response = await proxy.client.request(method, path, content=content)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"
    assert upstream.seen == []


async def test_codex_compacts_natively(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(json_reply({"output": [{"type": "compaction"}]}))
    response = await proxy.client.post("/codex/responses/compact", json={"model": "gpt-5.4", "input": []})
    assert response.json() == {"output": [{"type": "compaction"}]}
    assert (upstream.seen[0].target, upstream.seen[0].json) == (
        "/codex/responses/compact",
        {"model": "gpt-5.4", "input": []},
    )


async def test_a_connection_is_used_again_after_a_converted_stream(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    for _ in range(3):
        upstream.replies.append(sse_reply(*message_events(TEXT)))
        response = await proxy.client.post("/api/v1/chat/completions", json={**CHAT, "stream": True})
        assert response.content.endswith(b"data: [DONE]\n\n")
        await proxy.ended()
    assert upstream.connections == 1


async def test_an_upstream_that_compresses_unasked_is_understood(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    body = gzip.compress(b"".join(message_events(TEXT)))
    upstream.replies.append(sse_reply(body[:30], body[30:], headers=[("content-encoding", "gzip")]))
    response = await proxy.client.post("/api/v1/chat/completions", json={**CHAT, "stream": True})
    assert texts(read_stream("openai_chat", response.content)) == "Hello you"
    assert "content-encoding" not in response.headers
