"""What clients forget between turns and vendors want back: sealed thinking, by the id of the call it led to, and the
phase of OpenAI's messages, by their text. Kept by whoever holds the Memory; nothing here does I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ccproxy_tui.core.formats.canonical import BlockStarted, Delta, Done, Sealed, StreamEvent
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.request import Message, Text, Thinking, ToolCall
from ccproxy_tui.core.formats.seal import unwrap, wrap

Recall = Callable[[list[str]], dict[str, str]]


def recall_nothing(keys: list[str]) -> dict[str, str]:
    return {}


def call_key(call_id: str) -> str:
    return f"call:{call_id}"


def phase_key(text: str) -> str:
    return f"phase:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def restore_thinking(messages: list[Message], recall: Recall, report: Report) -> None:
    """Put thinking back before the calls of assistant messages that came without any."""
    bare = [message for message in messages if message.role == "assistant" and _lacks_thinking(message)]
    keys = {id(message): call_key(_first_call(message)) for message in bare}
    if not keys:
        return
    known = recall(list(dict.fromkeys(keys.values())))
    for message in bare:
        tokens = known.get(keys[id(message)], "").split()
        seals = [seal for token in tokens if (seal := unwrap(token)) is not None]
        if seals:
            message.parts[:0] = [Thinking(str(seal.block.get("thinking") or ""), seal) for seal in seals]
            report.carried("messages[] (thinking)", "put back from the answer that its calls came with")


def restore_phases(messages: list[Message], recall: Recall) -> None:
    texts = [
        part
        for message in messages
        if message.role == "assistant"
        for part in message.parts
        if isinstance(part, Text) and not part.phase
    ]
    if not texts:
        return
    known = recall(list(dict.fromkeys(phase_key(text.text) for text in texts)))
    if not known:
        return
    for text in texts:
        text.phase = known.get(phase_key(text.text), "")


def _lacks_thinking(message: Message) -> bool:
    kinds = {type(part) for part in message.parts}
    return ToolCall in kinds and Thinking not in kinds


def _first_call(message: Message) -> str:
    return next(part.id for part in message.parts if isinstance(part, ToolCall))


class Learner:
    """Watches an answer's events; `learned` is what to keep once the answer is whole."""

    def __init__(self) -> None:
        self.learned: dict[str, str] = {}
        self._tokens: list[str] = []
        self._calls: list[str] = []
        self._phases: dict[int, tuple[str, list[str]]] = {}

    @property
    def listens(self) -> bool:
        """Whether the words of the answer matter, too."""
        return bool(self._phases)

    def watch(self, event: StreamEvent) -> None:
        match event:
            case Delta(kind="text") if event.index in self._phases:
                self._phases[event.index][1].append(event.text)
            case Sealed():
                self._tokens.append(wrap(event.seal))
            case BlockStarted(kind="tool_call") | BlockStarted(kind="custom_call"):
                self._calls.append(event.id)
            case BlockStarted(kind="text", phase=phase) if phase:
                self._phases[event.index] = (phase, [])
            case Done():
                self._learn()
            case _:
                pass

    def _learn(self) -> None:
        if self._tokens and self._calls:
            self.learned[call_key(self._calls[0])] = " ".join(self._tokens)
        for phase, pieces in self._phases.values():
            self.learned[phase_key("".join(pieces))] = phase
