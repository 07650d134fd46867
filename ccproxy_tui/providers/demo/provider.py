"""The simulated provider: speaks Anthropic Messages, keeps real time, and does what the prompt asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import msgspec

from ccproxy_tui.core.auth.account import AnyAccount
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.errors import ErrorKind, InvalidRequest, RouteNotFound, UpstreamCut
from ccproxy_tui.core.formats import Format, Misfit, Profile
from ccproxy_tui.core.formats.body import decode
from ccproxy_tui.core.formats.errors import error_body
from ccproxy_tui.core.formats.models import ModelCard
from ccproxy_tui.core.provider import Answer, Call, Recorder
from ccproxy_tui.providers.demo.script import Script, estimate_tokens, last_prompt, write_script
from ccproxy_tui.providers.demo.wishes import read_wishes
from ccproxy_tui.providers.registry import Context

MODELS = ("demo-1", "demo-1-mini")
_JSON = [("content-type", "application/json")]
_KINDS: dict[int, ErrorKind] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    413: "too_large",
    429: "rate_limit",
    504: "timeout",
    529: "overloaded",
}


class Demo:
    """No account, no network. The same request gives the same answer."""

    name = "demo"
    prefixes: tuple[str, ...] = ("/demo",)
    lists: Format | None = "anthropic_messages"
    detector: Detector | None = None

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def paths(self) -> list[str]:
        return ["GET models", "GET models/**"]

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile("anthropic_messages", "anthropic", "The demo provider", thinking="budget", default_tokens=4096)

    async def run(self, call: Call, record: Recorder) -> Answer:
        record.routed("", "free")
        record.asked(call.method, f"demo:///{call.path}", call.headers, call.body)
        match call.operation:
            case "messages":
                return self._message(_request(call.body))
            case "count_tokens":
                return _whole(200, {"input_tokens": estimate_tokens(_request(call.body))})
            case "models":
                return _whole(200, {"data": [_model(name) for name in MODELS], "has_more": False})
            case "model":
                return _whole(200, _model(unquote(call.path.rsplit("/", 1)[-1])))
            case _:
                raise RouteNotFound(f"The demo provider has nothing at {call.path!r}.")

    async def models(self) -> list[ModelCard]:
        return [ModelCard(name, owner="demo") for name in MODELS]

    def _message(self, request: dict[str, Any]) -> Answer:
        wishes = read_wishes(last_prompt(request))
        if wishes.error is not None:
            return _error(wishes.error)
        settings = self._context.settings().providers.demo
        script = write_script(request, seed=settings.seed)
        if request.get("stream") is not True:
            return _whole(200, script.message)
        return Answer(
            200,
            [
                ("content-type", "text/event-stream; charset=utf-8"),
                ("request-id", f"req_{script.message['id'][4:]}"),
            ],
            _play(script, settings.speed),
        )

    def accounts(self) -> list[AnyAccount]:
        return []

    async def close(self) -> None:
        """Nothing is held."""


async def _play(script: Script, speed: float) -> AsyncIterator[bytes]:
    for step in script.steps:
        if step.delay:
            await asyncio.sleep(step.delay / speed)
        if step.cut:
            raise UpstreamCut("The demo provider cut the connection, as asked.")
        if step.data:
            yield step.data


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = decode(body)
    except Misfit as misfit:
        raise InvalidRequest(misfit.message) from misfit
    if not isinstance(request.get("messages"), list) or not request["messages"]:
        raise InvalidRequest("messages: at least one message is required.", field="messages")
    return dict(request)


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _whole(status: int, value: dict[str, Any], headers: list[tuple[str, str]] | None = None) -> Answer:
    data = msgspec.json.encode(value)
    return Answer(status, [*_JSON, ("content-length", str(len(data))), *(headers or [])], _once(data))


def _error(status: int) -> Answer:
    status = status if 400 <= status <= 599 else 500
    kind = _KINDS.get(status, "api")
    body = msgspec.json.decode(error_body("anthropic_messages", kind, f"The demo provider answers {status}, as asked."))
    return _whole(status, body, [("retry-after", "2")] if status in (429, 529) else None)
