"""Answers that the proxy gives itself: estimates of tokens, and lists of models in the client's dialect."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from ccproxy_tui.core.errors import ProxyError, RouteNotFound
from ccproxy_tui.core.exchange.preparing import invalid
from ccproxy_tui.core.formats import Format, Misfit
from ccproxy_tui.core.formats.body import decode
from ccproxy_tui.core.formats.count import estimate_tokens
from ccproxy_tui.core.formats.models import ModelCard, render_model, render_models
from ccproxy_tui.core.provider import Provider
from ccproxy_tui.core.routing import Target
from ccproxy_tui.core.server.hub import Hub

log = logging.getLogger(__name__)

# Claude Code gives the list of a gateway three seconds.
LIST_SECONDS = 2.5
# It shows only ids that start like this; the model table takes the start away again.
_CLAUDE_CODE_START = "anthropic/"


@dataclass(frozen=True, slots=True)
class Local:
    """An answer of our own; `note` says so, on the timeline and in a header."""

    provider: str
    body: bytes
    note: str


def estimate(body: bytes, provider: Provider | None, model: str) -> Local | None:
    """A guess for a provider that can't count; None for one that does it itself."""
    if provider is None or provider.profile(model, "anthropic_messages").format == "anthropic_messages":
        return None
    try:
        tokens = estimate_tokens(decode(body))
    except Misfit as misfit:
        raise invalid(misfit, "anthropic_messages") from misfit
    return Local(provider.name, msgspec.json.encode({"input_tokens": tokens}), "an estimate: this provider can't count")


async def list_models(hub: Hub, target: Target, dialect: Format, user_agent: str) -> Local | None:
    """Models of one provider, or of all of them on the bare /v1; None when the provider's own answer can be relayed."""
    provider = hub.providers.get(target.provider)
    if provider is None or (target.prefix and provider.lists == dialect):
        return None
    if target.prefix:
        cards = await provider.models()
    else:
        cards = await _all_models(hub)
    if dialect == "anthropic_messages" and user_agent.startswith("claude-c"):
        cards = [_for_claude_code(card) for card in cards]
    name = provider.name if target.prefix else "all"
    if target.operation == "models":
        return Local(name, msgspec.json.encode(render_models(cards, dialect)), f"{len(cards)} models")
    card = next((card for card in cards if card.id == target.model), None)
    if card is None:
        raise RouteNotFound(f"There is no model {target.model[:100]!r} here.")
    return Local(name, msgspec.json.encode(render_model(card, dialect)), "one model")


async def _all_models(hub: Hub) -> list[ModelCard]:
    """Of every provider that answers in time; the same id counts once."""
    lists = await asyncio.gather(*(_models_of(provider) for provider in hub.providers.values()))
    return list({card.id: card for cards in reversed(lists) for card in cards}.values())


async def _models_of(provider: Provider) -> list[ModelCard]:
    try:
        async with asyncio.timeout(LIST_SECONDS):
            return await provider.models()
    except (ProxyError, TimeoutError) as error:
        log.info("no models from %s: %s", provider.name, error)
        return []


def _for_claude_code(card: ModelCard) -> ModelCard:
    if card.id.startswith(("claude", "anthropic")):
        return card
    return msgspec.structs.replace(card, id=f"{_CLAUDE_CODE_START}{card.id}", name=card.name or card.id)
