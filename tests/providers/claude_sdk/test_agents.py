"""Agents that misbehave: each is a clear error for its client, and leaves sessions, pool and processes sound."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.providers.claude_sdk.agents import Agents
from tests.conftest import Proxy, StartProxy, until
from tests.fakes.claude import lives, write_claude

PATH = "/sdk/v1/messages"


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    return write_claude(tmp_path / "tool")


@pytest.fixture
def environ(tool: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "CLAUDE__CLI_PATH": str(tool),
        "CLAUDE__CODE_OPTIONS__CWD": str(tmp_path),
        "CLAUDE__SDK_MESSAGE_MODE": "ignore",
        "CLAUDE__SDK_SESSION_POOL__STREAM_INTERRUPT_TIMEOUT": "1",
    }


def agents_of(proxy: Proxy) -> Agents:
    return proxy.hub.providers["claude_sdk"].agents  # type: ignore[attr-defined, no-any-return]


def told(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("start-die", "cannot find the moon"),
        ("start-old", "is Claude Code 1.0.3; SDK mode needs 2.1.248 or newer"),
    ],
)
async def test_one_that_does_not_start_says_why(
    start_proxy: StartProxy, tool: Path, environ: dict[str, str], mood: str, words: str
) -> None:
    (tool.parent / "mood").write_text(mood)
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post(PATH, json=body())
    assert (answer.status_code, words in told(answer)) == (502, True), answer.text
    assert "REDACTME" not in answer.text, "its last words hold no secret"
    (tool.parent / "mood").write_text("")
    assert (await proxy.client.post(PATH, json=body())).status_code == 200, "the next one may be better"


async def test_one_that_is_not_there_says_so(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(**environ | {"CLAUDE__CLI_PATH": "/nowhere/claude"})
    answer = await proxy.client.post("/sdk/v1/chat/completions", json={**body(), "max_tokens": 9})
    assert (answer.status_code, "/nowhere/claude can't be" in told(answer)) == (502, True), answer.text


async def test_one_that_hangs_at_its_start_is_ended(
    start_proxy: StartProxy, tool: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccproxy_tui.providers.claude_sdk.agent.START_SECONDS", 0.5)
    (tool.parent / "mood").write_text("start-hang")
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post("/sdk/s/v1/messages", json=body())
    assert (answer.status_code, "did not start within" in told(answer)) == (502, True)
    assert agents_of(proxy).view().agents == []


@pytest.mark.parametrize("session", ["", "s/"])
async def test_one_that_dies_in_its_turn_breaks_off_and_the_next_turn_is_served(
    start_proxy: StartProxy, environ: dict[str, str], session: str
) -> None:
    proxy = await start_proxy(**environ)
    path = f"/sdk/{session}v1/messages"
    answer = await proxy.client.post(path, json=body("die"))
    assert (answer.status_code, "the moon is gone" in told(answer)) == (502, True)
    stream = await proxy.client.post(path, json=body("die", stream=True))
    assert "event: error" in stream.text
    assert "the moon is gone" in stream.text
    assert "message_stop" not in stream.text, "a broken answer never looks whole"
    assert (await proxy.client.post(path, json=body())).status_code == 200


@pytest.mark.parametrize("text", ["flood", "strange"])
async def test_noise_is_passed_over(start_proxy: StartProxy, environ: dict[str, str], text: str) -> None:
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post(PATH, json=body(text))
    assert answer.json()["content"] == [{"type": "text", "text": "first "}]
    assert answer.json()["usage"]["output_tokens"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("endless", "it wrote a message of more than 16 MB"),
        ("heavy", "it wrote a message that takes too much memory"),
        ("twice", "the key 'command' is there twice"),
    ],
)
async def test_a_message_that_is_too_large_or_not_clear_ends_it(
    start_proxy: StartProxy, environ: dict[str, str], text: str, words: str
) -> None:
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post("/sdk/s/v1/messages", json=body(text), timeout=60)
    assert proxy.hub.broker.pending == []
    assert (answer.status_code, words in told(answer)) == (502, True), answer.text
    [agent] = agents_of(proxy).view().agents
    assert (agent.state, lives(agent.pid)) == ("dead", False)
    assert (await proxy.client.post("/sdk/s/v1/messages", json=body())).status_code == 200


async def test_what_is_said_between_turns_is_bounded(
    start_proxy: StartProxy, tool: Path, environ: dict[str, str]
) -> None:
    proxy = await start_proxy(**environ)
    assert (await proxy.client.post("/sdk/s/v1/messages", json=body("chatter"))).status_code == 200
    said, before = tool.with_name("said"), ""
    await until(said.exists)
    while before != said.read_text():  # until nothing moves any more
        before = said.read_text()
        await asyncio.sleep(0.5)
    assert 32 <= int(before) < 100
    assert (await proxy.client.post("/sdk/s/v1/messages", json=body())).status_code == 200
    await until(lambda: said.read_text() == "200")


async def test_silence_is_noticed_and_the_session_goes_on(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(**environ, CLAUDE__SDK_SESSION_POOL__STREAM_ONGOING_TIMEOUT="5")
    agents = agents_of(proxy)
    answer = await proxy.client.post("/sdk/s/v1/messages", json=body("hang", stream=True))
    assert "said nothing for 5 s" in answer.text
    [first] = agents.view().agents
    assert (await proxy.client.post("/sdk/s/v1/messages", json=body())).status_code == 200
    assert [one.id for one in agents.view().agents] == [first.id], "it took the interrupt"


async def test_the_person_interrupts_a_turn(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(**environ)
    control = proxy.control()
    asking = asyncio.create_task(proxy.client.post("/sdk/s/v1/messages", json=body("hang", stream=True)))
    await until(lambda: [one.state for one in agents_of(proxy).view().agents] == ["busy"])
    [agent] = (await control.sdk()).agents
    await control.interrupt_agent(agent.id)
    assert "The turn was interrupted by the user at the proxy." in (await asking).text
    assert (await proxy.ended()).ended == "stopped"
    with pytest.raises(ControlError, match="no turn to interrupt"):
        await control.interrupt_agent(agent.id)
    with pytest.raises(ControlError, match="does not exist"):
        await control.end_agent(999, again=False)
    with pytest.raises(ControlError, match="pool is switched off"):
        await control.warm_agents()
    await control.close()
    assert (await proxy.client.post("/sdk/s/v1/messages", json=body())).status_code == 200


async def test_without_the_sdk_its_routes_say_what_adds_it(
    start_proxy: StartProxy, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cli", "provider"):
        monkeypatch.setattr(f"ccproxy_tui.providers.claude_sdk.{module}.has_sdk", lambda: False)
    proxy = await start_proxy(**environ)
    answer = await proxy.client.post(PATH, json=body())
    assert (answer.status_code, "pip install 'ccproxy-tui[sdk]'" in told(answer)) == (502, True)
    assert "pip install" in (await proxy.client.get("/sdk/status")).json()["problem"]


async def test_a_history_that_was_told_by_half_is_told_anew(
    start_proxy: StartProxy, tool: Path, environ: dict[str, str]
) -> None:
    """The client leaves while the earlier turns are handed over: nothing of them may be left in the session."""
    proxy = await start_proxy(**environ)
    said = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    request = body() | {"messages": [*said, {"role": "user", "content": "and now?"}]}
    (tool.parent / "mood").write_text("mute-history")
    asking = asyncio.create_task(proxy.client.post("/sdk/s/v1/messages", json=request))
    await until(lambda: (tool.parent / "heard").exists())
    asking.cancel()
    await until(lambda: agents_of(proxy).view().agents == [])
    (tool.parent / "mood").write_text("")
    assert (await proxy.client.post("/sdk/s/v1/messages", json=request)).status_code == 200
    heard = (tool.parent / "heard").read_text().splitlines()
    assert heard[-7:] == [*(one["content"] for one in said), "and now?"]


async def test_sdk_mode_can_be_switched_off(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(**environ, PROVIDERS__CLAUDE_SDK__ENABLED="false")
    control = proxy.control()
    assert "switched off" in (await control.sdk()).problem
    with pytest.raises(ControlError, match="switched off"):
        await control.warm_agents()
    await control.close()
    assert (await proxy.client.post("/sdk/v1/messages", json=body())).status_code == 404


async def test_one_that_takes_no_interrupt_is_ended(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(**environ)
    async with proxy.client.stream("POST", "/sdk/s/v1/messages", json=body("stubborn", stream=True)) as answer:
        async for line in answer.aiter_lines():
            if "first" in line:
                break
    [agent] = agents_of(proxy).view().agents
    assert (await proxy.client.post("/sdk/s/v1/messages", json=body())).status_code == 200
    await until(lambda: not lives(agent.pid))
    assert agent.id not in [one.id for one in agents_of(proxy).view().agents]


async def test_what_an_agent_leaves_behind_ends_with_it(
    start_proxy: StartProxy, tool: Path, environ: dict[str, str]
) -> None:
    proxy = await start_proxy(**environ)
    await proxy.client.post(PATH, json=body("child"))
    await until(lambda: agents_of(proxy).view().agents == [])
    child = int((tool.parent / "child").read_text())
    await until(lambda: not lives(child))


async def test_idle_sessions_make_room_and_come_back(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(
        **environ,
        CLAUDE__SDK_SESSION_POOL__MAX_SESSIONS="2",
        CLAUDE__SDK_SESSION_POOL__ACQUIRE_TIMEOUT="0",
    )
    for name in ("a", "b", "c", "a"):
        answer = await proxy.client.post(f"/sdk/{name}/v1/messages", json=body())
        assert answer.status_code == 200, answer.text
    assert sorted(one.session for one in agents_of(proxy).view().agents) == ["a", "c"], "the oldest had to go"
    hanging = [
        asyncio.create_task(proxy.client.post(f"/sdk/{name}/v1/messages", json=body("hang", stream=True)))
        for name in ("a", "c")
    ]
    await until(lambda: [one.state for one in agents_of(proxy).view().agents] == ["busy", "busy"])
    answer = await proxy.client.post("/sdk/d/v1/messages", json=body())
    assert (answer.status_code, answer.headers["retry-after"]) == (529, "5")
    assert "All 2 agents are busy" in told(answer)
    for one in hanging:
        one.cancel()


async def test_idle_ones_end_by_themselves(start_proxy: StartProxy, environ: dict[str, str]) -> None:
    proxy = await start_proxy(
        **environ,
        CLAUDE__SDK_SESSION_POOL__IDLE_THRESHOLD="5",
        CLAUDE__SDK_SESSION_POOL__CLEANUP_INTERVAL="1",
    )
    await proxy.client.post("/sdk/a/v1/messages", json=body())
    [agent] = (await agents_of(proxy).measured()).agents
    assert agent.memory > 1024 * 1024
    await until(lambda: agents_of(proxy).view().agents == [], seconds=15)
    await until(lambda: not lives(agent.pid))


async def test_the_pool_is_refilled_and_checked(start_proxy: StartProxy, tool: Path, environ: dict[str, str]) -> None:
    proxy = await start_proxy(
        **environ,
        CLAUDE__SDK_POOL__ENABLED="true",
        CLAUDE__SDK_POOL__SIZE="2",
        CLAUDE__SDK_POOL__HEALTH_CHECK_INTERVAL="1",
        CLAUDE__SDK_SESSION_POOL__CLEANUP_INTERVAL="1",
    )
    agents = agents_of(proxy)
    await proxy.client.post(PATH, json=body())
    await until(lambda: agents.view().ready == 2)
    used = {one.id for one in agents.view().agents}
    await proxy.client.post(PATH, json=body())
    await until(lambda: agents.view().ready == 2 and len(agents.view().agents) == 2)
    assert len({one.id for one in agents.view().agents} - used) == 1, "one conversation each, then a new one"
    killed = agents.view().agents[0]
    os.kill(killed.pid, 9)
    await until(lambda: killed.id not in [one.id for one in agents.view().agents] and agents.view().ready == 2)
    other = await proxy.client.post(PATH, json=body(system="Another prompt."))
    assert other.status_code == 200
    assert "none was ready with these options" in str([mark.detail for mark in (await proxy.ended()).marks])


async def test_all_end_in_time_whatever_they_do(start_proxy: StartProxy, tool: Path, environ: dict[str, str]) -> None:
    (tool.parent / "mood").write_text("ignore-term")
    proxy = await start_proxy(**environ)
    await proxy.client.post("/sdk/a/v1/messages", json=body("child"))
    hanging = asyncio.create_task(proxy.client.post("/sdk/b/v1/messages", json=body("stubborn", stream=True)))
    await until(lambda: "busy" in [one.state for one in agents_of(proxy).view().agents])
    pids = [one.pid for one in agents_of(proxy).view().agents] + [int((tool.parent / "child").read_text())]
    assert len(pids) == 3
    proxy.hub.request_stop(drain=False)
    await asyncio.wait_for(asyncio.shield(proxy.task), 10)
    hanging.cancel()
    assert not any(map(lives, pids))


@pytest.mark.parametrize("mode", ["forward", "formatted", "ignore"])
async def test_the_official_sdks_take_every_mode(
    start_proxy: StartProxy, environ: dict[str, str], mode: str, tool: Path
) -> None:
    proxy = await start_proxy(**environ | {"CLAUDE__SDK_MESSAGE_MODE": mode})
    said: Any = [{"role": "user", "content": "hi"}]
    async with anthropic.AsyncAnthropic(base_url=f"{proxy.url}/sdk", api_key="anything", max_retries=0) as client:
        async with client.messages.stream(model="opus", max_tokens=9, messages=said) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert "first " in text
        assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 3)
        whole = await client.messages.create(model="opus", max_tokens=9, messages=said)
        assert [block.type for block in whole.content] == [block.type for block in final.content]
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/sdk/v1", api_key="anything", max_retries=0) as other:
        chat = await other.chat.completions.create(model="opus", messages=said)
        assert "first " in str(chat.choices[0].message.content)
        response = await other.responses.create(model="opus", input="hi")
        assert "first " in response.output_text
        assert response.usage is not None
        assert response.usage.output_tokens == 3
