"""What providers with a login share: their accounts, token endpoints and usage documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccproxy_tui import __version__
from ccproxy_tui.core.auth.account import Account, Guard
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.oauth import Headers
from ccproxy_tui.core.auth.oauth_login import CodeLogin, DeviceLogin
from ccproxy_tui.core.auth.pool import Pool, Strategy, Turns
from ccproxy_tui.core.auth.quota import Reading
from ccproxy_tui.core.auth.renewal import Ask, Renewal, TokenAnswer
from ccproxy_tui.core.errors import UpstreamGarbled, UpstreamStalled
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.limits import TOKEN_ANSWER, TOKEN_SECONDS
from ccproxy_tui.core.provider import Answer, close_answer
from ccproxy_tui.core.settings.models import Http
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.patience import patience
from ccproxy_tui.core.text.http_time import retry_after
from ccproxy_tui.providers.registry import Context
from ccproxy_tui.providers.upstream import Upstream, read_all

_ASKS_TO_WAIT = (429, 503, 529)


def make_ask(title: str, http: Callable[[], Http], clock: Clock) -> Ask:
    """Return what asks a token endpoint. Each request has a connection of its own: they are hours apart."""

    async def ask(method: str, url: str, headers: Headers, body: bytes) -> TokenAnswer:
        upstream = Upstream(title, url, http().model_copy(update={"read_timeout": 20.0}))
        own = [("user-agent", f"ccproxy-tui/{__version__}"), ("accept-encoding", "identity")]
        try:
            async with patience(TOKEN_SECONDS):
                answer = await upstream.send(method, url, [*headers, *own], body)
                wait = retry_after(dict(answer.headers), clock.now()) if answer.status in _ASKS_TO_WAIT else None
                return TokenAnswer(answer.status, await _collect(answer, title), wait or 0.0)
        except TimeoutError:
            raise UpstreamStalled(f"{title} did not answer within {TOKEN_SECONDS:.0f} s.") from None
        finally:
            await upstream.close()

    return ask


async def _collect(answer: Answer, title: str) -> bytes:
    body = bytearray()
    try:
        async for chunk in answer.body:
            body += chunk
            if len(body) > TOKEN_ANSWER:
                raise UpstreamGarbled(f"{title} answered with more than a token.")
    finally:
        await close_answer(answer)
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Kind:
    """What all accounts of one provider have in common. `keys` are those of a login file that are the login."""

    name: str
    title: str
    keys: Sequence[str]
    hint: str
    renewal: Renewal
    make_login: Callable[[], CodeLogin | DeviceLogin]
    check: Callable[[Credential], Awaitable[Reading]]


def make_pool(context: Context, kind: Kind, own: JsonFile, labels: Mapping[str, Path]) -> Pool:
    """The account of the vendor's own tool, and those that the settings name: `claude`, `claude:work`."""
    accounts = [_make_account(context, kind, kind.name, kind.title, own)]
    for label, path in labels.items():
        place = path.expanduser()
        file = JsonFile([place], place, own.parse, context.clock, keys=kind.keys, owner_locks=own.owner_locks)
        accounts.append(_make_account(context, kind, f"{kind.name}:{label}", f"{kind.title} ({label})", file))
    return Pool(accounts, context.clock)


def _make_account(context: Context, kind: Kind, name: str, title: str, file: JsonFile) -> Account:
    return Account(
        name,
        title,
        file,
        kind.renewal,
        context.clock,
        context.paths.state / "logins",
        kind.hint,
        make_login=kind.make_login,
        check=kind.check,
        guard=guard_of(context, name),
    )


def guard_of(context: Context, name: str) -> Callable[[], Guard]:
    """The settings for one account, read anew each time: they may change while the proxy runs."""

    def guard() -> Guard:
        accounts = context.settings().accounts
        return Guard(plan_only="*" in accounts.plan_only or name in accounts.plan_only, alarms=accounts.quota_alarms)

    return guard


def turns_of(context: Context, pool: Pool, strategy: Strategy) -> Turns:
    """Return how the accounts of a pool are asked, by the settings of this moment."""
    return Turns(pool, strategy, context.settings().accounts.hold_seconds)


async def ask_usage(upstream: Upstream, url: str, headers: Headers) -> dict[str, Any]:
    """A usage document. Raises ProxyError; UpstreamGarbled when it is no JSON object."""
    document = read_object(await read_all(await upstream.send("GET", url, headers, b"")))
    if not document:
        raise UpstreamGarbled("The provider's answer is no JSON object.")
    return document
