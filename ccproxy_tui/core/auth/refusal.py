"""Why an answer means that its account must rest: for how long, and for which models.

A burst and a used-up plan are both status 429. Anthropic tells them apart by `anthropic-ratelimit-unified-status:
rejected` and says which window is full in `-representative-claim`; OpenAI and Copilot by the code in the body.
Statuses, headers and codes: observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ccproxy_tui.core.auth.quota import read_number
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.formats.canonical import Failed
from ccproxy_tui.core.formats.upstream_error import read_error, retry_seconds, status_of
from ccproxy_tui.core.text.http_time import retry_after

_LOGIN_REST = 600.0
_OVERLOAD_REST = 20.0
_FAST_REST = 60.0
_PLAN_REST = 900.0  # a used-up plan whose answer does not say when it starts anew
_LONGEST_REST = 7 * 24 * 3600.0
_PLAN_CODES = frozenset({"usage_limit_reached", "insufficient_quota", "quota_exceeded", "usage_not_included"})
_FAMILIES = ("opus", "sonnet", "haiku")


@dataclass(frozen=True, slots=True)
class Refusal:
    """`model` is a part of the names of the models that it holds for; empty: for all of the account."""

    why: str
    seconds: float
    model: str = ""


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, model: str, now: float) -> Refusal | None:
    """What an answer says of its account; None when another account would answer the same."""
    match status:
        case 401:
            return Refusal("login refused", _LOGIN_REST)
        case 403:
            return Refusal("not allowed", _LOGIN_REST, model)
        case 402:
            return Refusal("plan used up", _wait(headers, body, _PLAN_REST, now), model)
        case 429:
            return _limit(headers, body, model, now)
        case 503 | 529:
            return Refusal("overloaded", _wait(headers, b"", _OVERLOAD_REST, now), model)
        case _:
            return None


def refusal_inside(failed: Failed, model: str) -> Refusal | None:
    """The same for a failure in the first event of an answer with status 200."""
    if failed.kind == "rate_limit" and failed.code in _PLAN_CODES:
        return Refusal("plan used up", _PLAN_REST)
    return read_refusal(status_of(failed.kind), {}, b"", model, 0.0) if failed.kind in _INSIDE else None


_INSIDE = frozenset({"rate_limit", "overloaded"})


def _limit(headers: Mapping[str, str], body: bytes, model: str, now: float) -> Refusal:
    if headers.get("anthropic-ratelimit-unified-status") == "rejected":
        resets = read_number(headers.get("anthropic-ratelimit-unified-reset", "")) or 0.0
        seconds = resets - now if resets > now else _wait(headers, body, _PLAN_REST, now)
        claim = headers.get("anthropic-ratelimit-unified-representative-claim", "")
        family = next((name for name in _FAMILIES if name in claim), "")
        return Refusal("plan used up", min(seconds, _LONGEST_REST), family)
    if read_error(429, body).code in _PLAN_CODES or _error_type(body) in _PLAN_CODES:
        return Refusal("plan used up", _wait(headers, body, _PLAN_REST, now))
    return Refusal("too fast", _wait(headers, body, _FAST_REST, now), model)


def _error_type(body: bytes) -> str:
    error = read_object(body).get("error")
    return str(error.get("type") or "") if isinstance(error, dict) else ""


def _wait(headers: Mapping[str, str], body: bytes, default: float, now: float) -> float:
    asked = retry_after(headers, now) or read_number(retry_seconds(body))
    return min(asked or default, _LONGEST_REST)
