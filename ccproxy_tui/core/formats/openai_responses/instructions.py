"""A tool's instructions put into a Responses request, in three ways. The client's own system text is never lost.

override   the tool's come first; the client's instructions become a developer message at the start of the input
append     the client's, a blank line, then the tool's
disabled   the request stays as it came

The tool's instructions stand in the field `instructions`, or, as newer backends expect, in a developer message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.report import Report

Mode = Literal["override", "append", "disabled"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Injection:
    """`developer` is the newer shape. The text may hold the place holder `{model}`."""

    mode: Mode
    text: str
    developer: bool = False

    @property
    def changes(self) -> bool:
        return self.mode != "disabled" and bool(self.text)


def inject(body: Object, injection: Injection, report: Report) -> Object:
    """A copy of the body with the instructions in it, unless they stand there already. `input` must be a list."""
    if not injection.changes:
        return body
    text = injection.text.replace("{model}", str(body.get("model") or ""))
    given = body.get("instructions")
    own: str = given if isinstance(given, str) else ""
    items = body["input"]
    if text in own or any(text in _text_of(item) for item in items if _is_developers(item)):
        return body
    if injection.mode == "append":
        whole, moved = "\n\n".join(filter(None, (own, text))), ""
    else:
        whole, moved = text, own
    leading = [_developer(moved)] if moved else []
    report.injected("instructions", f"the mode {injection.mode} of codex.system_prompt_injection_mode", text[:80])
    if injection.developer:
        return {**body, "instructions": "", "input": [_developer(whole), *leading, *items]}
    return {**body, "instructions": whole, "input": [*leading, *items]}


def _developer(text: str) -> Object:
    return {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": text}]}


def _is_developers(item: Any) -> bool:
    return isinstance(item, dict) and item.get("role") in ("developer", "system")


def _text_of(item: Object) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))
