"""The names of the three dialects."""

from __future__ import annotations

from typing import Literal

Format = Literal["anthropic_messages", "openai_chat", "openai_responses"]

FORMATS: tuple[Format, ...] = ("anthropic_messages", "openai_chat", "openai_responses")
