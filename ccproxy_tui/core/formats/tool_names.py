"""The names that tools get on the way to a target, and the way back for calls in its answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ccproxy_tui.core.formats.canonical import BlockEnded, BlockStarted, Delta, StreamEvent
from ccproxy_tui.core.formats.fit import fit
from ccproxy_tui.core.formats.misfit import Misfit
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Tool

# What stands in for a custom tool where there are only functions.
INPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}


class ToolNames:
    """A pure function of the request's own tools, so that every turn of a conversation gets the same names."""

    def __init__(self, tools: Iterable[Tool], limit: int, *, custom_tools: bool, report: Report) -> None:
        self._limit = limit
        self._tools: dict[str, Tool] = {}
        self._emulated: set[str] = set()
        for place, tool in enumerate(tools):
            wire = self.wire(tool.name, tool.namespace)
            if wire in self._tools:
                raise Misfit(f"The tool name {tool.name[:100]!r} is given twice.", "tools", place)
            self._tools[wire] = tool
            if wire != tool.name:
                report.renamed(
                    "tools[].name", "the target wants shorter or plainer names; restored in replies", tool.name
                )
            if tool.kind == "custom" and not custom_tools:
                self._emulated.add(wire)

    def wire(self, name: str, namespace: str = "") -> str:
        """The name of a tool at the target."""
        return fit(f"{namespace}__{name}" if namespace else name, self._limit)

    def is_emulated(self, wire: str) -> bool:
        """Whether this is a custom tool that the target sees as a function with one string."""
        return wire in self._emulated

    @property
    def changes_nothing(self) -> bool:
        return not self._emulated and all(tool.name == wire for wire, tool in self._tools.items())

    def original(self, wire: str) -> Tool | None:
        return self._tools.get(wire)


class Restorer:
    """Gives calls in an answer the names and kinds that the client knows. Emulated calls are held until complete."""

    def __init__(self, names: ToolNames) -> None:
        self._names = names
        self._idle = names.changes_nothing
        self._held: dict[int, list[str]] = {}

    def restore(self, events: list[StreamEvent]) -> list[StreamEvent]:
        if self._idle:
            return events
        out: list[StreamEvent] = []
        for event in events:
            self._take(event, out)
        return out

    def _take(self, event: StreamEvent, out: list[StreamEvent]) -> None:
        if isinstance(event, BlockStarted) and event.kind == "tool_call":
            out.append(self._renamed(event))
        elif isinstance(event, Delta) and event.index in self._held:
            self._held[event.index].append(event.text)
        elif isinstance(event, BlockEnded) and event.index in self._held:
            out.append(Delta(event.index, "arguments", unwrap_input("".join(self._held.pop(event.index)))))
            out.append(event)
        else:
            out.append(event)

    def _renamed(self, event: BlockStarted) -> BlockStarted:
        tool = self._names.original(event.name)
        if tool is None:
            return event
        emulated = self._names.is_emulated(event.name)
        if emulated:
            self._held[event.index] = []
        return msgspec.structs.replace(
            event,
            kind="custom_call" if emulated else "tool_call",
            name=tool.name,
            namespace=tool.namespace,
        )


def wrap_input(text: str) -> str:
    """A custom tool's input as arguments of the function that stands in for it."""
    return msgspec.json.encode({"input": text}).decode()


def unwrap_input(arguments: str) -> str:
    """The input in the arguments of an emulated call; the arguments themselves when a model wrote something else."""
    try:
        values = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    inner = values.get("input") if isinstance(values, dict) else None
    return inner if isinstance(inner, str) else arguments


def describe(tool: Tool) -> str:
    """A tool's description; for an emulated custom tool with the grammar of its input."""
    if tool.grammar is None:
        return tool.description
    syntax, definition = tool.grammar.get("syntax", "grammar"), tool.grammar.get("definition", "")
    return f"{tool.description}\n\nThe input must match this {syntax} grammar:\n{definition}".strip()
