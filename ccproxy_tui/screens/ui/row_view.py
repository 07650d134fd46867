"""How a row of the streams list reads: its words, its colours, its fields for the filter."""

from __future__ import annotations

import re
from collections.abc import Callable

from ccproxy_tui.core.control.frames import Row
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text.filters import Value
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.widgets.live_list import Column

_DATE = re.compile(r"-20\d{6}$")
_DIALECTS = {"anthropic_messages": "anth", "openai_chat": "chat", "openai_responses": "resp"}

FILTER_FIELDS = frozenset(
    {
        "account",
        "client",
        "dialect",
        "end",
        "error",
        "id",
        "in",
        "model",
        "out",
        "path",
        "provider",
        "rate",
        "session",
        "state",
        "status",
        "ttft",
    }
)


def short_model(name: str) -> str:
    """`claude-sonnet-4-5-20250929` as `sonnet-4-5`: vendor and date go, the rest stays."""
    return _DATE.sub("", name.removeprefix("claude-"))


def route(row: Row) -> str:
    """From which dialect to which upstream: `anth>claude/max`."""
    upstream = row.provider.removesuffix("_api").replace("_", "/")
    if row.account:
        upstream = f"{upstream}/{row.account}" if upstream else row.account
    return f"{_DIALECTS.get(row.dialect, row.path.rsplit('/', 1)[-1] or '-')}>{upstream or '?'}"


def model(row: Row) -> str:
    if row.model:
        return short_model(row.model)
    return short_model(row.served) or row.path


def state_style(row: Row) -> str:
    """The colour that goes with the state word."""
    match row.state:
        case "live":
            return "live"
        case "wait" | "stall" | "tool" | "STOP":
            return "warning" if row.state != "wait" else "dim"
        case "499":
            return "dim"
        case "ERR":
            return "error"
        case _:
            return "ok" if row.status < 400 else "error"


def fields(row: Row) -> dict[str, Value]:
    """What the filter can ask for."""
    return {
        "account": row.account,
        "client": row.client,
        "dialect": row.dialect,
        "end": row.end,
        "error": row.error,
        "id": row.id,
        "in": row.tokens_in,
        "model": row.model or row.served,
        "out": row.tokens_out,
        "path": row.path,
        "provider": row.provider,
        "rate": row.rate,
        "session": row.session,
        "state": row.state,
        "status": row.status,
        "ttft": row.ttft,
    }


def columns(width: int, age_of: Callable[[Row], str]) -> list[Column[Row]]:
    """Return the columns that fit: five when narrow, seven, eleven when wide. `age_of` words that of a live one."""
    state = Column[Row](
        "state", "state", 5, lambda row: row.state, style=state_style, sort=lambda row: (row.live, row.seq)
    )
    age = Column[Row]("age", "age", 5, lambda row: age_of(row) if row.live else words.clock(row.started), right=True)
    client = Column[Row]("client", "client", 13, lambda row: row.client, sort=lambda row: row.client)
    name = Column[Row]("model", "model", 0, model, sort=model)
    ttft = Column[Row](
        "ttft", "ttft", 5, lambda row: words.seconds(row.ttft), right=True, sort=lambda row: row.ttft or -1.0
    )
    rate = Column[Row](
        "rate", "tok/s", 6, lambda row: words.rate(row.rate), right=True, sort=lambda row: row.rate or -1.0
    )
    out = Column[Row](
        "out", "out", 5, lambda row: words.tokens(row.tokens_out), right=True, sort=lambda row: row.tokens_out
    )
    if width < 72:
        return [state, Column[Row]("client", "client", 11, lambda row: row.client), name, ttft, out]
    if width < 110:
        return [state, age, client, name, ttft, rate, out]
    inside = Column[Row](
        "in",
        "in",
        5,
        lambda row: words.tokens(row.tokens_in) if row.tokens_in else "--",
        right=True,
        sort=lambda row: row.tokens_in,
    )
    cache = Column[Row]("cache", "cache", 5, cached, right=True)
    via = Column[Row]("route", "route", 20, route, sort=route)
    ident = Column[Row]("id", "id", 6, lambda row: short_id(row.id), style=lambda _: "dim")
    return [state, age, ident, client, via, name, ttft, rate, inside, cache, out]


def cached(row: Row) -> str:
    """The share of the prompt that came from a cache."""
    if not row.tokens_in:
        return "--"
    return f"{round(100 * row.cache_read / row.tokens_in)}%"


SORTS = ("new", "live", "out", "rate", "ttft", "model", "client")


def sort_key(name: str, row: Row) -> tuple[object, ...]:
    match name:
        case "live":
            return (row.live, row.seq)
        case "out":
            return (row.tokens_out, row.seq)
        case "rate":
            return (row.rate or -1.0, row.seq)
        case "ttft":
            return (row.ttft or -1.0, row.seq)
        case "model":
            return (model(row), row.seq)
        case "client":
            return (row.client, row.seq)
        case _:
            return (row.seq,)
