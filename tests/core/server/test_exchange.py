"""An exchange as a client and its upstream see it, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib

import httpx
import pytest
import zstandard

from tests.conftest import ACCESS_TOKEN, Proxy, StartProxy, until
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Wait, anthropic_stream, json_reply, sse_reply

REQUEST = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**REQUEST, "stream": True}
PATH = "/api/v1/messages"


async def test_a_stream_arrives_byte_for_byte_and_the_upstream_is_asked_once(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    events = anthropic_stream("one two three")
    upstream.replies.append(sse_reply(*events, headers=[("request-id", "req_1"), ("anthropic-ratelimit-x", "7")]))
    response = await proxy.client.post(PATH, json=STREAM)
    assert response.content == b"".join(events)
    assert response.headers["request-id"] == "req_1"
    assert response.headers["anthropic-ratelimit-x"] == "7"
    assert len(upstream.seen) == 1
    assert upstream.seen[0].target == "/v1/messages"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_any_cut_of_the_upstream_stream_arrives_whole(
    proxy: Proxy, upstream: ScriptedUpstream, size: int
) -> None:
    whole = b"".join(anthropic_stream("zwölf Boxkämpfer \u2028 jagen"))
    upstream.replies.append(sse_reply(*(whole[i : i + size] for i in range(0, len(whole), size))))
    response = await proxy.client.post(PATH, json=STREAM)
    assert response.content == whole


async def test_the_request_body_goes_up_unchanged(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    body = b'{ "model":"m",  "unknown_field": [1, 2.50, 1e3, "\\u00e9"], "messages":[] }\n'
    upstream.replies.append(json_reply({"ok": True}))
    response = await proxy.client.post(PATH, content=body)
    assert response.json() == {"ok": True}
    assert upstream.seen[0].body == body


async def test_headers_of_the_client_go_up_and_its_credentials_do_not(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(json_reply({}))
    await proxy.client.post(
        PATH + "?beta=true",
        json=REQUEST,
        headers={
            "authorization": "Bearer client-secret",
            "x-api-key": "client-secret",
            "anthropic-beta": "context-1m-2025-08-07,oauth-2025-04-20",
            "anthropic-version": "2026-10-21",
            "x-something-new": "kept",
            "cookie": "a=b",
            "user-agent": "claude-cli/2.1.197 (external, cli)",
        },
    )
    seen = upstream.seen[0]
    assert seen.target == "/v1/messages?beta=true"
    assert seen.all("authorization") == [f"Bearer {ACCESS_TOKEN}"]
    assert seen.all("anthropic-beta") == ["context-1m-2025-08-07,oauth-2025-04-20"]
    assert seen.header("anthropic-version") == "2026-10-21"
    assert seen.header("x-something-new") == "kept"
    assert seen.header("user-agent") == "claude-cli/2.1.197 (external, cli)"
    assert seen.header("accept-encoding") == "identity"
    assert not seen.header("x-api-key")
    assert not seen.header("cookie")
    assert b"client-secret" not in repr(seen).encode()


async def test_the_oauth_beta_is_added_after_the_clients_own(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(json_reply({}))
    await proxy.client.post(PATH, json=REQUEST, headers={"anthropic-beta": "a-1, b-2"})
    assert upstream.seen[0].all("anthropic-beta") == ["a-1,b-2,oauth-2025-04-20"]


async def test_an_api_key_from_the_settings_is_used_instead_of_a_login(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy(PROVIDERS__CLAUDE_API__API_KEY="sk-ant-api03-key")
    upstream.replies.append(json_reply({}))
    await proxy.client.post(PATH, json=REQUEST)
    assert upstream.seen[0].header("x-api-key") == "sk-ant-api03-key"
    assert not upstream.seen[0].header("authorization")
    assert "oauth" not in upstream.seen[0].header("anthropic-beta")


@pytest.mark.parametrize("path", ["/api/v1/messages", "/claude/v1/messages", "/v1/messages", "/api/messages"])
async def test_every_spelling_of_the_messages_route_is_served(
    proxy: Proxy, upstream: ScriptedUpstream, path: str
) -> None:
    upstream.replies.append(json_reply({"ok": 1}))
    assert (await proxy.client.post(path, json=REQUEST)).status_code == 200
    assert upstream.seen[0].target == "/v1/messages"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models?limit=1000"),
        ("GET", "/v1/models/claude-opus-4-1"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/files/file_1/content"),
        ("DELETE", "/v1/files/file_1"),
    ],
)
async def test_every_other_path_of_the_api_is_relayed(
    proxy: Proxy, upstream: ScriptedUpstream, method: str, path: str
) -> None:
    upstream.replies.append(json_reply({"path": path}))
    content = b"{}" if method == "POST" else None
    headers = {"anthropic-version": "2023-06-01"}
    response = await proxy.client.request(method, "/api" + path, content=content, headers=headers)
    assert response.json() == {"path": path}
    assert (upstream.seen[0].method, upstream.seen[0].target) == (method, path)


async def test_a_head_request_and_an_empty_answer_pass(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies += [Reply(200, [("x-a", "b")]), Reply(204)]
    head = await proxy.client.head("/api/v1/files/x")
    assert (head.status_code, head.headers["x-a"]) == (200, "b")
    assert (await proxy.client.delete("/api/v1/files/x")).status_code == 204


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
async def test_an_upstream_error_passes_unchanged(proxy: Proxy, upstream: ScriptedUpstream, status: int) -> None:
    body = {"type": "error", "error": {"type": "x", "message": "why", "details": {"error_code": 1}}}
    upstream.replies.append(json_reply(body, status, [("retry-after", "7")]))
    response = await proxy.client.post(PATH, json=STREAM)
    assert (response.status_code, response.json(), response.headers["retry-after"]) == (status, body, "7")
    record = await proxy.ended()
    assert (record.ended, record.status) == ("upstream_error", status)


# --- what goes wrong ---


def anthropic_error(response: httpx.Response) -> tuple[str, str]:
    body = response.json()
    assert body["type"] == "error"
    return body["error"]["type"], body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "word"),
    [(b"", "empty"), (b"  ", "empty"), (b"{", "valid JSON"), (b"[1]", "object"), (b'{"model": "\xff"}', "valid")],
)
async def test_a_broken_body_is_a_400_in_the_clients_dialect(
    proxy: Proxy, upstream: ScriptedUpstream, body: bytes, word: str
) -> None:
    response = await proxy.client.post(PATH, content=body)
    assert response.status_code == 400
    kind, message = anthropic_error(response)
    assert kind == "invalid_request_error"
    assert word in message
    assert upstream.seen == []
    assert (await proxy.ended()).ended == "refused"


async def test_a_wrong_content_type_is_a_415_that_says_what_to_send(proxy: Proxy) -> None:
    response = await proxy.client.post(PATH, content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert "application/json" in anthropic_error(response)[1]


async def test_an_openai_client_gets_an_openai_error(proxy: Proxy) -> None:
    response = await proxy.client.post("/api/v1/chat/completions", content=b"{")
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_get_on_the_messages_route_is_a_405(proxy: Proxy) -> None:
    response = await proxy.client.get(PATH)
    assert response.status_code == 405


async def test_an_unknown_path_is_a_404(proxy: Proxy) -> None:
    assert (await proxy.client.get("/nothing/here")).status_code == 404


async def test_a_body_over_the_limit_is_a_413_and_is_not_relayed(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy(SERVER__MAX_BODY_MB="1")
    big = json.dumps({**REQUEST, "pad": "x" * (1 << 20)}).encode()
    declared = await proxy.client.post(PATH, content=big)
    assert (declared.status_code, anthropic_error(declared)[0]) == (413, "request_too_large")

    async def pieces():  # type: ignore[no-untyped-def]
        for start in range(0, len(big), 4096):
            yield big[start : start + 4096]

    streamed = await proxy.client.post(PATH, content=pieces())
    assert streamed.status_code == 413
    assert upstream.seen == []


async def test_a_head_over_the_limit_is_a_431_in_the_clients_dialect(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(SERVER__MAX_HEADER_KB="4")
    response = await proxy.client.post(PATH, json=REQUEST, headers={"x-long": "x" * 5000})
    assert response.status_code == 431
    assert anthropic_error(response)[0] == "invalid_request_error"


async def test_an_endless_header_line_is_a_431_too(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(SERVER__MAX_HEADER_KB="4")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.hub.port)
    writer.write(b"POST /api/v1/messages HTTP/1.1\r\nx-endless: " + b"x" * 6000)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_blank_lines_without_end_are_a_431_too(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(SERVER__MAX_HEADER_KB="4")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.hub.port)
    writer.write(b"\r\n" * 3000)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 431 ")
    writer.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "gzip, zstd"])
async def test_compressed_bodies_are_understood(proxy: Proxy, upstream: ScriptedUpstream, encoding: str) -> None:
    plain = json.dumps(REQUEST).encode()
    pack = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstandard.ZstdCompressor().compress,
        "gzip, zstd": lambda data: zstandard.ZstdCompressor().compress(gzip.compress(data)),
    }[encoding]
    upstream.replies.append(json_reply({}))
    response = await proxy.client.post(PATH, content=pack(plain), headers={"content-encoding": encoding})
    assert response.status_code == 200
    assert upstream.seen[0].body == plain
    assert not upstream.seen[0].header("content-encoding")


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip", b"not gzip", 400),
        ("zstd", b"no", 400),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-9], 400),
    ],
)
async def test_a_broken_compression_is_refused(proxy: Proxy, encoding: str, body: bytes, status: int) -> None:
    response = await proxy.client.post(PATH, content=body, headers={"content-encoding": encoding})
    assert response.status_code == status


async def test_a_decompression_bomb_is_a_413(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(SERVER__MAX_BODY_MB="1")
    for encoding, bomb in (
        ("gzip", gzip.compress(b" " * (50 << 20), mtime=0)),
        ("zstd", zstandard.ZstdCompressor().compress(b" " * (50 << 20))),
    ):
        response = await proxy.client.post(PATH, content=bomb, headers={"content-encoding": encoding})
        assert response.status_code == 413


async def test_no_credentials_is_a_401_with_the_next_step(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    import pathlib

    (pathlib.Path.home() / ".claude" / ".credentials.json").unlink()
    response = await proxy.client.post(PATH, json=REQUEST)
    assert response.status_code == 401
    kind, message = anthropic_error(response)
    assert kind == "authentication_error"
    assert "claude" in message
    assert upstream.seen == []


async def test_an_unreachable_upstream_is_a_502(start_proxy: StartProxy) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proxy = await start_proxy()
    proxy.hub.settings.providers.claude_api.base_url = f"http://127.0.0.1:{port}"
    response = await proxy.client.post(PATH, json=REQUEST)
    assert response.status_code == 502
    assert f"127.0.0.1:{port}" in anthropic_error(response)[1]


@pytest.mark.parametrize("raw", [b"", b"garbage\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_an_upstream_that_does_not_speak_http_is_a_502(
    proxy: Proxy, upstream: ScriptedUpstream, raw: bytes
) -> None:
    upstream.replies.append(Reply(raw=raw))
    response = await proxy.client.post(PATH, json=STREAM)
    assert response.status_code == 502
    assert anthropic_error(response)[0] == "api_error"


async def test_a_stream_cut_between_events_ends_with_an_error_event(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    events = anthropic_stream()
    upstream.replies.append(sse_reply(*events[:4], Cut))
    response = await proxy.client.post(PATH, json=STREAM)
    assert response.content.startswith(b"".join(events[:4]))
    tail = response.content[len(b"".join(events[:4])) :]
    assert tail.startswith(b"event: error\ndata: ")
    assert json.loads(tail.split(b"data: ")[1])["error"]["type"] == "api_error"
    assert b"message_stop" not in response.content
    assert (await proxy.ended()).ended == "cut"


async def test_a_stream_cut_inside_an_event_breaks_off(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    events = anthropic_stream()
    upstream.replies.append(sse_reply(*events[:3], events[3][:20], Cut))
    with pytest.raises(httpx.RemoteProtocolError):
        await proxy.client.post(PATH, json=STREAM)
    assert (await proxy.ended()).ended == "cut"


async def test_a_clean_end_without_the_end_mark_is_not_passed_on_as_whole(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream()[:-2]))
    response = await proxy.client.post(PATH, json=STREAM)
    assert b"event: error" in response.content
    assert (await proxy.ended()).ended == "cut"


async def test_a_cut_json_answer_breaks_off(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(Reply(raw=b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"half":'))
    with pytest.raises(httpx.RemoteProtocolError):
        await proxy.client.post(PATH, json=REQUEST)


async def test_an_error_event_in_a_stream_is_passed_on_and_recorded(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Over\\u0021"}}\n\n'
    upstream.replies.append(sse_reply(*anthropic_stream()[:3], error))
    response = await proxy.client.post(PATH, json=STREAM)
    assert response.content.endswith(error)
    assert response.content.count(b"event: error") == 1
    record = await proxy.ended()
    assert (record.ended, record.error) == ("upstream_error", "Over!")


async def test_a_silent_upstream_is_a_504(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy(HTTP__READ_TIMEOUT="0.2")
    upstream.replies.append(Reply(before_head=[Wait(5)]))
    response = await proxy.client.post(PATH, json=REQUEST)
    assert (response.status_code, anthropic_error(response)[0]) == (504, "timeout_error")
    assert (await proxy.ended()).ended == "stalled"


async def test_a_client_that_leaves_cancels_the_upstream_at_once(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream()[:3], Wait(30)))
    async with proxy.client.stream("POST", PATH, json=STREAM) as response:
        async for _ in response.aiter_raw():
            break
    await until(lambda: upstream.closed == [1], seconds=1)
    record = await proxy.ended()
    assert (record.ended, record.status) == ("client_gone", 499)


async def test_a_client_that_leaves_before_the_answer_cancels_the_upstream(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(Reply(before_head=[Wait(30)]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(upstream.seen) == 1)
    asked.cancel()
    await until(lambda: upstream.closed == [1], seconds=1)
    assert (await proxy.ended()).ended == "client_gone"


async def test_a_slow_client_slows_the_upstream_down_instead_of_filling_memory(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    block = b"data: " + b"x" * 65530 + b"\n\n"
    sent = 0

    async def count() -> None:
        nonlocal sent
        sent = proxy.last.upstream_bytes

    upstream.replies.append(sse_reply(*[block] * 800, *anthropic_stream()))
    async with proxy.client.stream("POST", PATH, json=STREAM) as response:
        iterator = response.aiter_raw()
        await anext(iterator)
        previous = -1
        for _ in range(100):  # until the flow has come to rest
            await asyncio.sleep(0.02)
            await count()
            if sent == previous:
                break
            previous = sent
        assert sent < 30 * 1024 * 1024
        assert upstream.closed == []


# --- keep-alive ---


async def tick(proxy: Proxy, seconds: float) -> None:
    """What the proxy's ticker does when `seconds` of silence have passed."""
    now = proxy.hub.clock.monotonic() + seconds
    for exchange in list(proxy.hub.running.values()):
        exchange.tick(now)


