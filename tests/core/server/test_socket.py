"""Responses over WebSocket: real sockets in, real sockets or HTTP out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import Proxy, StartProxy, until
from tests.fakes.sockets import SocketBackend, frames
from tests.fakes.streams import message_events, response_events, said
from tests.fakes.upstream import Cut, ScriptedUpstream, Wait, json_reply, sse_reply

pytestmark = pytest.mark.usefixtures("other_logins")

CREATE = {"type": "response.create", "model": "gpt-5.4", "input": "hi", "store": False}


async def turn(client: ClientConnection, request: dict[str, Any]) -> list[dict[str, Any]]:
    """One request, and every event up to its end."""
    await client.send(json.dumps(request))
    events = []
    while True:
        events.append(json.loads(await asyncio.wait_for(client.recv(), 10)))
        if events[-1]["type"] in ("response.completed", "response.failed", "error"):
            return events


def url(proxy: Proxy, path: str = "/codex/responses") -> str:
    return f"ws://127.0.0.1:{proxy.hub.port}{path}"


@pytest.fixture
async def backend() -> AsyncIterator[SocketBackend]:
    backend = SocketBackend()
    yield backend
    await backend.stop()


async def test_a_turn_over_the_socket_is_an_exchange_over_http(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    upstream.default = lambda seen: sse_reply(*response_events(said("hello")))
    headers = {"session-id": "s1", "authorization": "Bearer client-secret-client", "originator": "codex_exec"}
    async with connect(url(proxy), additional_headers=headers, proxy=None) as client:
        events = await turn(client, CREATE)
        assert events == frames(response_events(said("hello")))
        await turn(client, {**CREATE, "input": "again"})
    seen = upstream.seen[0]
    assert (seen.method, seen.target, seen.json["stream"]) == ("POST", "/codex/responses", True)
    assert "type" not in seen.json
    assert seen.header("session-id") == "s1"
    assert "client-secret" not in str(seen.headers)
    assert not any(name.startswith(("sec-websocket", "upgrade", "x-ccproxy")) for name, _ in seen.headers)
    record = await proxy.ended()
    assert (record.ended, record.session, record.usage.output) == ("done", "s1", 42)
    assert len(proxy.hub.store) == 2


async def test_what_was_announced_comes_with_the_request_that_names_it(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    upstream.default = lambda seen: sse_reply(*response_events(said("hello"), id=f"resp_{len(upstream.seen)}"))
    async with connect(url(proxy), proxy=None) as client:
        announced = await turn(client, {**CREATE, "input": "the long beginning", "generate": False})
        assert [event["type"] for event in announced] == ["response.created", "response.completed"]
        assert upstream.seen == [], "an announcement costs nothing"
        name = announced[-1]["response"]["id"]
        first = await turn(client, {**CREATE, "input": "hi", "previous_response_id": name})
        await turn(client, {**CREATE, "input": "more", "previous_response_id": first[-1]["response"]["id"]})
    words = [[item["content"][0]["text"] for item in seen.json["input"]] for seen in upstream.seen]
    assert words == [["the long beginning", "hi"], ["the long beginning", "hi", "hello", "more"]]


async def test_the_socket_leads_to_other_providers_too(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy()
    upstream.default = lambda seen: sse_reply(*message_events({"type": "text", "text": "from Claude"}))
    async with connect(url(proxy, "/api/v1/responses"), proxy=None) as client:
        events = await turn(client, {**CREATE, "model": "claude-sonnet-4-5"})
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "from Claude"
    assert upstream.seen[0].target.startswith("/v1/messages")


async def test_refusals_are_error_events_and_the_socket_goes_on(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    limit = {"error": {"type": "usage_limit_reached", "message": "limit", "resets_in_seconds": 70}}
    upstream.replies.append(json_reply(limit, 429, [("x-codex-primary-used-percent", "100")]))
    upstream.replies.append(json_reply({"detail": "Unsupported parameter: x"}, 400))
    upstream.replies.append(sse_reply(*response_events(said("at last"))))
    async with connect(url(proxy), proxy=None) as client:
        [refused] = await turn(client, CREATE)
        assert (refused["status"], refused["error"]["message"]) == (429, "limit")
        assert (refused["headers"]["retry-after"], refused["headers"]["x-codex-primary-used-percent"]) == ("70", "100")
        [wrong] = await turn(client, CREATE)
        assert (wrong["status"], wrong["error"]["message"]) == (400, "Unsupported parameter: x")
        assert (await turn(client, CREATE))[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', "", '{"type": "response.steer"}', '{"type": 5}', "\x00", "[" * 9999]
)
async def test_frames_that_are_no_request_are_refused_and_the_socket_goes_on(
    start_proxy: StartProxy, upstream: ScriptedUpstream, text: str
) -> None:
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    async with connect(url(proxy), proxy=None) as client:
        await client.send(text)
        event = json.loads(await client.recv())
        assert (event["type"], event["status"]) == ("error", 400)
        assert (await turn(client, CREATE))[-1]["type"] == "response.completed"
        [refused] = await turn(client, {"type": "response.create", "model": "m", "input": 5})
        assert refused["status"] == 400


async def test_an_answer_that_breaks_off_never_looks_whole(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    upstream.default = lambda seen: sse_reply(*response_events(said("hello"))[:4], Cut)
    async with connect(url(proxy), proxy=None) as client:
        events = await turn(client, CREATE)
        assert events[-1]["type"] in ("error", "response.failed")
        assert "response.completed" not in {event["type"] for event in events}


async def test_a_client_that_leaves_ends_the_upstream_call(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy(CODEX__UPSTREAM_WEBSOCKET="off")
    upstream.default = lambda seen: sse_reply(*response_events(said("hello"))[:3], Wait(60))
    async with connect(url(proxy), proxy=None) as client:
        await client.send(json.dumps(CREATE))
        await client.recv()
    await until(lambda: len(upstream.closed) == 1)
    assert (await proxy.ended()).ended == "client_gone"


async def test_where_no_socket_is_wanted_clients_are_told_to_use_http(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(CODEX__WEBSOCKET="false", SECURITY__AUTH_TOKEN="a-good-long-token")
    key = {"x-api-key": "a-good-long-token"}
    for path in ("/codex/responses", "/api/v1/messages", "/nothing", "/control/status"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(proxy, path), additional_headers=key, proxy=None).__aenter__()
        assert refused.value.response.status_code == 426
    for headers in ({}, {"x-api-key": "wrong"}, {**key, "origin": "https://evil.example"}):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(proxy), additional_headers=headers, proxy=None).__aenter__()
        assert refused.value.response.status_code == 403


# --- the backend's own socket ---


async def test_a_socket_leads_to_the_backends_socket(start_proxy: StartProxy, backend: SocketBackend) -> None:
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())
    headers = {"session-id": "s1", "openai-beta": "responses_websockets=2026-02-06"}
    async with connect(url(proxy), additional_headers=headers, proxy=None) as client:
        for _ in range(2):
            events = await turn(client, CREATE)
            assert events[-1]["response"]["output"][0]["content"][0]["text"] == "over the socket"
    [handshake] = backend.handshakes
    assert handshake.path == "/responses"
    assert handshake.headers["authorization"].startswith("Bearer ")
    assert handshake.headers["chatgpt-account-id"] == "acct-1"
    assert handshake.headers["openai-beta"] == "responses_websockets=2026-02-06"
    number, request = backend.requests[0]
    assert (number, request["type"], request["store"], "stream" in request) == (1, "response.create", False, False)
    assert [number for number, _ in backend.requests] == [1, 1], "the conversation keeps its connection"
    record = await proxy.ended()
    assert (record.ended, record.usage.output, record.upstream_status) == ("done", 42, 200)
    async with connect(url(proxy), additional_headers={"session-id": "s2"}, proxy=None) as client:
        await turn(client, CREATE)
    assert backend.requests[2][0] == 2, "another conversation has another connection"


async def test_clients_over_http_stay_with_http(
    start_proxy: StartProxy, backend: SocketBackend, upstream: ScriptedUpstream
) -> None:
    proxy = await start_proxy()
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    assert (await proxy.client.post("/codex/responses", json=CREATE)).status_code == 200
    assert upstream.seen[0].method == "POST"


@pytest.mark.parametrize("status", [426, 404, 500, 401])
async def test_a_refused_upgrade_falls_back_to_http(
    start_proxy: StartProxy, upstream: ScriptedUpstream, status: int
) -> None:
    def answer(seen: Any) -> Any:
        return json_reply({}, status) if seen.method == "GET" else sse_reply(*response_events(said("over HTTP")))

    upstream.default = answer
    proxy = await start_proxy()
    async with connect(url(proxy), proxy=None) as client:
        for _ in range(2):
            events = await turn(client, CREATE)
            assert events[-1]["response"]["output"][0]["content"][0]["text"] == "over HTTP"
    gets = [seen for seen in upstream.seen if seen.method == "GET"]
    assert len(gets) == (2 if status == 401 else 1), "who refuses sockets is left alone for a while"
    assert "over HTTP" in {mark.name for mark in (await proxy.ended()).marks}


async def test_a_connection_that_was_closed_while_idle_is_replaced(
    start_proxy: StartProxy, backend: SocketBackend
) -> None:
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())

    async def once(connection: ServerConnection, request: dict[str, Any]) -> None:
        await backend.answer(connection, request)
        await connection.close()

    backend.script = once
    async with connect(url(proxy), additional_headers={"session-id": "s"}, proxy=None) as client:
        for _ in range(3):
            assert (await turn(client, CREATE))[-1]["type"] == "response.completed"
    assert len(backend.handshakes) == 3


async def test_errors_in_place_of_an_answer_fail_over_to_the_next_account(
    start_proxy: StartProxy, backend: SocketBackend, tmp_path: Any
) -> None:
    second = tmp_path / "second.json"
    second.write_text(json.dumps({"tokens": {"access_token": "second", "account_id": "acct-2", "refresh_token": "r"}}))

    async def by_account(connection: ServerConnection, request: dict[str, Any]) -> None:
        assert connection.request is not None
        if connection.request.headers["chatgpt-account-id"] == "acct-2":
            await backend.answer(connection, request)
            return
        limit = {"type": "usage_limit_reached", "message": "limit", "resets_in_seconds": 600}
        await connection.send(json.dumps({"type": "error", "status": 429, "error": limit}))

    backend.script = by_account
    proxy = await start_proxy(
        PROVIDERS__CODEX__BASE_URL=await backend.start(), PROVIDERS__CODEX__ACCOUNTS__SECOND=str(second)
    )
    async with connect(url(proxy), proxy=None) as client:
        assert (await turn(client, CREATE))[-1]["type"] == "response.completed"
    assert (await proxy.ended()).account == "second"
    assert [number for number, _ in backend.requests] == [1, 2], "accounts never share a connection"


async def test_an_idle_socket_holds_no_memory_of_its_last_request(
    start_proxy: StartProxy, backend: SocketBackend
) -> None:
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start(), SERVER__CLIENT_MEMORY_MB="1")
    async with connect(url(proxy), proxy=None) as client:
        assert (await turn(client, {**CREATE, "input": "x" * 900_000}))[-1]["type"] == "response.completed"
        await until(lambda: not proxy.hub.running)
        async with connect(url(proxy), proxy=None) as other:
            events = await asyncio.wait_for(turn(other, {**CREATE, "input": "x" * 900_000}), 10)
            assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize("odd", [{"input": 5}, {"input": {"a": 1}}, {"model": [], "input": 5}])
async def test_an_odd_announcement_is_refused_and_the_socket_lives_on(
    start_proxy: StartProxy, backend: SocketBackend, odd: dict[str, Any]
) -> None:
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())
    async with connect(url(proxy), proxy=None) as client:
        [error] = await turn(client, {**CREATE, "generate": False, **odd})
        assert (error["type"], error["status"]) == ("error", 400)
        assert (await turn(client, CREATE))[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"status": 429, "headers": {"retry-after": "7", "x-a": "1\r\nset-cookie: b=1", "x-n": 5}}, 429),
        ({"status": True}, 0),
        ({"status": 200}, 0),
        ({"status": 70000}, 0),
        ({"status_code": 500}, 500),
    ],
)
async def test_a_refusal_on_the_backends_socket_is_a_plain_one(
    start_proxy: StartProxy, backend: SocketBackend, told: dict[str, Any], status: int
) -> None:
    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        await connection.send(json.dumps({"type": "error", "error": {"message": "no", "code": "x"}, **told}))

    backend.script = script
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())
    async with connect(url(proxy), proxy=None) as client:
        [error] = await turn(client, CREATE)
    assert error["error"]["message"] == "no"
    assert error.get("status", 0) == status or not status
    assert (await proxy.ended()).status == (status or 200)
    assert error.get("headers", {}).get("retry-after") == told.get("headers", {}).get("retry-after")
    assert "set-cookie" not in str(error)


@pytest.mark.parametrize("rubbish", ["no json", "[1]", '{"kind": 1}', "close", b"\xff\xfe"])
async def test_rubbish_and_cuts_of_the_backends_socket_are_said(
    start_proxy: StartProxy, backend: SocketBackend, rubbish: Any
) -> None:
    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        for frame in frames(response_events(said("hello")))[:3]:
            await connection.send(json.dumps(frame))
        if rubbish == "close":
            await connection.close(1011)
        else:
            await connection.send(rubbish)

    backend.script = script
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())
    async with connect(url(proxy), proxy=None) as client:
        events = await turn(client, CREATE)
        assert events[-1]["type"] in ("error", "response.failed")
    assert (await proxy.ended()).ended in ("cut", "upstream_error")


async def test_a_client_that_leaves_ends_the_backends_answer(start_proxy: StartProxy, backend: SocketBackend) -> None:
    ended = asyncio.Event()

    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        try:
            for _ in range(2000):
                await connection.send(json.dumps({"type": "response.created", "response": {"id": "r"}}))
                await asyncio.sleep(0.005)
        except ConnectionClosed:
            ended.set()

    backend.script = script
    proxy = await start_proxy(PROVIDERS__CODEX__BASE_URL=await backend.start())
    async with connect(url(proxy), proxy=None) as client:
        await client.send(json.dumps(CREATE))
        await client.recv()
    await asyncio.wait_for(ended.wait(), 5)
    assert (await proxy.ended()).ended == "client_gone"
