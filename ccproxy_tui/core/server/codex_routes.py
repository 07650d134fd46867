"""The control API's verbs on what the installed tools send, and on the Codex backend."""

from __future__ import annotations

import asyncio
from typing import Protocol, runtime_checkable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.control.frames import CodexView, TestResult
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.formats.openai_responses.native import Collector
from ccproxy_tui.core.formats.upstream_error import read_error
from ccproxy_tui.core.model_map import Candidate
from ccproxy_tui.core.provider import Call, keep_answer
from ccproxy_tui.core.records.events import Event, UpstreamAsked
from ccproxy_tui.core.server.deciders import Guard
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.system.ids import new_id
from ccproxy_tui.core.text.redact import redact_bytes, redact_text

_TEST_SECONDS = 30.0
_TEST_INPUT = "Answer with the word ok."
_SHOWN = 4000  # characters of the request's body


@runtime_checkable
class Describes(Protocol):
    """A provider of the Codex backend."""

    async def describe(self) -> CodexView: ...


def codex_routes(hub: Hub, guard: Guard) -> list[BaseRoute]:
    api = _CodexApi(hub)
    return [
        Route("/control/detections", guard(api.detections)),
        Route("/control/detections/{tool}/refresh", guard(api.refresh), methods=["POST"]),
        Route("/control/detections/{tool}/clear", guard(api.clear), methods=["POST"]),
        Route("/control/codex", guard(api.describe)),
        Route("/control/codex/test", guard(api.test), methods=["POST"]),
    ]


class _CodexApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def detections(self, _: Request) -> Response:
        views = await asyncio.to_thread(lambda: [detector.view() for detector in self._hub.detectors()])
        return _json(views)

    def _detector(self, request: Request) -> Detector:
        tool = request.path_params["tool"]
        found = next((one for one in self._hub.detectors() if one.tool == tool), None)
        if found is None:
            raise RouteNotFound(f"There is no detection of {tool[:60]!r}.")
        return found

    async def refresh(self, request: Request) -> Response:
        """Answers when it is done: it is bounded in time."""
        detector = self._detector(request)
        await detector.detect(anew=True)
        self._hub.store.notice()
        return _json(detector.view())

    async def clear(self, request: Request) -> Response:
        try:
            gone = await asyncio.to_thread(self._detector(request).clear)
        except OSError as error:
            raise InvalidRequest(f"The captures can't be removed: {error}.") from error
        self._hub.store.notice()
        return _json({"removed": gone})

    async def describe(self, _: Request) -> Response:
        return _json(await _codex(self._hub).describe())

    async def test(self, _: Request) -> Response:
        return _json(await ask_codex(self._hub))


def _codex(hub: Hub) -> Describes:
    provider: object = hub.providers.get("codex")
    if not isinstance(provider, Describes):
        raise RouteNotFound("The Codex provider is switched off.")
    return provider


async def ask_codex(hub: Hub) -> TestResult:
    """One small request to the Codex backend, as the proxy sends it. Raises a ProxyError when nobody answers."""
    provider = _codex(hub)
    models = (await provider.describe()).models
    model = models[0].id if models else ""
    body = msgspec.json.encode({"model": model, "input": _TEST_INPUT, "stream": True})
    call = Call(
        new_id(hub.clock), "responses", "POST", "responses", "", [], body, "openai_responses", model, stream=True
    )
    asked: list[UpstreamAsked] = []

    def report(event: Event) -> None:
        if isinstance(event, UpstreamAsked):
            asked.append(event)

    started = hub.clock.monotonic()
    try:
        async with asyncio.timeout(_TEST_SECONDS):
            way = hub.sender.begin(call, [Candidate("codex", model)], report, "/codex/responses")
            answer, raw = await keep_answer((await way.run())[0])
    except TimeoutError:
        raise InvalidRequest(f"The Codex backend did not answer within {_TEST_SECONDS:.0f} s.") from None
    sent = asked[-1]
    return TestResult(
        sent.method,
        sent.url,
        list(sent.headers),
        redact_bytes(sent.body).decode("utf-8", "replace")[:_SHOWN],
        answer.status,
        round(hub.clock.monotonic() - started, 3),
        redact_text(_words(answer.status, raw)),
    )


def _words(status: int, raw: bytes) -> str:
    if status >= 400:
        return read_error(status, raw).message
    collector = Collector()
    collector.feed(raw)
    collector.flush()
    if collector.failed is not None:
        return collector.failed.message
    return "a whole answer" if collector.whole else "an answer without an end"


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