async def test_a_silent_stream_gets_pings_between_events_and_counts_them(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    go_on = asyncio.Event()
    events = anthropic_stream()
    upstream.replies.append(sse_reply(*events[:3], Wait(event=go_on), *events[3:]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.upstream_bytes == len(b"".join(events[:3])))
    await tick(proxy, 16)
    await until(lambda: proxy.last.pings == 1)
    go_on.set()
    response = await asked
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    assert response.content == b"".join(events[:3]) + ping + b"".join(events[3:])
    assert (await proxy.ended()).ended == "done"


async def test_no_ping_lands_inside_an_event(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    whole = b"".join(anthropic_stream())
    upstream.replies.append(sse_reply(whole[:50], Wait(event=go_on), whole[50:]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.upstream_bytes == 50)
    await tick(proxy, 60)
    await asyncio.sleep(0.02)
    go_on.set()
    assert (await asked).content == whole


async def test_pings_start_before_the_first_byte_and_the_answer_still_arrives(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    go_on = asyncio.Event()
    events = anthropic_stream()
    upstream.replies.append(
        Reply(200, [("content-type", "text/event-stream")], events, True, None, [Wait(event=go_on)])
    )
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(upstream.seen) == 1)
    await tick(proxy, 16)
    await until(lambda: proxy.last.pings == 1)
    go_on.set()
    response = await asked
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == b'event: ping\ndata: {"type": "ping"}\n\n' + b"".join(events)


async def test_an_error_after_an_early_ping_arrives_as_an_error_event(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    refusal = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    upstream.replies.append(Reply(429, [], [json.dumps(refusal).encode()], False, None, [Wait(event=go_on)]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(upstream.seen) == 1)
    await tick(proxy, 16)
    await until(lambda: proxy.last.pings == 1)
    go_on.set()
    response = await asked
    error = json.loads(response.content.split(b"event: error\ndata: ")[1])
    assert "slow down" in error["error"]["message"]


async def test_an_answer_that_is_not_streamed_gets_no_ping(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    upstream.replies.append(Reply(200, [], [b"{}"], False, None, [Wait(event=go_on)]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=REQUEST))
    await until(lambda: len(upstream.seen) == 1)
    await tick(proxy, 600)
    go_on.set()
    assert (await asked).content == b"{}"


async def test_a_stall_is_marked_and_so_is_its_end(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    events = anthropic_stream()
    upstream.replies.append(sse_reply(*events[:3], Wait(event=go_on), *events[3:]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.events >= 3)
    await tick(proxy, 25)
    await tick(proxy, 0)
    go_on.set()
    await asked
    names = [mark.name for mark in (await proxy.ended()).marks]
    assert names.index("stalled") < names.index("resumed")


# --- what the record says ---


async def test_usage_model_and_times_are_read_from_the_relayed_bytes(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream("a b c")))
    await proxy.client.post(PATH, json=STREAM, headers={"user-agent": "claude-cli/2.1.197 (external, cli)"})
    record = await proxy.ended()
    assert record.client == "claude-code"
    assert record.model == "claude-sonnet-4-5"
    assert record.served_model == "claude-sonnet-4-5-20250929"
    assert (record.usage.input, record.usage.output) == (12, 42)
    assert (record.usage.cache_read, record.usage.cache_write) == (100, 5)
    assert record.stop_reason == "end_turn"
    assert record.calls == 1
    assert record.first_byte is not None
    assert record.first_token is not None
    assert record.first_byte <= record.first_token <= (record.duration or 0)
    names = [mark.name for mark in record.marks]
    assert names == [
        "accepted",
        "body read",
        "routed",
        "upstream asked",
        "upstream answered",
        "first byte",
        "first token",
        "ended",
    ]


async def test_no_secret_is_kept_on_the_record(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(json_reply({}, headers=[("set-cookie", "session=abcdefghijklmnop")]))
    await proxy.client.post(PATH, json=REQUEST, headers={"authorization": "Bearer client-secret-client"})
    record = await proxy.ended()
    kept = repr((record.request_headers, record.upstream_request_headers, record.response_headers))
    assert ACCESS_TOKEN not in kept
    assert "client-secret" not in kept
    assert "abcdefghijklmnop" not in kept


async def test_the_clients_request_id_is_echoed(proxy: Proxy) -> None:
    response = await proxy.client.post(PATH, content=b"", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert response.json()["request_id"] == "mine-1"


# --- stopping ---


async def test_a_person_stops_a_stream_and_the_client_is_told(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream()[:3], Wait(30)))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.events >= 3)
    control = proxy.control()
    await control.stop_exchange(proxy.last.id)
    response = await asked
    assert b"stopped by the user" in response.content
    await until(lambda: upstream.closed == [1], seconds=1)
    assert (await proxy.ended()).ended == "stopped"
    await control.close()


async def test_a_draining_proxy_refuses_new_work_and_lets_live_streams_end(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy(SERVER__DRAIN_SECONDS="20")
    go_on = asyncio.Event()
    events = anthropic_stream()
    upstream.replies.append(sse_reply(*events[:3], Wait(event=go_on), *events[3:]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.events >= 3)
    proxy.hub.request_stop(drain=True)
    await until(lambda: proxy.hub.draining)
    refused = await proxy.client.post(PATH, json=STREAM)
    assert (refused.status_code, anthropic_error(refused)[0]) == (503, "overloaded_error")
    go_on.set()
    assert (await asked).content == b"".join(events)
    assert await proxy.task == 0


async def test_fifty_streams_at_once_stay_apart(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*anthropic_stream(seen.json["messages"][0]["content"]))

    async def one(number: int) -> bool:
        word = f"stream-{number} " * 20
        body = {**STREAM, "messages": [{"role": "user", "content": word}]}
        return (await proxy.client.post(PATH, json=body)).content == b"".join(anthropic_stream(word))

    assert all(await asyncio.gather(*(one(number) for number in range(50))))
    assert len(upstream.seen) == 50


async def test_a_body_nested_too_deeply_is_the_clients_to_know(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: json_reply({"content": []})
    nested = json.dumps("[" * 20_000)
    deep = f'{{"model": "m", "max_tokens": 1, "messages": [], "metadata": {{"user_id": {nested}}}}}'
    assert (await proxy.client.post("/api/v1/messages", content=deep)).status_code == 200

    deep = f'{{"model": "m", "max_tokens": 1, "messages": {"[" * 20_000}{"]" * 20_000}}}'
    answer = await proxy.client.post("/api/v1/messages", content=deep)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
