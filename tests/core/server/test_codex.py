"""The Codex routes: instructions, sessions, earlier responses, models, and the verbs of the Codex screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ccproxy_tui.core.control.frames import ModelLimits
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.detection import Detected, DetectionCache
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import Proxy, StartProxy, until
from tests.fakes.streams import response_events, said
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Seen, json_reply, sse_reply

pytestmark = pytest.mark.usefixtures("other_logins")

CHAT = {"model": "gpt-5.4", "messages": [{"role": "system", "content": "mine"}, {"role": "user", "content": "hi"}]}
MESSAGES = {"model": "gpt-5.4", "max_tokens": 9, "system": "mine", "messages": [{"role": "user", "content": "hi"}]}
RESPONSES = {"model": "gpt-5.4", "instructions": "mine", "input": "hi"}


@pytest.fixture
def captured() -> Detected:
    detected = Detected(
        "codex", "0.169.0", 1.0, instructions=["You are Codex."], models=[ModelLimits("gpt-z", context=272_000)]
    )
    DetectionCache(Paths.of_user().cache).save(detected)
    return detected


def texts(body: dict[str, Any]) -> list[str]:
    found = [body.get("instructions") or ""]
    for item in body["input"]:
        content = item["content"]
        found += [content] if isinstance(content, str) else [part["text"] for part in content]
    return found


@pytest.mark.parametrize(
    ("path", "body"), [("v1/chat/completions", CHAT), ("v1/messages", MESSAGES), ("v1/responses", RESPONSES)]
)
async def test_every_dialect_has_three_different_bodies_and_never_loses_the_clients_words(
    start_proxy: StartProxy, upstream: ScriptedUpstream, captured: Detected, path: str, body: dict[str, Any]
) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    proxy = await start_proxy(CODEX__SYSTEM_PROMPT_INJECTION_MODE="append")
    for mode in ("disabled", "override", "", "append"):
        headers = {"x-ccproxy-codex-instructions": mode} if mode else {}
        assert (await proxy.client.post(f"/codex/{path}", json=body, headers=headers)).status_code == 200
    disabled, override, appended, wished = (texts(seen.json) for seen in upstream.seen)
    assert disabled == ["mine", "hi"]
    assert override == ["You are Codex.", "mine", "hi"]
    assert appended == wished == ["mine\n\nYou are Codex.", "hi"]
    assert all("tools" not in seen.json for seen in upstream.seen), "the tool's own tools are its own"
    assert all("ccproxy" not in str(seen.headers).replace("ccproxy-tui", "") for seen in upstream.seen)
    assert "instructions" in {note.field for note in (await proxy.ended()).notes}


async def test_a_codex_brings_its_own_and_a_wish_must_be_a_mode(
    start_proxy: StartProxy, upstream: ScriptedUpstream, captured: Detected
) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    proxy = await start_proxy(CODEX__SYSTEM_PROMPT_INJECTION_MODE="override")
    await proxy.client.post("/codex/responses", json=RESPONSES, headers={"originator": "codex_exec"})
    assert texts(upstream.seen[0].json) == ["mine", "hi"]
    headers = {"x-ccproxy-codex-instructions": "always"}
    refused = await proxy.client.post("/codex/responses", json=RESPONSES, headers=headers)
    assert (refused.status_code, "override, append, disabled" in refused.text) == (400, True)
    proxy.hub.settings.codex.header_override_enabled = False
    assert (await proxy.client.post("/codex/responses", json=RESPONSES, headers=headers)).status_code == 200


async def test_a_mode_by_model(start_proxy: StartProxy, upstream: ScriptedUpstream, captured: Detected) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    rules = json.dumps({"gpt-5": "override", "gpt-5.4": "append"})
    proxy = await start_proxy(CODEX__INJECTION_BY_MODEL=rules)
    for model in ("gpt-5.4", "gpt-5.2", "gpt-6"):
        await proxy.client.post("/codex/responses", json={**RESPONSES, "model": model})
    assert [texts(seen.json)[0] for seen in upstream.seen] == ["mine\n\nYou are Codex.", "You are Codex.", "mine"]


async def test_earlier_responses_are_remembered_here(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    answers = [response_events(said("one"), id="resp_1"), response_events(said("two"), id="resp_2")]
    upstream.default = lambda seen: sse_reply(*answers[min(len(upstream.seen) - 1, 1)])
    first = (await proxy.client.post("/codex/v1/responses", json={**RESPONSES, "stream": False})).json()
    follow = {"model": "gpt-5.4", "input": "and?", "previous_response_id": first["id"], "stream": True}
    second = await proxy.client.post("/codex/v1/responses", json=follow)
    assert second.status_code == 200
    assert texts(upstream.seen[1].json)[1:] == ["hi", "one", "and?"]
    assert "previous_response_id" not in upstream.seen[1].json
    third = {"model": "gpt-5.4", "input": "more", "previous_response_id": "resp_2"}
    await proxy.client.post("/codex/v1/responses", json=third)
    assert texts(upstream.seen[2].json)[1:] == ["hi", "one", "and?", "two", "more"]
    unknown = await proxy.client.post("/codex/v1/responses", json={**third, "previous_response_id": "resp_9"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "previous_response_id")


async def test_an_answer_that_broke_off_is_not_remembered(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("one"), id="resp_1")[:-1], Cut)
    await proxy.client.post("/codex/v1/responses", json={**RESPONSES, "stream": False})
    follow = {"model": "gpt-5.4", "input": "and?", "previous_response_id": "resp_1"}
    assert (await proxy.client.post("/codex/v1/responses", json=follow)).status_code == 400


async def test_chat_style_messages_on_the_responses_path(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    assert (await proxy.client.post("/codex/responses", json=CHAT)).status_code == 200
    assert [item["role"] for item in upstream.seen[0].json["input"]] == ["developer", "user"]
    calls = {"model": "m", "messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}
    refused = await proxy.client.post("/codex/responses", json=calls)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages[0]")


async def test_refused_parameters_are_left_out_or_sent_as_is_wished(
    start_proxy: StartProxy, upstream: ScriptedUpstream
) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    proxy = await start_proxy()
    body = {**RESPONSES, "temperature": 0.5, "max_output_tokens": 50}
    await proxy.client.post("/codex/responses", json=body)
    assert "temperature" not in upstream.seen[0].json
    assert {"temperature", "max_output_tokens"} <= {note.field for note in (await proxy.ended()).notes}
    proxy.hub.settings.codex.propagate_unsupported_params = True
    await proxy.client.post("/codex/responses", json=body)
    assert (upstream.seen[1].json["temperature"], upstream.seen[1].json["max_output_tokens"]) == (0.5, 50)


async def test_models_come_from_the_backend_then_from_the_tool_then_from_memory(
    start_proxy: StartProxy, upstream: ScriptedUpstream, captured: Detected
) -> None:
    def answer(seen: Seen) -> Reply:
        assert seen.target == "/codex/models?client_version=0.169.0"
        return json_reply({"models": [{"slug": "gpt-live", "context_window": 5}, {"slug": "x", "visibility": "hide"}]})

    upstream.default = answer
    proxy = await start_proxy()
    control = proxy.control()
    view = await control.codex()
    assert (view.models_from, view.models[0].id, view.models[0].output) == ("the Codex backend", "gpt-live", 8192)
    listed = (await proxy.client.get("/codex/v1/models")).json()["data"]
    assert [one["id"] for one in listed] == ["gpt-live"]
    assert len(upstream.seen) == 1, "asked once an hour"
    await control.close()

    offline = await start_proxy(SERVER__NETWORK_CALLS="false")
    control = offline.control()
    view = await control.codex()
    assert (view.models_from, [one.id for one in view.models]) == ("Codex CLI 0.169.0", ["gpt-z"])
    assert len(upstream.seen) == 1, "nothing is asked when network calls are off"
    await control.clear_detection("codex")
    await control.close()
    bare = await start_proxy(CODEX__ENABLE_DYNAMIC_MODEL_INFO="false")
    control = bare.control()
    view = await control.codex()
    assert (view.models_from, view.models[0].context) == ("built in", 200_000)
    await control.close()


async def test_the_clis_own_list_of_models_is_read(start_proxy: StartProxy) -> None:
    models = {"fetched_at": "x", "models": [{"slug": "gpt-cached", "context_window": 9, "max_output_tokens": 3}]}
    (Path.home() / ".codex" / "models_cache.json").write_text(json.dumps(models))
    proxy = await start_proxy(SERVER__NETWORK_CALLS="false")
    control = proxy.control()
    view = await control.codex()
    await control.close()
    assert (view.models_from, view.models[0].context, view.models[0].output) == ("the Codex CLI's cache", 9, 3)


@pytest.mark.parametrize(
    ("reply", "status", "said_"),
    [
        (sse_reply(*response_events(said("ok"))), 200, "a whole answer"),
        (json_reply({"detail": "Unsupported parameter: x"}, 400), 400, "Unsupported parameter: x"),
        (json_reply({"error": {"type": "usage_limit_reached", "message": "limit"}}, 429), 429, "limit"),
        (sse_reply(*response_events(said("ok"))[:-1]), 200, "an answer without an end"),
    ],
)
async def test_the_connectivity_test_shows_what_was_sent_and_said(
    start_proxy: StartProxy, upstream: ScriptedUpstream, captured: Detected, reply: Reply, status: int, said_: str
) -> None:
    upstream.default = lambda seen: reply
    proxy = await start_proxy(SERVER__NETWORK_CALLS="false")
    control = proxy.control()
    result = await control.test_codex()
    assert (result.status, result.answer, json.loads(result.body)["model"]) == (status, said_, "gpt-z")
    assert result.url == f"{upstream.url}/codex/responses"
    assert dict(result.headers)["authorization"] == "[redacted]"
    assert len(proxy.hub.store) == 0, "it is no exchange of a client's"
    await control.close()


async def test_detections_are_seen_and_cleared(start_proxy: StartProxy, captured: Detected) -> None:
    proxy = await start_proxy(CODEX__CLI_PATH="/nowhere/codex")
    control = proxy.control()
    views = {view.tool: view for view in await control.detections()}
    assert (views["codex"].instructions, views["claude"].state) == ("You are Codex.", "nothing captured")
    assert "/nowhere/codex can't be started" in (await control.refresh_detection("codex")).problem
    assert await control.clear_detection("codex") == 1
    with pytest.raises(ControlError):
        await control.clear_detection("emacs")
    await control.close()


async def test_detection_runs_in_the_background_when_the_proxy_starts(start_proxy: StartProxy, tmp_path: Path) -> None:
    tool = tmp_path / "codex"
    tool.write_text("#!/bin/sh\nsleep 60\n")
    tool.chmod(0o755)
    proxy = await start_proxy(CODEX__DETECTION="true", CODEX__CLI_PATH=str(tool))
    assert (await proxy.client.get("/health")).status_code == 200
    [detector] = [one for one in proxy.hub.detectors() if one.tool == "codex"]
    await until(lambda: detector.view().state == "detecting")


@pytest.mark.parametrize(
    ("path", "headers", "metadata", "session"),
    [
        ("/codex/in-path/v1/responses", {"session-id": "in-header"}, {"session_id": "in-body"}, "in-path"),
        ("/codex/v1/responses", {"session-id": "in-header"}, {"session_id": "in-body"}, "in-header"),
        ("/codex/v1/responses", {}, {"session_id": "in-body"}, "in-body"),
        ("/codex/v1/responses", {}, {"session_id": "not\nfor a header"}, ""),
        ("/codex/v1/responses", {}, {}, ""),
    ],
)
async def test_a_session_comes_from_the_path_the_header_or_the_body_in_this_order(
    proxy: Proxy,
    upstream: ScriptedUpstream,
    path: str,
    headers: dict[str, str],
    metadata: dict[str, str],
    session: str,
) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("x")))
    await proxy.client.post(path, json={**RESPONSES, "metadata": metadata}, headers=headers)
    [seen] = upstream.seen
    assert seen.header("thread-id") == session
    assert seen.all("session-id") == ([session] if session else [])
    key = seen.json["prompt_cache_key"]
    assert key == (session or metadata.get("session_id") or key)
    other = {**RESPONSES, "input": "another conversation"}
    await proxy.client.post("/codex/v1/responses", json=other)
    assert upstream.seen[1].json["prompt_cache_key"] != key, "never one for everybody"
