"""The official OpenAI SDK on the Codex backend, in both of its dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.conftest import Proxy
from tests.fakes.streams import called, response_events, said
from tests.fakes.upstream import ScriptedUpstream, json_reply, sse_reply

pytestmark = pytest.mark.usefixtures("other_logins")

MODEL = "gpt-5.4"
FUNCTION: Any = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{proxy.url}/codex/v1", max_retries=0) as client:
        yield client


async def test_responses_plain_streamed_and_with_a_tool(client: openai.AsyncOpenAI, upstream: ScriptedUpstream) -> None:
    upstream.replies += [
        sse_reply(*response_events(said("Hello."), id="resp_1")),
        sse_reply(*response_events(called("weather", {"city": "Bern"}), id="resp_2")),
        sse_reply(*response_events(said("It rains."), id="resp_3")),
    ]
    plain = await client.responses.create(model=MODEL, input="hi", instructions="Be brief.", temperature=0.2)
    assert plain.output_text == "Hello."
    tools: Any = [{"type": "function", **FUNCTION}]
    async with client.responses.stream(model=MODEL, input="Weather?", tools=tools) as stream:
        kinds = [event.type async for event in stream]
        called_ = await stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    [call] = [item for item in called_.output if item.type == "function_call"]
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    final = await client.responses.create(model=MODEL, input=output, previous_response_id=called_.id, tools=tools)
    assert final.output_text == "It rains."
    assert [item["type"] for item in upstream.seen[2].json["input"]] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    assert "temperature" not in upstream.seen[0].json


async def test_chat_plain_streamed_and_with_a_tool(client: openai.AsyncOpenAI, upstream: ScriptedUpstream) -> None:
    upstream.replies += [
        sse_reply(*response_events(said("Hello."))),
        sse_reply(*response_events(called("weather", {"city": "Bern"}))),
        sse_reply(*response_events(said("It rains."))),
    ]
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    plain = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=50)
    assert plain.choices[0].message.content == "Hello."
    tools: Any = [{"type": "function", "function": FUNCTION}]
    async with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    assert message.tool_calls
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"},
    ]
    final = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
    assert final.choices[0].message.content == "It rains."


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, {"detail": "Unsupported parameter: x"}, openai.BadRequestError, "Unsupported parameter: x"),
        (401, {"detail": "Unauthorized"}, openai.AuthenticationError, "Unauthorized"),
        (403, {"detail": "Forbidden"}, openai.PermissionDeniedError, "Forbidden"),
        (
            429,
            {"error": {"type": "usage_limit_reached", "message": "limit", "resets_in_seconds": 5}},
            openai.RateLimitError,
            "limit",
        ),
        (503, {"detail": "busy"}, openai.InternalServerError, "busy"),
    ],
)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_the_backends_refusals_are_the_sdks_own_errors(
    client: openai.AsyncOpenAI,
    upstream: ScriptedUpstream,
    dialect: str,
    status: int,
    body: Any,
    error: type[openai.APIStatusError],
    words: str,
) -> None:
    upstream.default = lambda seen: json_reply(body, status)
    with pytest.raises(error, match=words):
        if dialect == "chat":
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
        else:
            await client.responses.create(model=MODEL, input="hi")


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_a_stream_without_an_end_is_an_error(
    client: openai.AsyncOpenAI, upstream: ScriptedUpstream, dialect: str
) -> None:
    upstream.default = lambda seen: sse_reply(*response_events(said("Hello."))[:-1])
    with pytest.raises(openai.APIError):
        if dialect == "chat":
            async with client.chat.completions.stream(
                model=MODEL, messages=[{"role": "user", "content": "hi"}]
            ) as chat:
                await chat.get_final_completion()
        else:
            await client.responses.create(model=MODEL, input="hi")
