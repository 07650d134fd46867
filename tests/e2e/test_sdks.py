"""The official SDKs as clients, through a real proxy, against a scripted upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import msgspec
import pytest

from ccproxy_tui.core.text import sse
from tests.conftest import Proxy
from tests.fakes.upstream import ScriptedUpstream, Seen, anthropic_stream, json_reply, sse_reply

MODEL = "claude-test-1"
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather in a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


@pytest.fixture
async def asynchronous(proxy: Proxy) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=f"{proxy.url}/api", api_key="anything", max_retries=0) as client:
        yield client


@pytest.fixture
def synchronous(proxy: Proxy) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{proxy.url}/api", api_key="anything", max_retries=0) as client:
        yield client


def messages(text: str = "hi") -> Any:
    return [{"role": "user", "content": text}]


def whole_message(content: list[dict[str, Any]], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }


async def test_a_plain_answer(asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(json_reply(whole_message([{"type": "text", "text": "Hello."}])))
    answer = await asynchronous.messages.create(model=MODEL, max_tokens=50, messages=messages())
    assert answer.content[0].text == "Hello."  # type: ignore[union-attr]
    assert answer.usage.output_tokens == 7


async def test_the_streaming_helper(asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream("one two three")))
    async with asynchronous.messages.stream(model=MODEL, max_tokens=50, messages=messages()) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == "onetwothree"
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 42)
    assert len(upstream.seen) == 1


async def test_the_synchronous_client(synchronous: anthropic.Anthropic, upstream: ScriptedUpstream) -> None:
    upstream.replies += [
        sse_reply(*anthropic_stream("a b")),
        json_reply(whole_message([{"type": "text", "text": "c"}])),
    ]

    def turn() -> tuple[str, str]:
        with synchronous.messages.stream(model=MODEL, max_tokens=50, messages=messages()) as stream:
            streamed = "".join(stream.text_stream)
        plain = synchronous.messages.create(model=MODEL, max_tokens=50, messages=messages())
        return streamed, plain.content[0].text  # type: ignore[union-attr]

    assert await asyncio.to_thread(turn) == ("ab", "c")


def tool_stream() -> list[bytes]:
    start = whole_message([])
    events = [
        {"type": "message_start", "message": {**start, "stop_reason": None}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Look it up."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"place": '},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Oslo"}'}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
    return [sse.encode(msgspec.json.encode(event), str(event["type"])) for event in events]


async def test_a_tool_loop_with_thinking_goes_back_up_untouched(
    asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    upstream.replies += [sse_reply(*tool_stream()), sse_reply(*anthropic_stream("It rains."))]
    asked: Any = messages("Weather in Oslo?")
    async with asynchronous.messages.stream(model=MODEL, max_tokens=500, messages=asked, tools=[TOOL]) as stream:
        first = await stream.get_final_message()
    call = first.content[1]
    assert (first.stop_reason, call.type, call.input) == ("tool_use", "tool_use", {"place": "Oslo"})  # type: ignore[union-attr]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
    asked += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    async with asynchronous.messages.stream(model=MODEL, max_tokens=500, messages=asked, tools=[TOOL]) as stream:
        second = await stream.get_final_message()
    assert second.stop_reason == "end_turn"
    sent = upstream.seen[1].json["messages"][1]["content"]
    assert (sent[0]["thinking"], sent[0]["signature"]) == ("Look it up.", "c2ln")


async def test_errors_arrive_as_the_sdks_own(
    asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    upstream.replies.append(json_reply(body, 429, [("retry-after", "3")]))
    with pytest.raises(anthropic.RateLimitError, match="slow down") as caught:
        await asynchronous.messages.create(model=MODEL, max_tokens=5, messages=messages())
    assert caught.value.response.headers["retry-after"] == "3"


async def test_a_broken_stream_is_an_error_for_the_sdk(
    asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream("half an answer")[:5]))
    with pytest.raises(anthropic.APIStatusError, match="in the middle"):
        async with asynchronous.messages.stream(model=MODEL, max_tokens=5, messages=messages()) as stream:
            await stream.get_final_message()


async def test_counting_tokens_and_listing_models(
    asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(json_reply({"input_tokens": 17}))
    counted = await asynchronous.messages.count_tokens(model=MODEL, messages=messages())
    assert counted.input_tokens == 17
    model = {"type": "model", "id": MODEL, "display_name": "Sonnet", "created_at": "2026-01-01T00:00:00Z"}
    upstream.replies.append(json_reply({"data": [model], "has_more": False, "first_id": MODEL, "last_id": MODEL}))
    assert [one.id async for one in asynchronous.models.list()] == [MODEL]


async def test_the_demo_provider_serves_the_sdk(proxy: Proxy) -> None:
    proxy.hub.settings.providers.demo.speed = 500
    client = anthropic.AsyncAnthropic(base_url=f"{proxy.url}/demo", api_key="x", max_retries=0)
    asked: Any = messages("Weather?\ndemo: think, tool=get_weather, tokens=30")
    async with client.messages.stream(model="demo-1", max_tokens=500, messages=asked, tools=[TOOL]) as stream:
        first = await stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
    asked += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": first.content[2].id, "content": "rain"}]},  # type: ignore[union-attr]
    ]
    again = await client.messages.create(model="demo-1", max_tokens=500, messages=asked, tools=[TOOL])
    assert again.stop_reason == "end_turn"
    with pytest.raises(anthropic.APIStatusError) as caught:
        await client.messages.create(model="demo-1", max_tokens=5, messages=messages("demo: error=529"))
    assert caught.value.status_code == 529
    await client.close()


async def test_a_hundred_streams_of_the_sdk_at_once(
    asynchronous: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    def answer(seen: Seen) -> Any:
        return sse_reply(*anthropic_stream(seen.json["messages"][0]["content"]))

    upstream.default = answer

    async def one(number: int) -> bool:
        text = " ".join([f"w{number}"] * 10)
        async with asynchronous.messages.stream(model=MODEL, max_tokens=5, messages=messages(text)) as stream:
            return "".join([piece async for piece in stream.text_stream]) == text.replace(" ", "")

    assert all(await asyncio.gather(*(one(number) for number in range(100))))
