"""Permission requests over real sockets: who may ask, who may answer, and that everybody gets an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ccproxy_tui.core import sse
from ccproxy_tui.core.control import ControlError
from ccproxy_tui.core.control_client import ControlClient
from ccproxy_tui.core.frames import AskView, Watch
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
    assert answer == {"behavior": "deny", "message": "Nobody is at the terminal to allow it"}
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
    given = {**key, "x-ccproxy-control": proxy.hub.control_token}
    right = await proxy.client.post(f"/permissions/{name}/respond", json={"allowed": False}, headers=given)
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
    headers = {"x-ccproxy-control": proxy.hub.control_token}
    decoder = sse.Decoder()
    async with proxy.client.stream("GET", "/permissions/stream", headers=headers) as stream:
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
    headers = {"x-ccproxy-control": proxy.hub.control_token}
    found = (await proxy.client.get(f"/permissions/{name}", headers=headers)).json()
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
    with pytest.raises(ControlError, match="takes no other input"):
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
    control = proxy.control()
    seen: list[list[AskView]] = []
    asking: asyncio.Task[httpx.Response] | None = None
    async for frame in control.frames(Watch(hz=0.2)):  # once in five seconds, but for questions
        if asking is None:
            asking = asyncio.create_task(
                proxy.client.post(
                    "/permissions", json={**CHECK, "input": {"command": "rm -rf x; echo sk-ant-" + "a" * 30}}
                )
            )
        if frame.asks:
            seen.append(frame.asks)
            if len(seen) == 1:
                await control.answer_permission(frame.asks[0].id, allowed=False)
        if len(seen) == 2:
            break
    [pending], [ended] = seen
    assert (pending.status, pending.high, pending.masked, "[redacted]" in pending.input) == (
        "pending",
        True,
        True,
        True,
    )
    assert "deletes x" in pending.notes
    assert pending.programs == ["rm", "echo"]
    assert (ended.status, ended.by) == ("denied", "person")
    assert asking is not None
    await asking
    await control.close()


# --- rules ---


def bash(command: str, **more: Any) -> dict[str, Any]:
    return {"tool_name": "Bash", "input": {"command": command}, "session_id": "s1", "cwd": "/repo", **more}


async def test_rules_of_the_settings_answer_before_anybody_is_asked(start_proxy: StartProxy) -> None:
    rules = [
        {"rule": "Bash(ls:*)"},
        {"rule": "Bash(git push:*)", "action": "deny"},
        {"rule": "Bash(make:*)", "project": "/repo"},
    ]
    proxy = await start_proxy(PERMISSIONS__RULES=json.dumps(rules))
    answers = {
        command: (await proxy.client.post("/mcp/permission/check", json=bash(command))).json()
        for command in ("ls -la", "git push", "make test", "ls; rm x", "ls $(id)")
    }
    assert [answer["behavior"] for answer in answers.values()] == ["allow", "deny", "allow", "deny", "deny"]
    assert answers["git push"]["message"] == "Denied by the rule Bash(git push:*)"
    assert answers["ls; rm x"]["message"] == "Nobody is at the terminal to allow it"
    assert [entry.decision.by for entry in proxy.hub.broker.ended[-1:] if entry.decision] == ["rule Bash(ls:*)"]
    assert proxy.hub.rules.hits["Bash(ls:*)"].times == 1
    elsewhere = await proxy.client.post("/mcp/permission/check", json=bash("make test", cwd="/other"))
    assert elsewhere.json()["behavior"] == "deny"
    hook = {**HOOK, "tool_input": {"command": "ls"}}
    answer = (await proxy.client.post("/hooks/claude-code", json=hook)).json()
    assert answer["hookSpecificOutput"]["decision"] == {"behavior": "allow"}


async def test_a_rule_is_made_of_a_question(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff --stat")))
    name = await asked(proxy)
    proposal = await control.propose_rules(name)
    assert proposal.rules == ["Bash(git diff:*)"]
    with pytest.raises(ControlError, match="never allowed"):
        await control.add_rules(name, ["Bash(rm:*)"], action="allow", scope="user", hours=None)
    await control.add_rules(name, proposal.rules, action="allow", scope="session", hours=None)
    assert (await asking).json()["behavior"] == "allow"
    again = await proxy.client.post("/mcp/permission/check", json=bash("git diff README.md"))
    assert again.json()["behavior"] == "allow"
    other = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s2")))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).fits == 2
    await control.add_rules(name, ["Bash(git diff:*)"], action="allow", scope="project", hours=None)
    assert (await other).json()["behavior"] == "allow"
    saved = proxy.hub.loaded.write_to.read_text()
    assert ("Bash(git diff:*)" in saved, "/repo" in saved) == (True, True)
    third = await proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s3"))
    assert third.json()["behavior"] == "allow"


SUGGESTIONS = [
    {
        "type": "addRules",
        "rules": [{"toolName": "Bash", "ruleContent": "npm install *"}, {"toolName": "WebSearch"}],
        "behavior": "allow",
        "destination": "localSettings",
    },
    {"type": "addDirectories", "directories": ["/srv"], "destination": "session"},
    {"type": "setMode", "mode": "acceptEdits", "destination": "session"},
]


async def test_what_the_tool_itself_offers_is_taken(proxy: Proxy, control: ControlClient) -> None:
    hook = {**HOOK, "permission_suggestions": SUGGESTIONS}
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=hook))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).offer == (
        "allow Bash(npm install *), WebSearch in this project (your settings of it); "
        "work in /srv too in this session; permission mode acceptEdits in this session"
    )
    await control.add_rules(name, [], action="allow", scope="asker", hours=None)
    decision = (await asking).json()["hookSpecificOutput"]["decision"]
    assert decision == {"behavior": "allow", "updatedPermissions": SUGGESTIONS}
    assert proxy.hub.rules.rules() == []


@pytest.mark.parametrize(
    "suggestions",
    [
        [],
        "all",
        [*SUGGESTIONS, {"type": "what", "destination": "session"}],
        [{"type": "setMode", "mode": "acceptEdits"}],
        [{"type": "setMode", "mode": "acceptEdits", "destination": "elsewhere"}],
        [{"type": "addRules", "rules": [1], "behavior": "allow", "destination": "session"}],
        [{"type": "addRules", "rules": [{"toolName": 1}], "behavior": "allow", "destination": "session"}],
        [None],
        [{**SUGGESTIONS[0], "rules": [{"toolName": "Bash", "ruleContent": "rm -rf build/"}]}],
    ],
)
async def test_an_offer_that_can_not_be_told_in_words_is_none(
    proxy: Proxy, control: ControlClient, suggestions: Any
) -> None:
    hook = {**HOOK, "permission_suggestions": suggestions}
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=hook))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).offer == ""
    with pytest.raises(ControlError, match="offers no rules"):
        await control.add_rules(name, [], action="allow", scope="asker", hours=None)
    await control.answer_permission(name, allowed=True)
    assert (await asking).json()["hookSpecificOutput"]["decision"] == {"behavior": "allow"}


@pytest.mark.parametrize("scope", ["session", "project"])
async def test_a_rule_for_a_place_that_the_question_does_not_name_is_refused(
    proxy: Proxy, control: ControlClient, scope: str
) -> None:
    """It would hold everywhere."""
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
    name = await asked(proxy)
    with pytest.raises(ControlError, match=f"names no {scope}"):
        await control.add_rules(name, ["Bash(ls:*)"], action="allow", scope=scope, hours=None)
    assert proxy.hub.rules.rules() == []
    asking.cancel()


@pytest.mark.parametrize("body", [b"\xff", b'{"rule": "\xff"}', b"[" * 100_000, b"5"])
async def test_what_is_no_verb_on_rules_is_refused(proxy: Proxy, body: bytes) -> None:
    headers = {"x-ccproxy-control": proxy.hub.control_token}
    answer = await proxy.client.post("/permissions/rules/remove", content=body, headers=headers)
    assert answer.status_code == 400


async def test_rules_are_listed_taken_out_and_brought_back(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s1")))
    name = await asked(proxy)
    with pytest.raises(ControlError, match="No rule was made"):
        await control.undo_rules()
    await control.add_rules(name, ["Bash(git diff:*)"], action="allow", scope="session", hours=None)
    await asking
    await proxy.client.post("/mcp/permission/check", json=bash("git diff README", session_id="s1"))
    other = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("ls")))
    await control.add_rules(await asked(proxy), ["Bash(ls:*)"], action="allow", scope="user", hours=None)
    await other
    lent, kept = await control.rules()
    assert (lent.rule, lent.session, lent.hits, lent.lent) == ("Bash(git diff:*)", "s1", 1, True)
    assert (kept.rule, kept.hits, kept.lent, kept.session, kept.project) == ("Bash(ls:*)", 0, False, "", "")
    await control.remove_rule(kept)
    assert [one.rule for one in await control.rules()] == ["Bash(git diff:*)"]
    assert "ls" not in proxy.hub.loaded.write_to.read_text()
    assert await control.undo_rules() == "Bash(ls:*) is back"
    assert "Bash(ls:*)" in proxy.hub.loaded.write_to.read_text()
    assert await control.undo_rules() == "Bash(ls:*) is gone again"
    assert await control.undo_rules() == "Bash(git diff:*) is gone again"
    assert await control.rules() == []
    with pytest.raises(ControlError, match="no such rule"):
        await control.remove_rule(kept)


@pytest.mark.parametrize(("mode", "allowed"), [("rules", True), ("deny", False)])
async def test_with_nobody_there_rules_may_answer(start_proxy: StartProxy, mode: str, allowed: bool) -> None:
    rules = '[{"rule": "Bash(git diff:*)"}]'
    proxy = await start_proxy(PERMISSIONS__WITHOUT_FRONT_END=mode, PERMISSIONS__RULES=rules)
    answer = await proxy.client.post("/mcp/permission/check", json=bash("git diff"))
    assert (answer.json()["behavior"] == "allow") == allowed
    assert (await proxy.client.post("/mcp/permission/check", json=bash("ls"))).json()["behavior"] == "deny"
    hook = {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "git diff"}}
    told = (await proxy.client.post("/hooks/claude-code", json=hook)).json()
    assert bool(told) == allowed, "else the tool asks in its own terminal"


async def test_a_question_is_joined_with_the_exchange_of_its_session(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*anthropic_stream())
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    await proxy.client.post("/api/v1/messages", json=body, headers={"x-claude-code-session-id": "s9"})
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("ls", session_id="s9")))
    await asked(proxy)
    assert proxy.hub.broker.pending[0].request.exchange == proxy.last.id
    asking.cancel()


async def test_a_rule_lent_for_a_while_ends(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("ls")))
    name = await asked(proxy)
    await control.add_rules(name, ["Bash(ls:*)"], action="allow", scope="user", hours=1e-6)
    assert (await asking).json()["behavior"] == "allow"
    await until(lambda: proxy.hub.rules.rules() == [])
