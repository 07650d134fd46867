"""Chat that stays Chat, with GitHub Copilot's deviations mended on both ways."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ccproxy_tui.core.formats.body import decode, encode
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.formats.seal import unwrap
from ccproxy_tui.core.formats.weight import is_too_heavy
from ccproxy_tui.core.text import sse

# Models that answer `max_tokens` with 400.
_NEW_LIMIT = re.compile(r"(gpt-5|gpt-6|o\d)")


def tokens_field(model: str) -> str:
    """How the model's answers are limited."""
    return "max_completion_tokens" if _NEW_LIMIT.match(model) else "max_tokens"


def patch_request(raw: bytes, *, model: str, report: Report) -> bytes:
    """The request as this model takes it. Everything that needs no change stays as it came."""
    body = decode(raw)
    body["model"] = model
    field = tokens_field(model)
    if field == "max_completion_tokens" and "max_tokens" in body:
        body.setdefault(field, body.pop("max_tokens"))
        report.renamed("max_tokens", "this model calls it max_completion_tokens")
    messages = body.get("messages")
    if isinstance(messages, list):
        body["messages"] = [_message(message, report) for message in messages]
    return encode(body)


def _message(message: Any, report: Report) -> Any:
    """Our envelopes are opened for Copilot's own thinking, and taken out for everybody else's."""
    details = message.get("reasoning_details") if isinstance(message, dict) else None
    if not isinstance(details, list):
        return message
    patched = {name: value for name, value in message.items() if name not in ("reasoning_details", "reasoning_content")}
    for detail in details:
        seal = unwrap(str(detail.get("data"))) if isinstance(detail, dict) else None
        if seal is not None and seal.vendor == "copilot" and "reasoning_opaque" in seal.block:
            patched.update(seal.block)
        else:
            report.dropped("messages[].reasoning_details[]", "it is sealed by another vendor")
    return patched


class Normaliser:
    """Makes every chunk a valid one: ids and names filled in, several choices of one answer merged into one."""

    def __init__(self, model: str, created: int, *, shown: str = "") -> None:
        """`model` is what was asked of the upstream; `shown`, when given, is the only name that the client sees."""
        self._shown = shown
        self._decoder = sse.Decoder()
        self._id = ""
        self._model = model
        self._created = created
        self._calls: dict[tuple[int, int], int] = {}
        self._roles = False
        self._finish = ""

    def feed(self, data: bytes) -> bytes:
        return b"".join(self._mend(event.data) for event in self._decoder.feed(data))

    def flush(self) -> bytes:
        return b"".join(self._mend(event.data) for event in self._decoder.flush())

    def _mend(self, data: bytes) -> bytes:
        if data == b"[DONE]":
            return self._finished() + sse.encode(data)
        try:
            chunk = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b""
        if not isinstance(chunk, dict) or chunk.get("error") is not None:
            return sse.encode(data)
        choices = chunk.get("choices")
        choices = choices if isinstance(choices, list) else []
        self._id = self._id or str(chunk.get("id") or "")
        if not choices:  # Copilot's prelude, or the usage at the end
            return self._finished() + self._chunk(chunk, []) if chunk.get("usage") else b""
        merged = [choice for one in choices if (choice := self._choice(one)) is not None]
        usage = chunk.pop("usage", None)
        out = b"".join(self._chunk(chunk, [choice]) for choice in merged)
        if usage is not None:
            out += self._finished() + self._chunk({**chunk, "usage": usage}, [])
        return out

    def _chunk(self, chunk: Object, choices: list[Object]) -> bytes:
        head = {
            "id": self._id or "chatcmpl-copilot",
            "object": "chat.completion.chunk",
            "created": chunk.get("created") or self._created,
            "model": self._shown or chunk.get("model") or self._model,
        }
        return sse.encode(msgspec.json.encode({**chunk, **head, "choices": choices}))

    def _choice(self, choice: Any) -> Object | None:
        if not isinstance(choice, dict):
            return None
        given = choice.get("delta")
        delta = dict(given) if isinstance(given, dict) else {}
        place = choice.get("index")
        if self._roles:
            delta.pop("role", None)
        self._roles = self._roles or "role" in delta
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta["tool_calls"] = [self._call(place if isinstance(place, int) else 0, call) for call in calls]
        reason = choice.get("finish_reason")
        if reason and (not self._finish or reason == "tool_calls"):
            self._finish = str(reason)
        if reason and not delta:
            return None
        return {**choice, "index": 0, "delta": delta, "finish_reason": None}

    def _call(self, choice: int, call: Any) -> Any:
        if not isinstance(call, dict):
            return call
        given = call.get("index")
        key = (choice, given if isinstance(given, int) else 0)
        return {**call, "index": self._calls.setdefault(key, len(self._calls))}

    def _finished(self) -> bytes:
        """The finish reason, once, after everything that was said."""
        if not self._finish:
            return b""
        choice: Object = {"index": 0, "delta": {}, "finish_reason": self._finish}
        self._finish = ""
        return self._chunk({}, [choice])


def normalise_answer(raw: bytes, model: str, created: int, *, shown: str = "") -> bytes:
    """A whole completion with its choices merged into one. What is no completion, or a bomb, stays as it is."""
    if is_too_heavy(raw):
        return raw
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        return raw
    body.update(
        object="chat.completion",
        created=body.get("created") or created,
        id=body.get("id") or "chatcmpl-copilot",
        model=shown or body.get("model") or model,
        choices=[_merged([choice for choice in choices if isinstance(choice, dict)])],
    )
    return msgspec.json.encode(body)


def _merged(choices: list[Object]) -> Object:
    message: Object = {"role": "assistant", "content": None}
    calls: list[Any] = []
    texts: list[str] = []
    for choice in choices:
        given = choice.get("message")
        part = dict(given) if isinstance(given, dict) else {}
        made = part.pop("tool_calls", None)
        calls += made if isinstance(made, list) else []
        text = part.pop("content", None)
        if isinstance(text, str):
            texts.append(text)
        message.update({name: value for name, value in part.items() if value is not None})
    message["content"] = "".join(texts) if texts else None
    if calls:
        message["tool_calls"] = calls
    reasons = [str(choice.get("finish_reason")) for choice in choices if choice.get("finish_reason")]
    reason = "tool_calls" if calls and "tool_calls" in reasons else (reasons or ["stop"])[0]
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
