"""The control API's verbs on accounts."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.auth.callback import PAGE, WAITS, is_visit
from ccproxy_tui.core.auth.file_lock import LockTimeout
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound, UpstreamError
from ccproxy_tui.core.limits import VERB_BODY
from ccproxy_tui.core.server.body import read_whole
from ccproxy_tui.core.server.deciders import Guard
from ccproxy_tui.core.server.hub import Hub

T = TypeVar("T")

_CLOSE = "You can close this page and go back to the terminal."


class _Answer(msgspec.Struct):
    answer: str = ""


class _Aside(msgspec.Struct):
    aside: bool


def account_routes(hub: Hub, guard: Guard) -> list[BaseRoute]:
    api = _AccountApi(hub)
    base = "/control/accounts"
    return [
        Route(base, guard(api.accounts)),
        Route(base + "/{provider}/renew", guard(api.renew), methods=["POST"]),
        Route(base + "/{provider}/check", guard(api.check), methods=["POST"]),
        Route(base + "/{provider}/aside", guard(api.aside, "decide"), methods=["POST"]),
        Route(base + "/{provider}/logout", guard(api.log_out, "decide"), methods=["POST"]),
        Route(base + "/{provider}/login", guard(api.login, "decide"), methods=["POST"]),
        Route(base + "/{provider}/login/answer", guard(api.answer, "decide"), methods=["POST"]),
        Route(base + "/{provider}/login/cancel", guard(api.cancel, "decide"), methods=["POST"]),
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
        logins, reach = self._hub.logins, self._hub.reach
        details = [account.detail() for account in self._hub.accounts()]
        return _json(
            [
                msgspec.structs.replace(one, view=reach.seen(one.view), login=logins.view(one.view.provider))
                for one in details
            ]
        )

    async def renew(self, request: Request) -> Response:
        await self._account(request).renew_now()
        self._hub.store.notice()
        return Response(status_code=204)

    async def check(self, request: Request) -> Response:
        account = self._account(request)
        try:
            said = await account.check()
        except UpstreamError as error:
            self._hub.reach.failed([account], error)
            raise
        else:
            self._hub.reach.answered([account])
        finally:
            self._hub.store.notice()
        return _json({"said": said})

    async def aside(self, request: Request) -> Response:
        given = await _body(request, _Aside)
        self._login(request).set_aside(aside=given.aside)
        self._hub.store.notice()
        return Response(status_code=204)

    async def log_out(self, request: Request) -> Response:
        try:
            source = await self._login(request).log_out()
        except (OSError, LockTimeout) as error:
            raise InvalidRequest(f"The login can't be removed: {error}.") from error
        self._hub.store.notice()
        return _json({"source": source})

    def _login(self, request: Request) -> Account:
        account = self._account(request)
        if not isinstance(account, Account):
            raise InvalidRequest("This provider uses an API key from the settings; there is no login.")
        return account

    async def login(self, request: Request) -> Response:
        return _json(await self._hub.logins.start(self._login(request)))

    async def answer(self, request: Request) -> Response:
        given = await _body(request, _Answer)
        self._hub.logins.answer(self._account(request).provider, given.answer)
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        self._hub.logins.cancel(self._account(request).provider)
        return Response(status_code=204)


async def _body(request: Request, shape: type[T]) -> T:
    body = await read_whole(request, VERB_BODY)
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"Not what this route takes: {error}.") from error


def oauth_routes(hub: Hub) -> list[BaseRoute]:
    """Where a browser may come back to after a login, besides the port of the login's own."""

    async def callback(request: Request) -> Response:
        state = request.query_params.get("state", "")
        found = is_visit(dict(request.headers)) and hub.logins.answer_by_state(state, str(request.url))
        title, text = ("Done", _CLOSE) if found else ("No login waits for this", WAITS)
        return HTMLResponse(PAGE.format(title=title, text=text), 200 if found else 400)

    return [Route("/oauth/callback", callback)]


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
