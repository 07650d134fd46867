"""Which provider and which of its models serve the model that a client asked for: one table, first match wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

Kind = Literal["exact", "prefix", "suffix", "regex"]


class Rule(Protocol):
    """Models that match are served by `provider` (any, when empty) as `target` (under their own name, when empty).

    In the target of a regex, `\\1` stands for its first group. `fallbacks` are tried in order when the target can't
    serve; each is a model, or `provider/model`.
    """

    @property
    def match(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def provider(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def fallbacks(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class DefaultRule:
    match: str
    kind: Kind
    provider: str
    target: str = ""
    fallbacks: Sequence[str] = ()


# First where a model lives, for requests to the bare /v1; then, for a provider's own path, what stands in there for
# the models of other vendors. Ids that nothing matches pass as they are.
DEFAULT_RULES: tuple[DefaultRule, ...] = (
    DefaultRule(r"anthropic/(.+)", "regex", "", r"\1"),  # how Claude Code is told of other vendors' models
    DefaultRule("opus", "exact", "claude_api", "claude-opus-4-6"),
    DefaultRule("sonnet", "exact", "claude_api", "claude-sonnet-4-6"),
    DefaultRule("haiku", "exact", "claude_api", "claude-haiku-4-5"),
    DefaultRule("claude", "prefix", "claude_api"),
    DefaultRule("gpt-", "prefix", "codex"),
    DefaultRule("codex-", "prefix", "codex"),
    DefaultRule(r"o\d(-.*)?", "regex", "codex"),
    DefaultRule("gemini-", "prefix", "copilot"),
    DefaultRule("grok-", "prefix", "copilot"),
    DefaultRule("demo-", "prefix", "demo"),
    DefaultRule(r"o\d(-.*)?", "regex", "claude_api", "claude-opus-4-6"),
    DefaultRule(r"gpt-.*(mini|nano).*|gpt-3\.5.*", "regex", "claude_api", "claude-haiku-4-5"),
    DefaultRule("gpt-", "prefix", "claude_api", "claude-sonnet-4-6"),
    DefaultRule(r"o\d(-.*)?", "regex", "claude_sdk", "opus"),
    DefaultRule(r"gpt-.*(mini|nano).*|gpt-3\.5.*", "regex", "claude_sdk", "haiku"),
    DefaultRule("gpt-", "prefix", "claude_sdk", "sonnet"),
    DefaultRule("claude", "prefix", "codex", "gpt-5.4"),
    DefaultRule(r"claude-([a-z]+)-(\d+)-(\d{1,2})(-\d{8})?", "regex", "copilot", r"claude-\1-\2.\3"),
    DefaultRule(r"claude-([a-z]+)-(\d+)-\d{8}", "regex", "copilot", r"claude-\1-\2"),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a request; `rule` is the words of the rule that gave it."""

    provider: str
    model: str
    rule: str = ""


def find_candidates(model: str, provider: str, rules: Iterable[Rule], home: str = "") -> list[Candidate]:
    """Who serves `model`, best first. `provider` is the one that the path names; empty for the bare /v1.

    On the bare /v1 what no rule places goes to `home`.
    """
    for rule in rules:
        if provider and rule.provider not in ("", provider):
            continue
        if not provider and not rule.provider:
            continue
        target = apply_rule(rule, model)
        if target is None:
            continue
        first = Candidate(rule.provider or provider or home, target, f"{rule.kind} {rule.match}")
        return [first, *(_fallback(name, first) for name in rule.fallbacks)]
    return [Candidate(provider or home, model)]


def _fallback(name: str, first: Candidate) -> Candidate:
    provider, slash, model = name.partition("/")
    if not slash:
        return Candidate(first.provider, name, f"fallback of {first.model}")
    return Candidate(provider, model, f"fallback of {first.model}")


def apply_rule(rule: Rule, model: str) -> str | None:
    """The model that the rule makes of `model`; None when it does not match."""
    match rule.kind:
        case "exact":
            return (rule.target or model) if model == rule.match else None
        case "prefix":
            return (rule.target or model) if model.startswith(rule.match) else None
        case "suffix":
            return (rule.target or model) if model.endswith(rule.match) else None
        case "regex":
            found = _compiled(rule.match).fullmatch(model)
            if found is None:
                return None
            return found.expand(rule.target) if rule.target else model


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# The longest answers that models give, in tokens, by the start of their names; the longest start counts.
LIMITS: dict[str, int] = {
    "claude-3-haiku": 4_096,
    "claude-3-opus": 4_096,
    "claude-3-5-": 8_192,
    "claude-3-7-": 64_000,
    "claude-opus-4": 32_000,
    "claude-opus-4-5": 64_000,
    "claude-opus-4-6": 128_000,
    "claude-opus-5": 128_000,
    "claude-sonnet-4": 64_000,
    "claude-sonnet-5": 128_000,
    "claude-haiku-4": 64_000,
}


def answer_limit(model: str, own: dict[str, int]) -> int | None:
    """How long an answer of `model` may be; the person's `own` table counts before ours. None: unknown."""
    for table in (own, LIMITS):
        known = [start for start in table if model.startswith(start)]
        if known:
            return table[max(known, key=len)]
    return None
