"""A history, put into the order that every API demands: results directly after their calls, roles in turn."""

from __future__ import annotations

import msgspec

from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Message, Part, Text, ToolCall, ToolResult

_NO_OUTPUT = "(no output)"


def order_turns(messages: list[Message], report: Report) -> list[Message]:
    """Each assistant message with calls is followed by a user message that starts with one result per call.

    Of two results for a call the later one counts, a result without a call is dropped, a call without a result gets
    an error. An id that is used again gets a number, always the same one. Neighbours of one role become one message.
    """
    messages = merge(_unique_ids(messages, report))
    if not any(isinstance(part, ToolCall) for message in messages for part in message.parts):
        return messages
    results = {part.call_id: part for message in messages for part in message.parts if isinstance(part, ToolResult)}
    ordered: list[Message] = []
    for message in messages:
        rest: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult)]
        if rest:
            ordered.append(Message(message.role, rest))
        calls = [part for part in rest if isinstance(part, ToolCall)]
        if calls:
            ordered.append(Message("user", [results.get(call.id) or _missing(call, report) for call in calls]))
    return merge(ordered)


def merge(messages: list[Message]) -> list[Message]:
    """Neighbours of one role, as one message. Messages without any part are left out."""
    merged: list[Message] = []
    for message in messages:
        if not message.parts:
            continue
        if merged and merged[-1].role == message.role:
            merged[-1].parts.extend(message.parts)
        else:
            merged.append(Message(message.role, list(message.parts)))
    return merged


def _missing(call: ToolCall, report: Report) -> ToolResult:
    report.injected("tool result", "a call had no result; the APIs demand one", call.id)
    return ToolResult(call.id, [Text(_NO_OUTPUT)], is_error=True)


def _unique_ids(messages: list[Message], report: Report) -> list[Message]:
    """Calls get ids of their own, and results point at the latest call of their id. Orphans are left out."""
    latest: dict[str, str] = {}  # an id as given, to the id of its latest call
    taken: set[str] = set()
    answered: set[str] = set()
    renamed: list[Message] = []
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                call = _renamed(part, taken, report)
                latest[part.id] = call.id
                parts.append(call)
            elif not isinstance(part, ToolResult):
                parts.append(part)
            elif (call_id := latest.get(part.call_id)) is None:
                report.dropped("tool result", "no call before it has its id", part.call_id)
            else:
                if call_id in answered:
                    report.dropped("tool result", "another result for the same call came later", call_id)
                answered.add(call_id)
                parts.append(part if call_id == part.call_id else msgspec.structs.replace(part, call_id=call_id))
        renamed.append(Message(message.role, parts))
    return renamed


def _renamed(call: ToolCall, taken: set[str], report: Report) -> ToolCall:
    unique, number = call.id, 2
    while unique in taken:
        unique, number = f"{call.id}_{number}", number + 1
    taken.add(unique)
    if unique == call.id:
        return call
    report.renamed("tool call id", "the id was used before in this history", call.id)
    return msgspec.structs.replace(call, id=unique)
