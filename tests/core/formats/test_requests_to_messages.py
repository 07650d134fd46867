"""Chat and Responses requests on Claude: every row of what Messages can say, and what it can't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ccproxy_tui.core.formats import Misfit
from tests.core.formats.tools import ADAPTIVE, CACHING, CLAUDE, SCHEMA, convert, upstream_body, within

HI = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
FLAT = {"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def use(id: str = "call_1", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "weather", "input": arguments or {"city": "Bern"}}


def result(*content: dict[str, Any], id: str = "call_1") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, **({"content": list(content)} if content else {})}


# name: (what the client adds to a request with one user message, what goes upstream)
CHAT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({}, {"messages": [user(text("hi"))], "max_tokens": 32_000, "stream": False}),
    "leading system and developer messages": (
        {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": [text("b")]}, HI]},
        {"system": [text("a"), text("b")], "messages": [user(text("hi"))]},
    ),
    "a late system message stays in its place": (
        {"messages": [HI, {"role": "system", "content": "now be brief"}, HI]},
        {"messages": [user(text("hi")), {"role": "system", "content": [text("now be brief")]}, user(text("hi"))]},
    ),
    "neighbours of one role become one message": ({"messages": [HI, HI]}, {"messages": [user(text("hi"), text("hi"))]}),
    "empty text is left out": (
        {"messages": [HI, {"role": "assistant", "content": ""}, HI]},
        {"messages": [user(text("hi"), text("hi"))]},
    ),
    "a conversation that does not start with the user": (
        {"messages": [{"role": "assistant", "content": "hello"}, HI]},
        {"messages": [user(text("…")), assistant(text("hello")), user(text("hi"))]},
    ),
    "the last assistant text loses its trailing space": (
        {"messages": [HI, {"role": "assistant", "content": "The answer is "}]},
        {"messages": [user(text("hi")), assistant(text("The answer is"))]},
    ),
    "a refusal is text": (
        {"messages": [HI, {"role": "assistant", "content": None, "refusal": "no"}, HI]},
        {"messages": [user(text("hi")), assistant(text("no")), user(text("hi"))]},
    ),
    "images as data and by URL": (
        {
            "messages": [
                user(
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}},
                )
            ]
        },
        {
            "messages": [
                user(
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                    {"type": "image", "source": {"type": "url", "url": "https://e.com/a.png"}},
                )
            ]
        },
    ),
    "a PDF": (
        {"messages": [user({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}})]},
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "title": "a.pdf",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                    }
                )
            ]
        },
    ),
    "a text file": (
        {"messages": [user({"type": "file", "file": {"filename": "a.txt", "file_data": "aGFsbG8="}})]},
        {"messages": [user({"type": "document", "source": {"type": "text", "data": "hallo"}})]},
    ),
    "a call and its result": (
        {
            "messages": [
                HI,
                {"role": "assistant", "content": "Looking.", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
                HI,
            ],
            "tools": [FUNCTION],
        },
        {
            "messages": [
                user(text("hi")),
                assistant(text("Looking."), use()),
                user(result(text("rain")), text("hi")),
            ],
            "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
        },
    ),
    "a call without a result gets an error": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [CALL]}, HI]},
        {"messages": [user(text("hi")), assistant(use()), user({**result(), "is_error": True}, text("hi"))]},
    ),
    "a result without a call is left out": (
        {"messages": [HI, {"role": "tool", "tool_call_id": "nobody", "content": "x"}]},
        {"messages": [user(text("hi"))]},
    ),
    "of two results the later one counts": (
        {
            "messages": [
                HI,
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "old"},
                {"role": "tool", "tool_call_id": "call_1", "content": "new"},
            ]
        },
        {"messages": [user(text("hi")), assistant(use()), user(result(text("new")))]},
    ),
    "an id that is used again gets a number": (
        {
            "messages": [
                HI,
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "a"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "b"},
            ]
        },
        {
            "messages": [
                user(text("hi")),
                assistant(use()),
                user(result(text("a"))),
                assistant(use("call_1_2")),
                user(result(text("b"), id="call_1_2")),
            ]
        },
    ),
    "arguments that are no object become an empty one": (
        {
            "messages": [
                HI,
                {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "weather", "arguments": "{oops"}}]},
            ]
        },
        {"messages": [user(text("hi")), assistant({"type": "tool_use", "input": {}}), user(result())]},
    ),
    "legacy functions": (
        {
            "messages": [
                HI,
                {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
                {"role": "function", "name": "weather", "content": "rain"},
            ],
            "functions": [{"name": "weather", "parameters": SCHEMA}],
            "function_call": {"name": "weather"},
        },
        {
            "messages": [
                user(text("hi")),
                assistant({"type": "tool_use", "id": "weather", "name": "weather", "input": {}}),
                user(result(text("rain"), id="weather")),
            ],
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
            "tool_choice": {"type": "tool", "name": "weather"},
        },
    ),
    "a custom tool is a function with one string": (
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {
                        "name": "patch",
                        "description": "d",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}},
                    },
                }
            ]
        },
        {
            "tools": [
                {
                    "name": "patch",
                    "description": "d\n\nThe input must match this lark grammar:\nstart: /x/",
                    "input_schema": {"type": "object", "required": ["input"]},
                }
            ]
        },
    ),
    "a schema with a union at its root": (
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "t",
                        "parameters": {
                            "$schema": "x",
                            "anyOf": [SCHEMA, {"type": "object", "properties": {"zip": {"type": "string"}}}],
                        },
                    },
                }
            ]
        },
        {
            "tools": [
                {
                    "input_schema": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}, "zip": {"type": "string"}},
                        "anyOf": None,
                        "$schema": None,
                        "required": None,
                    }
                }
            ]
        },
    ),
    "web search": (
        {"web_search_options": {"user_location": {"approximate": {"country": "CH"}}}},
        {
            "tools": [
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "user_location": {"type": "approximate", "country": "CH"},
                }
            ]
        },
    ),
    "tool choice auto": ({"tools": [FUNCTION], "tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
    "tool choice none": ({"tools": [FUNCTION], "tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    "tool choice required": ({"tools": [FUNCTION], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
    "tool choice by name": (
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tool_choice": {"type": "tool", "name": "weather"}},
    ),
    "allowed tools": (
        {
            "tools": [FUNCTION],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
        },
        {"tool_choice": {"type": "tool", "name": "weather"}},
    ),
    "tool choice without tools": ({"tool_choice": "required"}, {"tool_choice": None}),
    "no parallel calls": (
        {"tools": [FUNCTION], "parallel_tool_calls": False},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "max_completion_tokens": ({"max_completion_tokens": 9, "max_tokens": 7}, {"max_tokens": 9}),
    "stop as a string": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "blank stops are dropped": ({"stop": ["END", " \n"]}, {"stop_sequences": ["END"]}),
    "temperature is at most 1": ({"temperature": 1.7}, {"temperature": 1.0}),
    "temperature wins over top_p": ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": None}),
    "reasoning effort as a budget": (
        {"reasoning_effort": "medium", "temperature": 0.5},
        {"thinking": {"type": "enabled", "budget_tokens": 8192}, "temperature": None},
    ),
    "a budget below max_tokens": (
        {"reasoning_effort": "high", "max_tokens": 4000},
        {"thinking": {"type": "enabled", "budget_tokens": 3999}},
    ),
    "no room for thinking": ({"reasoning_effort": "high", "max_tokens": 900}, {"thinking": None}),
    "effort none": ({"reasoning_effort": "none"}, {"thinking": None}),
    "structured output": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "user": ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    "cache marks on parts": (
        {"messages": [user({**text("long"), "cache_control": {"type": "ephemeral", "ttl": "1h"}})]},
        {"messages": [user({**text("long"), "cache_control": {"type": "ephemeral", "ttl": "1h"}})]},
    ),
    "hints that Claude has no counterpart for": (
        {"seed": 1, "logit_bias": {"1": 2}, "store": True, "metadata": {"a": "b"}, "prediction": {"type": "content"}},
        {"seed": None, "logit_bias": None, "store": None, "metadata": None, "prediction": None},
    ),
}

RESPONSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a string": ({"input": "hi"}, {"messages": [user(text("hi"))]}),
    "instructions and a developer message": (
        {"instructions": "a", "input": [{"role": "developer", "content": "b"}, HI]},
        {"system": [text("a"), text("b")], "messages": [user(text("hi"))]},
    ),
    "items of a turn become one message": (
        {
            "input": [
                HI,
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Bern"}'},
                {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            ],
            "tools": [FLAT],
        },
        {"messages": [user(text("hi")), assistant(text("Looking."), use()), user(result(text("rain")))]},
    ),
    "a result with an image": (
        {
            "input": [
                HI,
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Bern"}'},
                {
                    "type": "function_call_output",
                    "call_id": "call_1",
                    "output": [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": PNG}],
                },
            ]
        },
        {
            "messages": [
                user(text("hi")),
                assistant(use()),
                user(result(text("see"), {"type": "image", "source": {"type": "base64"}})),
            ]
        },
    ),
    "files": (
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
                        {"type": "input_file", "file_url": "https://e.com/a.pdf"},
                    ],
                }
            ]
        },
        {
            "messages": [
                user(
                    {"type": "document", "title": "a.pdf", "source": {"type": "base64"}},
                    {"type": "document", "source": {"type": "url", "url": "https://e.com/a.pdf"}},
                )
            ]
        },
    ),
    "a namespace is flattened": (
        {"input": "hi", "tools": [{"type": "namespace", "name": "crm", "tools": [{**FLAT, "name": "look"}]}]},
        {"tools": [{"name": "crm__look"}]},
    ),
    "additional tools": (
        {"input": [{"type": "additional_tools", "tools": [{**FLAT, "name": "b"}, FLAT]}, HI], "tools": [FLAT]},
        {"tools": [{"name": "weather"}, {"name": "b"}]},
    ),
    "a custom call and its output": (
        {
            "input": [
                HI,
                {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** x"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": "Done"},
            ],
            "tools": [{"type": "custom", "name": "patch"}],
        },
        {
            "messages": [
                user(text("hi")),
                assistant({"type": "tool_use", "id": "c", "name": "patch", "input": {"input": "*** x"}}),
                user(result(text("Done"), id="c")),
            ]
        },
    ),
    "records of OpenAI's servers are left out": (
        {"input": [HI, {"type": "web_search_call", "id": "ws_1", "status": "completed"}]},
        {"messages": [user(text("hi"))]},
    ),
    "web search with its options": (
        {"input": "hi", "tools": [{"type": "web_search_preview", "filters": {"allowed_domains": ["e.com"]}}]},
        {"tools": [{"type": "web_search_20250305", "allowed_domains": ["e.com"]}]},
    ),
    "text format": (
        {"input": "hi", "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "max_output_tokens": ({"input": "hi", "max_output_tokens": 77}, {"max_tokens": 77}),
    "reasoning": (
        {"input": "hi", "reasoning": {"effort": "low", "summary": "auto"}},
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    ),
}


@pytest.mark.parametrize("name", CHAT)
def test_chat_on_claude(name: str) -> None:
    request, expected = CHAT[name]
    body = upstream_body("openai_chat", CLAUDE, {"model": "m", "messages": [HI], **request})
    assert within(expected, body) == []


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_on_claude(name: str) -> None:
    request, expected = RESPONSES[name]
    body = upstream_body("openai_responses", CLAUDE, {"model": "m", **request})
    assert within(expected, body) == []


def test_a_json_object_is_asked_for_in_the_system_prompt() -> None:
    request = {"model": "m", "messages": [HI], "response_format": {"type": "json_object"}}
    body = upstream_body("openai_chat", CLAUDE, request)
    assert "JSON" in body["system"][-1]["text"]


def test_adaptive_models_get_an_effort_instead_of_a_budget() -> None:
    request = {"model": "m", "messages": [HI], "reasoning_effort": "minimal"}
    body = upstream_body("openai_chat", ADAPTIVE, request)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})
    body = upstream_body("openai_chat", ADAPTIVE, {**request, "reasoning_effort": "none"})
    assert body["thinking"] == {"type": "disabled"}
    shown = {"model": "m", "input": "hi", "reasoning": {"effort": "high", "summary": "auto"}}
    body = upstream_body("openai_responses", ADAPTIVE, shown)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}


def test_a_forced_tool_and_thinking_exclude_each_other() -> None:
    request = {"model": "m", "messages": [HI], "tools": [FUNCTION], "tool_choice": "required"}
    conversion = convert("openai_chat", CLAUDE, {**request, "reasoning_effort": "high"})
    assert "thinking" not in json.loads(conversion.body)
    assert [note.field for note in conversion.report if note.action == "dropped"] == ["reasoning"]


def test_sampling_decides_the_version_of_the_api() -> None:
    plain = convert("openai_chat", CLAUDE, {"model": "m", "messages": [HI]})
    warm = convert("openai_chat", CLAUDE, {"model": "m", "messages": [HI], "temperature": 0.3})
    assert plain.headers["anthropic-version"] == "2026-10-21"
    assert warm.headers["anthropic-version"] == "2023-06-01"


def test_a_system_message_in_the_middle_needs_its_beta() -> None:
    request = {"model": "m", "messages": [HI, {"role": "system", "content": "x"}, HI]}
    assert "mid-conversation-system" in convert("openai_chat", CLAUDE, request).headers["anthropic-beta"]


def test_caching_is_asked_for_when_there_is_something_to_cache() -> None:
    alone = upstream_body("openai_chat", CACHING, {"model": "m", "messages": [HI]})
    tools = upstream_body("openai_chat", CACHING, {"model": "m", "messages": [HI], "tools": [FUNCTION]})
    marked = {"role": "user", "content": [{**text("x"), "cache_control": {"type": "ephemeral"}}]}
    own = upstream_body("openai_chat", CACHING, {"model": "m", "messages": [marked], "tools": [FUNCTION]})
    assert ["cache_control" in body for body in (alone, tools, own)] == [False, True, False]


def test_four_cache_marks_at_most_the_last_ones_count() -> None:
    parts = [{**text(f"t{n}"), "cache_control": {"type": "ephemeral"}} for n in range(6)]
    body = upstream_body("openai_chat", CLAUDE, {"model": "m", "messages": [user(*parts)]})
    marked = [block["text"] for block in body["messages"][0]["content"] if "cache_control" in block]
    assert marked == ["t2", "t3", "t4", "t5"]


def test_odd_ids_and_names_become_legal_and_stay_pairs() -> None:
    call = {"id": "call:1/ü", "type": "function", "function": {"name": "a.b/c", "arguments": "{}"}}
    request = {
        "model": "m",
        "messages": [
            HI,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call:1/ü", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "a.b/c"}}],
    }
    body = upstream_body("openai_chat", CLAUDE, request)
    use, answer = body["messages"][1]["content"][0], body["messages"][2]["content"][0]
    assert use["id"] == answer["tool_use_id"]
    assert use["name"] == body["tools"][0]["name"]
    assert use["id"].isascii()
    assert body == upstream_body("openai_chat", CLAUDE, request)


REFUSED_CHAT = {
    "n": ({"n": 2}, "n"),
    "audio answers": ({"modalities": ["text", "audio"]}, "modalities"),
    "audio": (
        {"messages": [user({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}})]},
        "messages[0].content",
    ),
    "http image": (
        {"messages": [user({"type": "image_url", "image_url": {"url": "http://e.com/a.png"}})]},
        "messages[0].content",
    ),
    "tiff image": (
        {"messages": [user({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}})]},
        "messages[0].content",
    ),
    "file id": (
        {"messages": [user({"type": "file", "file": {"file_id": "f"}})]},
        "messages[0].content[0].file.file_id",
    ),
    "unknown part": ({"messages": [user({"type": "hologram"})]}, "messages[0].content[0].type"),
    "unknown role": ({"messages": [{"role": "ghost", "content": "x"}]}, "messages[0].role"),
    "no messages": ({"messages": []}, "messages"),
    "nothing said": ({"messages": [{"role": "user", "content": ""}]}, "messages"),
    "messages of the wrong type": ({"messages": {}}, "messages"),
    "tools of the wrong type": ({"tools": {"a": 1}}, "tools"),
    "a tool without a name": ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    "the same tool twice": ({"tools": [FUNCTION, FUNCTION]}, "tools[1]"),
    "stop of the wrong type": ({"stop": 5}, "stop"),
    "temperature of the wrong type": ({"temperature": "hot"}, "temperature"),
    "unknown effort": ({"reasoning_effort": "heroic"}, "reasoning_effort"),
}
REFUSED_RESPONSES = {
    "previous response": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "conversation": ({"conversation": "c"}, "conversation"),
    "stored prompt": ({"prompt": {"id": "p"}}, "prompt"),
    "background": ({"background": True}, "background"),
    "item reference": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
    "file search": ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
    "hosted shell": ({"tools": [{"type": "shell"}]}, "tools[0].type"),
    "image by file id": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
    ),
    "encrypted compaction": (
        {"input": [{"type": "compaction", "encrypted_content": "x"}]},
        "input[0].encrypted_content",
    ),
    "unknown item": ({"input": [{"type": "seance"}]}, "input[0].type"),
    "no input": ({"input": None}, "input"),
}


@pytest.mark.parametrize("name", REFUSED_CHAT)
def test_chat_that_claude_cannot_serve_is_refused_with_the_path(name: str) -> None:
    request, path = REFUSED_CHAT[name]
    with pytest.raises(Misfit) as caught:
        convert("openai_chat", CLAUDE, {"model": "m", "messages": [HI], **request})
    assert caught.value.bracketed() == path


@pytest.mark.parametrize("name", REFUSED_RESPONSES)
def test_responses_that_claude_cannot_serve_are_refused_with_the_path(name: str) -> None:
    request, path = REFUSED_RESPONSES[name]
    with pytest.raises(Misfit) as caught:
        convert("openai_responses", CLAUDE, {"model": "m", "input": "hi", **request})
    assert caught.value.bracketed() == path
