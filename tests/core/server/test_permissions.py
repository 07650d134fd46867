"""Permission requests over real sockets: who may ask, who may answer, and that everybody gets an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import AskView, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.permissions.risk import OWN_SECRET
from ccproxy_tui.core.text import sse
from ccproxy_tui.core.text.redact import learn_secret
from tests.conftest import Proxy, StartProxy, until
from tests.fakes.upstream import ScriptedUpstream, anthropic_stream, sse_reply

CHECK = {"tool_name": "Bash", "input": {"command": "ls", "timeout": 5000, "deep": {"a": [1, None]}}}


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    return await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait")


@pytest.fixture
async def control(proxy: Proxy) -> AsyncIterator[ControlClient]:
    control = proxy.control()
    yield control
    await control.close()


async def asked(proxy: Proxy, count: int = 1) -> str:
    """The id of the question that waits."""
    await until(lambda: len(proxy.hub.broker.pending) == count)
    return proxy.hub.broker.pending[-1].id


def bash(command: str, **more: Any) -> dict[str, Any]:
    return {"tool_name": "Bash", "input": {"command": command}, "session_id": "s1", "cwd": "/repo", **more}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"allowed": True}, {"behavior": "allow", "updatedInput": CHECK["input"]}),
        ({"allowed": True, "edited": {"command": "pwd"}}, {"behavior": "allow", "updatedInput": {"command": "pwd"}}),
        ({"allowed": False}, {"behavior": "deny", "message": "User denied the operation (status: denied)"}),
        ({"allowed": False, "message": "Use git mv."}, {"behavior": "deny", "message": "Use git mv."}),
        (
            {"allowed": False, "interrupt": True},
            {"behavior": "deny", "message": "User denied the operation (status: denied)", "interrupt": True},
        ),
    ],
)
async def test_a_check_is_answered_as_the_person_said(
    proxy: Proxy, control: ControlClient, answer: dict[str, Any], expected: dict[str, Any]
) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
    await control.answer_permission(await asked(proxy), **answer)
    assert (await asking).json() == expected


async def test_a_script_gets_a_plain_answer(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/permissions", json={"tool_name": "deploy", "input": "prod"}))
    name = await asked(proxy)
    await control.answer_permission(name, allowed=True)
    assert (await asking).json() == {"id": name, "allowed": True, "status": "allowed", "input": "prod"}


async def test_only_the_first_answer_counts(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/permissions", json=CHECK))
    name = await asked(proxy)
    answers = await asyncio.gather(
        *(control.answer_permission(name, allowed=allowed) for allowed in (False, True, True)), return_exceptions=True
    )
    assert [isinstance(answer, ControlError) for answer in answers].count(True) == 2
    assert (await asking).json()["status"] == proxy.hub.broker.get(name).status
    with pytest.raises(ControlError, match="already resolved with status"):
        await control.answer_permission(name, allowed=True)
    with pytest.raises(ControlError, match="not found"):
        await control.answer_permission("nobody", allowed=True)


async def test_time_runs_out_and_can_be_extended(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__TIMEOUT_SECONDS="1")
    first = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
    control = proxy.control()
    name = await asked(proxy)
    await control.extend_permission(name, 60)
    second = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
    assert (await second).json() == {"behavior": "deny", "message": "Permission request timed out"}
    assert not first.done()
    await control.answer_permission(name, allowed=True)
    assert (await first).json()["behavior"] == "allow"
    await control.close()


async def test_an_asker_that_leaves_takes_its_question_back(proxy: Proxy) -> None:
    asking = asyncio.create_task(proxy.client.post("/permissions", json=CHECK))
    name = await asked(proxy)
    asking.cancel()
    await until(lambda: proxy.hub.broker.get(name).status == "cancelled")


async def test_a_stopping_proxy_answers_everybody(proxy: Proxy) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
    await asked(proxy)
    proxy.hub.request_stop(drain=True)
    assert (await asking).json() == {"behavior": "deny", "message": "The proxy is shutting down"}


async def test_without_anybody_there_the_answer_is_no_at_once(start_proxy: StartProxy) -> None:
    proxy = await start_proxy()
    answer = (await proxy.client.post("/mcp/permission/check", json=CHECK)).json()
    assert answer == {"behavior": "deny", "message": "No front end is connected to allow it"}
    hook = {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {}}
    assert (await proxy.client.post("/hooks/claude-code", json=hook)).json() == {}, "it asks in its own terminal"


# --- who may answer ---


async def test_an_agent_can_not_approve_itself(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait", SECURITY__AUTH_TOKEN="the-clients-own-token")
    key = {"x-api-key": "the-clients-own-token"}
    asking = asyncio.create_task(proxy.client.post("/permissions", json=CHECK, headers=key))
    name = await asked(proxy)
    for headers in ({}, key, {**key, "x-ccproxy-control": "guess"}, {**key, "origin": "https://evil.example"}):
        refused = await proxy.client.post(f"/permissions/{name}/respond", json={"allowed": True}, headers=headers)
        assert refused.status_code in (401, 403)
        for path in ("/permissions/stream", f"/permissions/{name}"):
            assert (await proxy.client.get(path, headers=headers)).status_code in (401, 403)
    assert (await proxy.client.post("/permissions", json=CHECK)).status_code == 401
    text = {**key, "content-type": "text/plain"}
    assert (await proxy.client.post("/permissions", content=json.dumps(CHECK), headers=text)).status_code == 415
    path = f"/permissions/{name}/respond"
    right = await proxy.client.post(path, json={"allowed": False}, headers=key, auth=proxy.signed)
    assert right.json() == {"status": "success", "permission_id": name, "allowed": False}
    assert (await asking).json()["allowed"] is False


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"{}",
        b'{"tool_name": 5}',
        b'{"tool_name": " "}',
        b'{"tool_name": "x", "input": ' + b"[" * 9000,
    ],
)
@pytest.mark.parametrize("path", ["/permissions", "/mcp/permission/check", "/hooks/claude-code", "/hooks/codex"])
async def test_what_is_no_question_is_refused(proxy: Proxy, path: str, body: bytes) -> None:
    answer = await proxy.client.post(path, content=body)
    assert answer.status_code == 400
    assert proxy.hub.broker.pending == []


@pytest.mark.parametrize("given", [None, 5, "text", [1, [2]], {}, {"a" * 100: "b" * 2_000_000}, {"x": "\x1b[2J\u202e"}])
async def test_any_json_can_be_asked_about(proxy: Proxy, control: ControlClient, given: Any) -> None:
    body = {"tool_name": "mcp__x__y", "input": given}
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=body))
    name = await asked(proxy)
    long = len(json.dumps(given)) > 1_000_000
    assert ("longer than is shown" in proxy.hub.broker.get(name).look.notes) == long
    await control.answer_permission(name, allowed=True)
    assert (await asking).json()["updatedInput"] == (given if given is not None else {})


# --- the contract of the stream ---


async def events(proxy: Proxy, count: int) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    decoder = sse.Decoder()
    async with proxy.client.stream("GET", "/permissions/stream", auth=proxy.signed) as stream:
        async for chunk in stream.aiter_bytes():
            for event in decoder.feed(chunk):
                yield event.name, json.loads(event.data)
                count -= 1
                if not count:
                    return


async def test_the_stream_replays_and_follows(proxy: Proxy, control: ControlClient) -> None:
    first = asyncio.create_task(proxy.client.post("/permissions", json=CHECK))
    name = await asked(proxy)
    seen: list[tuple[str, dict[str, Any]]] = []
    async for event in events(proxy, 4):
        seen.append(event)
        if len(seen) == 2:
            second = asyncio.create_task(proxy.client.post("/permissions", json=CHECK))
            await asked(proxy, 2)
        if len(seen) == 3:
            await control.answer_permission(name, allowed=True)
    assert [kind for kind, _ in seen] == ["ping", "permission_request", "permission_request", "permission_resolved"]
    assert seen[0][1] == {"message": "Connected to permission stream"}
    request, resolved = seen[1][1], seen[3][1]
    keys = (
        "type request_id tool_name input created_at expires_at timeout_seconds allowed resolved_at expired_at message"
    )
    assert list(request) == list(resolved) == keys.split()
    assert (request["request_id"], request["input"], request["timeout_seconds"]) == (name, CHECK["input"], 60)
    assert (request["allowed"], resolved["allowed"], resolved["resolved_at"] is None) == (None, True, False)
    await first
    second.cancel()


async def test_an_expiry_is_an_event_too(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(PERMISSIONS__TIMEOUT_SECONDS="1")
    seen: list[str] = []
    asking: asyncio.Task[httpx.Response] | None = None
    async for kind, _ in events(proxy, 3):
        seen.append(kind)
        asking = asking or asyncio.create_task(proxy.client.post("/permissions", json=CHECK))
    assert seen == ["ping", "permission_request", "permission_expired"]
    assert asking is not None
    await asking
    name = proxy.hub.broker.ended[0].id
    found = (await proxy.client.get(f"/permissions/{name}", auth=proxy.signed)).json()
    assert (found["status"], found["tool_name"], found["time_remaining"]) == ("expired", "Bash", 0)


# --- hooks ---

HOOK = {
    "session_id": "s1",
    "cwd": "/repo",
    "hook_event_name": "PermissionRequest",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "permission_mode": "default",
    "permission_suggestions": [{"type": "addRules"}],
}


@pytest.mark.parametrize(
    ("source", "answer", "decision"),
    [
        ("claude-code", {"allowed": True}, {"behavior": "allow"}),
        (
            "claude-code",
            {"allowed": True, "edited": {"command": "pwd"}},
            {"behavior": "allow", "updatedInput": {"command": "pwd"}},
        ),
        ("claude-code", {"allowed": False, "message": "no"}, {"behavior": "deny", "message": "no"}),
        ("codex", {"allowed": True}, {"behavior": "allow"}),
        ("codex", {"allowed": False, "interrupt": True, "message": "no"}, {"behavior": "deny", "message": "no"}),
    ],
)
async def test_hooks_get_the_decision_in_their_own_shape(
    proxy: Proxy, control: ControlClient, source: str, answer: dict[str, Any], decision: dict[str, Any]
) -> None:
    asking = asyncio.create_task(proxy.client.post(f"/hooks/{source}", json=HOOK))
    name = await asked(proxy)
    request = proxy.hub.broker.get(name).request
    assert (request.client, request.session, request.cwd) == (source, "s1", "/repo")
    await control.answer_permission(name, **answer)
    expected = {"hookEventName": "PermissionRequest", "decision": decision}
    assert (await asking).json() == {"hookSpecificOutput": expected}


@pytest.mark.parametrize("source", ["codex", "opencode"])
async def test_a_tool_that_takes_no_other_input_never_runs_the_first_one_for_it(
    proxy: Proxy, control: ControlClient, source: str
) -> None:
    body = {
        "codex": {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "rm x"}},
        "opencode": {"id": "per_1", "permission": "bash", "metadata": {"command": "rm x"}, "sessionID": "s"},
    }[source]
    asking = asyncio.create_task(proxy.client.post(f"/hooks/{source}", json=body))
    name = await asked(proxy)
    with pytest.raises(ControlError, match="does not accept edited input"):
        await control.answer_permission(name, allowed=True, edited={"command": "ls"})
    await control.answer_permission(name, allowed=False, message="no")
    told = (await asking).json()
    assert told == {"reply": "reject", "message": "no"} if source == "opencode" else "deny" in str(told)


async def test_a_hook_before_use_has_a_shape_of_its_own(proxy: Proxy, control: ControlClient) -> None:
    body = {**HOOK, "hook_event_name": "PreToolUse", "tool_use_id": "toolu_1"}
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=body))
    await control.answer_permission(await asked(proxy), allowed=False, message="not now")
    assert (await asking).json()["hookSpecificOutput"] == {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": "not now",
    }


async def test_a_hook_whose_time_is_over_has_no_opinion(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait", PERMISSIONS__TIMEOUT_SECONDS="1")
    assert (await proxy.client.post("/hooks/claude-code", json=HOOK)).json() == {}


@pytest.mark.parametrize(
    ("after", "cancelled"),
    [
        ({"hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": {"command": "ls"}}, True),
        ({"hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": {"command": "other"}}, False),
        ({"hook_event_name": "Stop"}, True),
        ({"hook_event_name": "Stop", "session_id": "another"}, False),
    ],
)
async def test_a_tool_that_has_gone_on_takes_its_question_back(
    proxy: Proxy, after: dict[str, Any], cancelled: bool
) -> None:
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=HOOK))
    name = await asked(proxy)
    told = await proxy.client.post("/hooks/claude-code", json={"session_id": "s1", **after})
    assert told.json() == {}
    assert (proxy.hub.broker.get(name).status == "cancelled") == cancelled
    asking.cancel()


# --- MCP ---


def rpc(method: str, number: int | None = 1, **params: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return message if number is None else {**message, "id": number}


async def test_mcp_over_http(proxy: Proxy, control: ControlClient) -> None:
    hello = (await proxy.client.post("/mcp", json=rpc("initialize", protocolVersion="2025-11-25"))).json()["result"]
    assert (hello["protocolVersion"], hello["capabilities"]) == ("2025-11-25", {"tools": {}})
    assert (await proxy.client.post("/mcp", json=rpc("notifications/initialized", None))).status_code == 202
    assert (await proxy.client.get("/mcp", headers={"mcp-protocol-version": "2025-11-25"})).status_code == 405
    [tool] = (await proxy.client.post("/mcp", json=rpc("tools/list"))).json()["result"]["tools"]
    assert (tool["name"], tool["inputSchema"]["properties"]["input"].get("type")) == ("check_permission", None)
    call = rpc("tools/call", 7, name="check_permission", arguments={**CHECK, "tool_use_id": "toolu_1"})
    asking = asyncio.create_task(proxy.client.post("/mcp", json=call))
    await control.answer_permission(await asked(proxy), allowed=True)
    [event] = sse.Decoder().feed((await asking).content)
    answer = json.loads(event.data)
    [content] = answer["result"]["content"]
    assert (answer["id"], json.loads(content["text"])["updatedInput"]) == (7, CHECK["input"])
    for message, code in [
        (rpc("tools/call", name="rm"), -32602),
        (rpc("resources/list"), -32601),
        (rpc("tools/call", name="check_permission", arguments={}), -32602),
    ]:
        response = await proxy.client.post("/mcp", json=message)
        text = response.text if response.text.startswith("{") else sse.Decoder().feed(response.content)[0].data
        assert json.loads(text)["error"]["code"] == code
    assert (await proxy.client.post("/mcp", content=b"[")).status_code == 400


async def test_mcp_over_events(proxy: Proxy, control: ControlClient) -> None:
    decoder = sse.Decoder()
    async with proxy.client.stream("GET", "/mcp", headers={"accept": "text/event-stream"}) as stream:
        found: list[sse.Event] = []
        async for chunk in stream.aiter_bytes():
            found += decoder.feed(chunk)
            if len(found) == 1 and found[-1].name == "endpoint":
                address = found[-1].data.decode()
                call = rpc("tools/call", 3, name="check_permission", arguments=CHECK)
                assert (await proxy.client.post(address, json=call)).status_code == 202
                await control.answer_permission(await asked(proxy), allowed=False)
            if len(found) == 2:
                break
    answer = json.loads(found[1].data)
    assert json.loads(answer["result"]["content"][0]["text"])["behavior"] == "deny"
    assert (await proxy.client.post("/mcp/messages/?session_id=x", json=rpc("ping"))).status_code == 404


async def test_an_mcp_client_that_leaves_takes_its_question_back(proxy: Proxy) -> None:
    async with proxy.client.stream("GET", "/mcp", headers={"accept": "text/event-stream"}) as stream:
        async for chunk in stream.aiter_bytes():
            [event] = sse.Decoder().feed(chunk)
            call = rpc("tools/call", 3, name="check_permission", arguments=CHECK)
            await proxy.client.post(event.data.decode(), json=call)
            await asked(proxy)
            break
    await until(lambda: [one.status for one in proxy.hub.broker.ended] == ["cancelled"])


# --- what front ends see ---


async def test_a_front_end_hears_at_once(start_proxy: StartProxy) -> None:
    proxy = await start_proxy()
    learn_secret("a-credential-of-our-own")
    shaped = "sk-ant-" + "a" * 30
    control = proxy.control()
    seen: list[list[AskView]] = []
    asking: asyncio.Task[httpx.Response] | None = None
    async for frame in control.frames(Watch(hz=0.2)):  # once in five seconds, but for questions
        if asking is None:
            asking = asyncio.create_task(
                proxy.client.post(
                    "/permissions",
                    json={**CHECK, "input": {"command": f"rm -rf x; echo {shaped} a-credential-of-our-own"}},
                )
            )
        if frame.asks:
            seen.append(frame.asks)
            if len(seen) == 1:
                revealed = await control.permission_card(frame.asks[0].id, reveal=True)
                await control.answer_permission(frame.asks[0].id, allowed=False)
        if len(seen) == 2:
            break
    [pending], [ended] = seen
    assert (pending.status, pending.high, pending.masked) == ("pending", True, True)
    assert json.loads(pending.input) == {"command": f"rm -rf x; echo {shaped} [redacted]"}
    assert json.loads(revealed.input) == {"command": f"rm -rf x; echo {shaped} a-credential-of-our-own"}
    assert not revealed.masked
    assert {OWN_SECRET, "deletes x"} <= set(pending.notes)
    assert pending.programs == ["rm", "echo"]
    assert ended.status == "denied"
    assert ended.by.startswith(("you (", "python")), "the server says who"
    assert asking is not None
    await asking
    await control.close()


async def test_a_question_is_joined_with_the_exchange_of_its_session(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*anthropic_stream())
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    await proxy.client.post("/api/v1/messages", json=body, headers={"x-claude-code-session-id": "s9"})
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("ls", session_id="s9")))
    await asked(proxy)
    assert proxy.hub.broker.pending[0].request.exchange == proxy.last.id
    asking.cancel()


async def test_only_the_input_may_be_long(proxy: Proxy, control: ControlClient) -> None:
    long = "x" * 1_000_000
    names = dict.fromkeys(("client", "session_id", "cwd", "model", "reason", "tool_use_id"), long)
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json={**bash("ls"), **names}))
    name = await asked(proxy)
    request = proxy.hub.broker.get(name).request
    for text in (request.session, request.cwd, request.model, request.reason):
        assert text == "x" * 4096 + "… 995,904 more characters"
    await control.answer_permission(name, allowed=False)
    assert (await asking).json()["behavior"] == "deny"


@pytest.mark.parametrize(
    "updates", [[1], [{}], [{"type": "setMode", "mode": "plan"}], [{"type": "addRules", "rules": 1}]]
)
async def test_updates_that_no_tool_can_take_are_refused(proxy: Proxy, control: ControlClient, updates: Any) -> None:
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=HOOK))
    name = await asked(proxy)
    path = f"/permissions/{name}/respond"
    body = {"allowed": True, "updates": updates}
    refused = await proxy.client.post(path, json=body, auth=proxy.signed)
    assert (refused.status_code, "does not accept these permission updates" in refused.text) == (400, True)
    good = {"type": "setMode", "mode": "plan", "destination": "session"}
    await proxy.client.post(path, json={"allowed": True, "updates": [good]}, auth=proxy.signed)
    decision = (await asking).json()["hookSpecificOutput"]["decision"]
    assert decision == {"behavior": "allow", "updatedPermissions": [good]}


async def test_a_front_end_hears_only_of_what_has_changed(proxy: Proxy, control: ControlClient) -> None:
    frames: list[tuple[list[tuple[str, str]], list[str]]] = []

    async def listen() -> None:
        async for frame in control.frames(Watch(rows=False, hz=60)):
            asks, ids = frame.asks, frame.ask_ids
            frames.extend(
                [([(ask.id, ask.status) for ask in asks], ids)] if asks is not None and ids is not None else []
            )

    listening = asyncio.create_task(listen())
    await until(lambda: frames == [([], [])])
    asking = [asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))]
    first = await asked(proxy)
    await until(lambda: frames[-1] == ([(first, "pending")], [first]))
    asking.append(asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK)))
    second = await asked(proxy, 2)
    await until(lambda: frames[-1] == ([(second, "pending")], [first, second]))
    other = proxy.control()
    await other.answer_permission(first, allowed=True)
    await until(lambda: frames[-1] == ([(first, "allowed")], [second, first]))
    await other.answer_permission(second, allowed=True)
    await asyncio.gather(*asking)
    listening.cancel()
    await other.close()
