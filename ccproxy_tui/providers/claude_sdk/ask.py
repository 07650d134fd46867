"""A Messages request as Claude Code can be asked it: the question, what was said before, the wishes in it. Pure.

What an agent has no place for is told in the report. Claude Code takes the turns before the last question as messages
of their own (`"shouldQuery": false` for the user's): seen with Claude Code 2.1.197 and 2.1.330.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ccproxy_tui.core.formats.body import decode
from ccproxy_tui.core.formats.misfit import Misfit, Object, as_list, as_object, one_of
from ccproxy_tui.core.formats.report import Report

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
# Fields of a request that an agent decides by itself.
_NOT_TAKEN = {
    "max_tokens": "an agent's answer has many parts; its own limits hold",
    "temperature": "Claude Code sets it itself",
    "top_p": "Claude Code sets it itself",
    "top_k": "Claude Code sets it itself",
    "stop_sequences": "Claude Code has none",
    "tools": "the agent uses its own tools, and runs them itself",
    "tool_choice": "the agent chooses itself",
    "service_tier": "Claude Code sets it itself",
    "container": "Claude Code has none",
    "context_management": "Claude Code does it itself",
    "mcp_servers": "servers come from the settings (claude.code_options), never from a request",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A turn before the question: `content` is a text, or blocks of the Messages API."""

    role: str
    content: str | list[Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """`question` are the blocks of the last turn. `thinking` is a budget in tokens, or a mode's name."""

    question: list[Object]
    history: list[Said] = field(default_factory=list)
    system: str = ""
    thinking: int | str = ""
    effort: str = ""
    wishes: Object = field(default_factory=dict)


def read_ask(raw: bytes, report: Report) -> Ask:
    """Raises Misfit when there is no question in it, or the field that is named is not what it must be."""
    body = decode(raw)
    turns = _turns(body, report)
    if not turns or turns[-1].role != "user":
        raise Misfit("The last message must be the user's: Claude Code does not go on with a begun answer.", "messages")
    for name, reason in _NOT_TAKEN.items():
        if body.get(name) not in (None, [], {}):
            report.dropped(name, reason)
    question = _blocks(turns[-1].content)
    if not question:
        raise Misfit("The last message is empty.", "messages", len(turns) - 1, "content")
    if "\0" in str(body.get("model")):
        raise Misfit("A model's name has no such character.", "model")
    thinking, effort = _thinking(body), _effort(body, report)
    return Ask(question, turns[:-1], _system(body), thinking, effort, body)


def since_last_answer(ask: Ask) -> list[Said]:
    """What is new to a session that remembers the rest: the user's turns after the last answer, but the question."""
    new: list[Said] = []
    for turn in reversed(ask.history):
        if turn.role != "user":
            break
        new.insert(0, turn)
    return new


def _turns(body: Object, report: Report) -> list[Said]:
    turns: list[Said] = []
    for place, raw in enumerate(as_list(body.get("messages"), "messages")):
        message = as_object(raw, "messages", place)
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str | list):
            raise Misfit("Input should be a string or a list.", "messages", place, "content")
        if role == "system":
            report.changed("messages[] (system)", "told to the agent as a reminder of the user's")
            role, content = "user", f"<system-reminder>\n{_texts(content)}\n</system-reminder>"
        if role not in ("user", "assistant"):
            raise Misfit(f"Input should be 'user' or 'assistant', not {str(role)[:60]!r}.", "messages", place, "role")
        turns.append(Said(role, content))
    return turns


def _blocks(content: str | list[Any]) -> list[Object]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block for block in content if isinstance(block, dict)]


def _system(body: Object) -> str:
    system = body.get("system")
    if system is None:
        return ""
    return _texts(system) if isinstance(system, str | list) else _texts(as_list(system, "system"))


def _texts(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    texts = [block.get("text") for block in content if isinstance(block, dict)]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def _thinking(body: Object) -> int | str:
    thinking = body.get("thinking")
    if thinking is None:
        return ""
    given = as_object(thinking, "thinking")
    try:
        kind = one_of(given, "type", ("enabled", "disabled", "adaptive")) or ""
    except Misfit as misfit:
        raise misfit.inside("thinking") from None
    if kind != "enabled":
        return kind
    budget = given.get("budget_tokens")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise Misfit("Input should be a number of tokens.", "thinking", "budget_tokens")
    return budget


def _effort(body: Object, report: Report) -> str:
    config = body.get("output_config")
    if config is None:
        return ""
    given = as_object(config, "output_config")
    if given.get("format") is not None:
        report.dropped("output_config.format", "an agent's answer has many parts")
    try:
        return one_of(given, "effort", _EFFORTS) or ""
    except Misfit as misfit:
        raise misfit.inside("output_config") from None
