"""Messages requests on Codex and Copilot, Chat on Codex, Responses on Copilot: every row of what they can say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ccproxy_tui.core.formats import Format, Misfit, Profile
from tests.core.formats.tools import CODEX, COPILOT, COPILOT_RESPONSES, SCHEMA, convert, upstream_body, within

HI = {"role": "user", "content": "hi"}
TOOL = {"name": "weather", "description": "d", "input_schema": SCHEMA}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
PDF = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
}
LONG = "mcp__" + "very_long_server_name__" * 4 + "tool"


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def use(id: str = "toolu_1", name: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def result(content: Any = "rain", id: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def item(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts)}


def said(value: str) -> dict[str, Any]:
    return {"type": "input_text", "text": value}


MESSAGES_ON_CODEX: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": (
        {},
        {
            "input": [item("user", said("hi"))],
            "instructions": "",
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "max_output_tokens": None,
        },
    ),
    "system blocks become instructions, without Claude Code's billing block": (
        {"system": [text("x-anthropic-billing-header: cc_version=1"), text("a"), text("b")]},
        {"instructions": "a\n\nb"},
    ),
    "a late system message is a developer's": (
        {"messages": [HI, {"role": "system", "content": "brief"}, HI]},
        {"input": [item("user", said("hi")), item("developer", said("brief")), item("user", said("hi"))]},
    ),
    "images and documents": (
        {"messages": [user(PNG, PDF, {"type": "document", "source": {"type": "text", "data": "plain"}})]},
        {
            "input": [
                item(
                    "user",
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                    said("plain"),
                )
            ]
        },
    ),
    "documents by URL and of content": (
        {
            "messages": [
                user(
                    {"type": "document", "source": {"type": "url", "url": "https://e.com/a.pdf"}},
                    {"type": "document", "source": {"type": "content", "content": [text("inner")]}},
                )
            ]
        },
        {"input": [item("user", {"type": "input_file", "file_url": "https://e.com/a.pdf"}, said("inner"))]},
    ),
    "search results are sent as JSON": (
        {"messages": [user({"type": "search_result", "source": "s", "title": "t", "content": [text("x")]})]},
        {
            "input": [
                item(
                    "user",
                    said('{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}]}'),
                )
            ]
        },
    ),
    "a call and its result": (
        {"messages": [HI, assistant(text("Looking."), use(city="Bern")), user(result(), text("and?"))]},
        {
            "input": [
                item("user", said("hi")),
                item("assistant", {"type": "output_text", "text": "Looking."}),
                {"type": "function_call", "call_id": "toolu_1", "name": "weather", "arguments": '{"city":"Bern"}'},
                {"type": "function_call_output", "call_id": "toolu_1", "output": "rain"},
                item("user", said("and?")),
            ]
        },
    ),
    "a result with an image, and one with an error": (
        {
            "messages": [
                HI,
                assistant(use("a"), use("b")),
                user(result([text("see"), PNG], "a"), result("boom", "b", is_error=True)),
            ]
        },
        {
            "input": [
                item("user", said("hi")),
                {"type": "function_call", "call_id": "a"},
                {"type": "function_call", "call_id": "b"},
                {"type": "function_call_output", "output": [said("see"), {"type": "input_image"}]},
                {"type": "function_call_output", "output": "Error: boom"},
            ]
        },
    ),
    "an empty result": (
        {"messages": [HI, assistant(use()), user({"type": "tool_result", "tool_use_id": "toolu_1"})]},
        {"input": [{}, {}, {"type": "function_call_output", "output": ""}]},
    ),
    "tools": (
        {
            "tools": [
                {**TOOL, "cache_control": {"type": "ephemeral"}, "input_examples": [{}], "eager_input_streaming": True},
                {**TOOL, "name": "b", "strict": True},
            ]
        },
        {
            "tools": [
                {
                    "type": "function",
                    "name": "weather",
                    "description": "d",
                    "parameters": SCHEMA,
                    "strict": False,
                    "cache_control": None,
                    "input_examples": None,
                },
                {"name": "b", "strict": True},
            ]
        },
    ),
    "tools that Anthropic defines and the client runs": (
        {"tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "edit"}]},
        {"tools": [{"type": "function", "name": "bash"}, {"type": "function", "name": "edit"}]},
    ),
    "web search": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8, "allowed_domains": ["e.com"]}]},
        {"tools": [{"type": "web_search", "filters": {"allowed_domains": ["e.com"]}, "max_uses": None}]},
    ),
    "tool search gives all tools at once": (
        {"tools": [{"type": "tool_search_tool_regex", "name": "s"}, {**TOOL, "defer_loading": True}]},
        {"tools": [{"name": "weather", "defer_loading": None}]},
    ),
    "choice any": ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
    "choice none": ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
    "choice of a tool, one at a time": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
        {"tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False},
    ),
    "a thinking budget becomes an effort": (
        {"thinking": {"type": "enabled", "budget_tokens": 8000}},
        {"reasoning": {"effort": "medium", "summary": "auto"}},
    ),
    "a large budget": ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, {"reasoning": {"effort": "xhigh"}}),
    "adaptive thinking with an effort": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        {"reasoning": {"effort": "max", "summary": "auto"}},
    ),
    "hidden thinking": (
        {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "low"}},
        {"reasoning": {"effort": "low", "summary": None}},
    ),
    "thinking off": ({"thinking": {"type": "disabled"}}, {"reasoning": {"effort": "none"}}),
    "structured output": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "name": "output", "schema": SCHEMA}}},
    ),
    "what the backend refuses is left out": (
        {"temperature": 0.2, "top_p": 0.9, "top_k": 4, "stop_sequences": ["X"], "metadata": {"user_id": "u"}},
        {"temperature": None, "top_p": None, "top_k": None, "stop": None, "user": None, "metadata": None},
    ),
    "fast": ({"speed": "fast"}, {"service_tier": "priority"}),
}

MESSAGES_ON_COPILOT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text and limit": ({}, {"messages": [HI], "max_completion_tokens": 100}),
    "system": ({"system": "a"}, {"messages": [{"role": "system", "content": "a"}, HI]}),
    "images": (
        {"messages": [user(text("see"), PNG)]},
        {
            "messages": [
                user(
                    text("see"),
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                )
            ]
        },
    ),
    "calls, and results with images": (
        {
            "messages": [
                HI,
                assistant(text("Looking."), use("a", city="Bern"), use("b")),
                user(result([text("see"), PNG], "a"), result("boom", "b", is_error=True), text("and?")),
            ]
        },
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": "Looking.",
                    "tool_calls": [
                        {"id": "a", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
                        {"id": "b", "function": {"name": "weather", "arguments": "{}"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "see"},
                {"role": "tool", "tool_call_id": "b", "content": "Error: boom"},
                user(text("Attachments of the tool results above:"), {"type": "image_url"}, text("and?")),
            ]
        },
    ),
    "tools and choice": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
        {
            "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
    ),
    "stops, at most four": ({"stop_sequences": list("abcde")}, {"stop": list("abcd")}),
    "sampling": ({"temperature": 0.2, "top_k": 4}, {"temperature": 0.2, "top_k": None}),
    "effort": ({"output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
    "structured output": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}},
    ),
    "a PDF": (
        {"messages": [user(PDF)]},
        {"messages": [user({"type": "file", "file": {"filename": "a.pdf"}})]},
    ),
    "cache marks": (
        {"system": [text("a", cache_control={"type": "ephemeral"})]},
        {"messages": [{"role": "system", "copilot_cache_control": {"type": "ephemeral"}}, HI]},
    ),
    "streams ask for usage": ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
}

CHAT_ON_CODEX: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "everything at once": (
        {
            "messages": [
                {"role": "system", "content": "a"},
                user(text("see"), {"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": "high"}}),
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "*** x"}},
                        {"id": "f", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "f", "content": "rain"},
                {"role": "tool", "tool_call_id": "c", "content": "done"},
            ],
            "tools": [{"type": "custom", "custom": {"name": "patch"}}],
            "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
            "reasoning_effort": "xhigh",
            "verbosity": "low",
            "prompt_cache_key": "k",
            "service_tier": "priority",
            "response_format": {"type": "json_object"},
            "web_search_options": {"search_context_size": "high"},
        },
        {
            "instructions": "a",
            "input": [
                item(
                    "user",
                    said("see"),
                    {"type": "input_image", "image_url": "https://e.com/a.png", "detail": "high"},
                ),
                {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** x"},
                {"type": "function_call", "call_id": "f"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
                {"type": "function_call_output", "call_id": "f", "output": "rain"},
            ],
            "tools": [
                {"type": "custom", "name": "patch", "format": {"type": "text"}},
                {"type": "web_search", "search_context_size": "high"},
            ],
            "tool_choice": {"type": "custom", "name": "patch"},
            "reasoning": {"effort": "xhigh", "summary": "auto"},
            "text": {"verbosity": "low", "format": {"type": "json_object"}},
            "prompt_cache_key": "k",
            "service_tier": "priority",
        },
    ),
}

RESPONSES_ON_COPILOT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "everything at once": (
        {
            "instructions": "a",
            "input": [
                {"role": "developer", "content": "b"},
                item("user", said("hi")),
                {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** x"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
            ],
            "tools": [{"type": "custom", "name": "patch"}],
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
            "store": True,
            "truncation": "auto",
        },
        {
            "messages": [
                {"role": "system", "content": "a\n\nb"},
                HI,
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "function": {"name": "patch", "arguments": '{"input":"*** x"}'}}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "done"},
            ],
            "tools": [{"type": "function", "function": {"name": "patch"}}],
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
            "store": None,
            "truncation": None,
        },
    ),
}

_BASES: dict[str, tuple[Format, Profile, dict[str, Any], dict[str, Any]]] = {
    "messages on codex": (
        "anthropic_messages",
        CODEX,
        {"model": "m", "messages": [HI], "max_tokens": 100},
        MESSAGES_ON_CODEX,
    ),
    "messages on copilot": (
        "anthropic_messages",
        COPILOT,
        {"model": "m", "messages": [HI], "max_tokens": 100},
        MESSAGES_ON_COPILOT,
    ),
    "chat on codex": ("openai_chat", CODEX, {"model": "m"}, CHAT_ON_CODEX),
    "responses on copilot": ("openai_responses", COPILOT, {"model": "m"}, RESPONSES_ON_COPILOT),
}


@pytest.mark.parametrize(("base", "name"), [(base, name) for base in _BASES for name in _BASES[base][3]])
def test_what_goes_upstream(base: str, name: str) -> None:
    source, profile, basis, cases = _BASES[base]
    request, expected = cases[name]
    assert within(expected, upstream_body(source, profile, {**basis, **request})) == []


def test_responses_of_copilot_keep_what_codex_refuses() -> None:
    body = upstream_body(
        "anthropic_messages",
        COPILOT_RESPONSES,
        {"model": "m", "messages": [HI], "max_tokens": 5, "temperature": 0.5},
    )
    assert (body["max_output_tokens"], body["temperature"]) == (16, 0.5)


def test_long_tool_names_are_shortened_and_stay_apart() -> None:
    names = [f"{LONG}_{n}" for n in range(2)]
    request = {
        "model": "m",
        "max_tokens": 5,
        "messages": [HI, assistant(use(name=names[1])), user(result())],
        "tools": [{**TOOL, "name": name} for name in names],
    }
    conversion = convert("anthropic_messages", CODEX, request)
    body = json.loads(conversion.body)
    wire = [tool["name"] for tool in body["tools"]]
    assert len(set(wire)) == 2
    assert all(len(name) <= 64 for name in wire)
    assert body["input"][1]["name"] == wire[1]
    assert [(note.action, note.field, note.count) for note in conversion.report][:1] == [("renamed", "tools[].name", 2)]


REFUSED: dict[str, tuple[Profile, dict[str, Any], str]] = {
    "code execution": (CODEX, {"tools": [{"type": "code_execution_20250825", "name": "c"}]}, "tools.0.type"),
    "blocked domains": (
        CODEX,
        {"tools": [{"type": "web_search_20250305", "name": "w", "blocked_domains": ["x"]}]},
        "tools.0.blocked_domains",
    ),
    "MCP servers": (CODEX, {"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    "containers": (CODEX, {"container": "c"}, "container"),
    "file ids": (
        CODEX,
        {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
        "messages.0.content.0.source.file_id",
    ),
    "an unknown block": (CODEX, {"messages": [user({"type": "hologram"})]}, "messages.0.content.0.type"),
    "too many tools": (COPILOT, {"tools": [{**TOOL, "name": f"t{n}"} for n in range(129)]}, "tools"),
    "web search on copilot": (COPILOT, {"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools"),
    "a document by URL": (
        COPILOT,
        {"messages": [user({"type": "document", "source": {"type": "url", "url": "https://e.com/a"}})]},
        "messages.0.content.0",
    ),
    "a tool without a schema": (CODEX, {"tools": [{"name": "t"}]}, "tools.0.input_schema"),
    "input of the wrong type": (
        CODEX,
        {"messages": [HI, assistant({"type": "tool_use", "id": "a", "name": "t", "input": [1]})]},
        "messages.1.content.0.input",
    ),
    "system of the wrong type": (CODEX, {"system": 5}, "system"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_openai_target_can_serve_is_refused_with_the_path(name: str) -> None:
    profile, request, path = REFUSED[name]
    with pytest.raises(Misfit) as caught:
        convert("anthropic_messages", profile, {"model": "m", "max_tokens": 5, "messages": [HI], **request})
    assert caught.value.dotted() == path


def test_a_request_that_uses_everything_has_every_loss_on_its_report() -> None:
    name = "toolu_" + "x" * 90
    request = {
        "model": "asked",
        "max_tokens": 4000,
        "temperature": 0.3,
        "top_k": 5,
        "stop_sequences": ["END"],
        "system": [text("x-anthropic-billing-header: cc=1"), text("Be brief.", cache_control={"type": "ephemeral"})],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
        "service_tier": "standard_only",
        "context_management": {"edits": [{"type": "clear"}]},
        "inference_geo": "eu",
        "tools": [
            {**TOOL, "name": LONG, "defer_loading": True, "input_examples": [{}]},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "tool_search_tool_regex", "name": "ts"},
        ],
        "messages": [
            {**user(text("look"), PNG), "clear_at": "x"},
            assistant(
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                text("cited", citations=[{"type": "char_location"}]),
                use(name),
            ),
            user(
                result([text("boom"), PNG], name, is_error=True),
                {"type": "search_result", "source": "s", "title": "t", "content": []},
                result("x", "nobody"),
            ),
        ],
    }
    codex = msgspec.structs.replace(CODEX, cache_marks=False)
    noted = {note.field for note in convert("anthropic_messages", codex, request, model="gpt").report}
    assert noted == {
        "model",
        "system[]",
        "cache_control",
        "messages[].clear_at",
        "messages[].content[] (server_tool_use)",
        "messages[].content[] (search_result)",
        "messages[].content[].citations",
        "context_management",
        "inference_geo",
        "service_tier",
        "tools[].input_examples",
        "tools[].defer_loading",
        "tools[] (bash_20250124)",
        "tools[] (tool search)",
        "tools[].name",
        "thinking",
        "thinking.budget_tokens",
        "tool result",
        "tool call id",
        "is_error",
        "prompt_cache_key",
        "max_output_tokens",
        "temperature",
        "stop",
        "top_k",
        "user",
    }
