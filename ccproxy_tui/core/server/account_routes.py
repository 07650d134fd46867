"""The control API's verbs on accounts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.server.hub import Hub

Handler = Callable[[Request], Awaitable[Response]]

_MAX_BODY = 64 * 1024


class _Answer(msgspec.Struct):
    answer: str = ""


def account_routes(hub: Hub, guard: Callable[[Handler], Handler]) -> list[BaseRoute]:
    api = _AccountApi(hub)
    base = "/control/accounts"
    return [
        Route(base, guard(api.accounts)),
        Route(base + "/{provider}/renew", guard(api.renew), methods=["POST"]),
        Route(base + "/{provider}/login", guard(api.login), methods=["POST"]),
        Route(base + "/{provider}/login/answer", guard(api.answer), methods=["POST"]),
        Route(base + "/{provider}/login/cancel", guard(api.cancel), methods=["POST"]),
    ]


class _AccountApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _account(self, request: Request) -> AnyAccount:
        name = request.path_params["provider"]
        found = next((account for account in self._hub.accounts() if account.provider == name), None)
        if found is None:
            raise RouteNotFound(f"There is no account of {name[:60]!r}.")
        return found

    async def accounts(self, _: Request) -> Response:
        logins = self._hub.logins
        details = [account.detail() for account in self._hub.accounts()]
        return _json([msgspec.structs.replace(one, login=logins.view(one.view.provider)) for one in details])

    async def renew(self, request: Request) -> Response:
        await self._account(request).renew_now()
        self._hub.store.notice()
        return Response(status_code=204)

    async def login(self, request: Request) -> Response:
        account = self._account(request)
        if not isinstance(account, Account):
            raise InvalidRequest("This provider uses an API key from the settings; there is nothing to log in to.")
        return _json(await self._hub.logins.start(account))

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > _MAX_BODY:
            raise InvalidRequest("The answer is too long.")
        try:
            given = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"Not an answer: {error}.") from error
        self._hub.logins.answer(self._account(request).provider, given.answer)
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        self._hub.logins.cancel(self._account(request).provider)
        return Response(status_code=204)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
