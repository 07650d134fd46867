"""Lists of models, read from any provider and written in either vendor's form.

Sources: https://docs.anthropic.com/en/api/models-list and https://platform.openai.com/docs/api-reference/models.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.names import Format


class ModelCard(msgspec.Struct, frozen=True):
    """`created` is in seconds since the epoch, 0 when unknown; limits are in tokens."""

    id: str
    name: str = ""
    created: int = 0
    owner: str = ""
    max_input: int | None = None
    max_output: int | None = None


def read_models(raw: bytes, owner: str) -> list[ModelCard]:
    """The cards of a provider's list. Unknown shapes give none."""
    data = read_object(raw).get("data")
    if not isinstance(data, list):
        return []
    return [_card(one, owner) for one in data if isinstance(one, dict) and isinstance(one.get("id"), str)]


def _card(raw: Object, owner: str) -> ModelCard:
    limits: Any = raw.get("capabilities")
    limits = limits.get("limits") if isinstance(limits, dict) else None
    limits = limits if isinstance(limits, dict) else {}
    return ModelCard(
        raw["id"],
        str(raw.get("display_name") or raw.get("name") or raw["id"]),
        _seconds(raw.get("created", raw.get("created_at"))),
        str(raw.get("owned_by") or raw.get("vendor") or owner),
        _number(raw.get("max_input_tokens", limits.get("max_prompt_tokens"))),
        _number(raw.get("max_tokens", limits.get("max_output_tokens"))),
    )


def _seconds(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(datetime.fromisoformat(str(value)).timestamp())
    except ValueError:
        return 0


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def render_models(cards: list[ModelCard], dialect: Format) -> Object:
    """The whole list, on one page."""
    data = [render_model(card, dialect) for card in cards]
    if dialect != "anthropic_messages":
        return {"object": "list", "data": data}
    return {
        "data": data,
        "has_more": False,
        "first_id": cards[0].id if cards else None,
        "last_id": cards[-1].id if cards else None,
    }


def render_model(card: ModelCard, dialect: Format) -> Object:
    if dialect != "anthropic_messages":
        return {"id": card.id, "object": "model", "created": card.created, "owned_by": card.owner or "unknown"}
    values: Object = {
        "type": "model",
        "id": card.id,
        "display_name": card.name or card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z"),
    }
    if card.max_input is not None:
        values["max_input_tokens"] = card.max_input
    if card.max_output is not None:
        values["max_tokens"] = card.max_output
    return values
