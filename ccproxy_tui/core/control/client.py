"""`Control` over HTTP: on the unix socket of a proxy of this machine, or over TCP with its key."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import httpx
import msgspec

from ccproxy_tui.core.control.frames import (
    PROTOCOL,
    AccountDetail,
    AskView,
    AuditRow,
    BodyPart,
    CodexView,
    Detail,
    DetectionView,
    Frame,
    LoginView,
    ModelRoute,
    RuleProposal,
    RuleView,
    SdkView,
    Status,
    TestResult,
    Watch,
)
from ccproxy_tui.core.control.key import ControlKey
from ccproxy_tui.core.control.protocol import ControlError, ControlLost, differs
from ccproxy_tui.core.control.transport import control_http
from ccproxy_tui.core.text import sse

T = TypeVar("T")

_FRAME = msgspec.json.Decoder(Frame)
_JSON = {"content-type": "application/json"}
_SECONDS = 10.0  # for readings; the proxy has what they ask for
_VERB = 30.0  # seconds for verbs
_LONG = 60.0  # seconds for verbs that ask somebody else


class ControlClient:
    """One front end's connection. Built for a socket path, or for a URL with an address and the key of that proxy."""

    def __init__(self, *, socket: str = "", url: str = "http://localhost", key: ControlKey | None = None) -> None:
        self._viewer = secrets.token_hex(8)
        self._client = control_http(socket=socket, url=url, key=key)
        self._client.timeout = httpx.Timeout(_SECONDS)
        self._under_way: set[asyncio.Task[httpx.Response]] = set()

    async def frames(self, watch: Watch) -> AsyncIterator[Frame]:
        decoder = sse.Decoder()
        params = {"watch": msgspec.json.encode(watch).decode(), "protocol": str(PROTOCOL)}
        endless = httpx.Timeout(_SECONDS, read=None)  # the session counts the heartbeats
        try:
            async with self._client.stream(
                "GET", f"/control/frames/{self._viewer}", params=params, timeout=endless
            ) as response:
                await _check(response)
                async for chunk in response.aiter_raw():
                    for frame in _frames(decoder, chunk):
                        yield frame
        except httpx.TransportError as error:
            raise ControlLost(f"The connection to the proxy ended: {str(error) or type(error).__name__}.") from error
        raise ControlLost("The proxy ended the connection.")

    async def look_at(self, watch: Watch) -> None:
        await self._post(f"/control/watch/{self._viewer}", watch)

    async def status(self) -> Status:
        return await self._get("/control/status", Status)

    async def detail(self, exchange: str) -> Detail:
        return await self._get(f"/control/exchanges/{exchange}", Detail)

    async def body(self, exchange: str, part: BodyPart, offset: int = 0, limit: int = 1 << 20) -> bytes:
        response = await self._call(
            "GET", f"/control/exchanges/{exchange}/body/{part}", params={"offset": offset, "limit": limit}
        )
        return response.content

    async def stop_exchange(self, exchange: str) -> None:
        await self._post(f"/control/exchanges/{exchange}/stop", {})

    async def shutdown(self, *, drain: bool) -> None:
        await self._post("/control/shutdown", {"drain": drain})

    async def settings(self) -> list[dict[str, Any]]:
        return await self._get("/control/settings", list[dict[str, Any]])

    async def change_setting(self, key: str, value: str | None) -> str:
        answer = _read(await self._post(f"/control/settings/{key}", {"value": value}), dict[str, str])
        return f"{answer.get('effect', '')} ({answer.get('file', '')})"

    async def model_routes(self, name: str) -> list[ModelRoute]:
        response = await self._call("GET", "/control/models", params={"name": name})
        return _read(response, list[ModelRoute])

    async def accounts(self) -> list[AccountDetail]:
        return await self._get("/control/accounts", list[AccountDetail])

    async def renew_account(self, provider: str) -> None:
        await self._post(f"/control/accounts/{provider}/renew", {})

    async def check_account(self, provider: str) -> str:
        response = await self._post(f"/control/accounts/{provider}/check", {}, seconds=_LONG)
        return _word(response, "said")

    async def set_account_aside(self, provider: str, *, aside: bool) -> None:
        await self._post(f"/control/accounts/{provider}/aside", {"aside": aside})

    async def log_out(self, provider: str) -> str:
        response = await self._post(f"/control/accounts/{provider}/logout", {})
        return _word(response, "source")

    async def answer_permission(
        self, ask: str, *, allowed: bool, message: str = "", interrupt: bool = False, edited: Any = None
    ) -> None:
        answer = {"allowed": allowed, "message": message, "interrupt": interrupt, "input": edited}
        await self._post(f"/permissions/{ask}/respond", answer)

    async def propose_rules(self, ask: str) -> RuleProposal:
        return await self._get(f"/permissions/{ask}/rules", RuleProposal)

    async def add_rules(self, ask: str, rules: list[str], *, action: str, scope: str, hours: float | None) -> str:
        new = {"rules": rules, "action": action, "scope": scope, "hours": hours}
        return _word(await self._post(f"/permissions/{ask}/rules", new), "note")

    async def permission_card(self, ask: str, *, reveal: bool) -> AskView:
        return await self._get(f"/permissions/{ask}/card?reveal={str(reveal).lower()}", AskView)

    async def permission_history(self, count: int) -> list[AuditRow]:
        return await self._get(f"/permissions/history?limit={count}", list[AuditRow])

    async def rules(self) -> list[RuleView]:
        return await self._get("/permissions/rules", list[RuleView])

    async def remove_rule(self, rule: RuleView) -> None:
        named = {"rule": rule.rule, "action": rule.action, "project": rule.project, "session": rule.session}
        await self._post("/permissions/rules/remove", named)

    async def undo_rules(self) -> str:
        response = await self._post("/permissions/rules/undo", {})
        return _word(response, "said")

    async def extend_permission(self, ask: str, seconds: float) -> None:
        await self._post(f"/permissions/{ask}/extend", {"seconds": seconds})

    async def detections(self) -> list[DetectionView]:
        return await self._get("/control/detections", list[DetectionView])

    async def refresh_detection(self, tool: str) -> DetectionView:
        response = await self._post(f"/control/detections/{tool}/refresh", {}, seconds=_LONG)
        return _read(response, DetectionView)

    async def clear_detection(self, tool: str) -> int:
        response = await self._post(f"/control/detections/{tool}/clear", {})
        return _read(response, dict[str, int]).get("removed", 0)

    async def codex(self) -> CodexView:
        return await self._get("/control/codex", CodexView)

    async def test_codex(self) -> TestResult:
        response = await self._post("/control/codex/test", {}, seconds=_LONG)
        return _read(response, TestResult)

    async def sdk(self) -> SdkView:
        return await self._get("/control/sdk", SdkView)

    async def warm_agents(self) -> None:
        await self._post("/control/sdk/warm", {})

    async def interrupt_agent(self, agent: int) -> None:
        await self._post(f"/control/sdk/agents/{agent}/interrupt", {})

    async def end_agent(self, agent: int, *, again: bool) -> None:
        verb = "recycle" if again else "end"
        await self._post(f"/control/sdk/agents/{agent}/{verb}", {}, seconds=_LONG)

    async def start_login(self, provider: str) -> LoginView:
        response = await self._post(f"/control/accounts/{provider}/login", {})
        return _read(response, LoginView)

    async def answer_login(self, provider: str, answer: str) -> None:
        await self._post(f"/control/accounts/{provider}/login/answer", {"answer": answer})

    async def cancel_login(self, provider: str) -> None:
        await self._post(f"/control/accounts/{provider}/login/cancel", {})

    async def close(self) -> None:
        for task in list(self._under_way):
            task.cancel()
        await self._client.aclose()

    async def _get(self, path: str, shape: type[T]) -> T:
        return _read(await self._call("GET", path), shape)

    async def _post(self, path: str, value: Any, *, seconds: float = _VERB) -> httpx.Response:
        """`seconds` is how long the proxy may take, for verbs that ask somebody else."""
        timeout = httpx.Timeout(_SECONDS, read=seconds)
        return await self._call("POST", path, content=msgspec.json.encode(value), headers=_JSON, timeout=timeout)

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask in a task of its own: httpcore loses a connection of its pool with each request that is cancelled."""
        task = asyncio.ensure_future(self._client.request(method, path, **options))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        try:
            response = await asyncio.shield(task)
        except httpx.TimeoutException as error:
            raise ControlLost("The proxy does not respond.") from error
        except httpx.TransportError as error:
            raise ControlLost(f"The proxy can't be reached: {str(error) or type(error).__name__}.") from error
        await _check(response)
        return response

    def _ended(self, task: asyncio.Task[httpx.Response]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # it may have no reader any more


def _frames(decoder: sse.Decoder, chunk: bytes) -> Iterator[Frame]:
    """Yield the frames that end in `chunk`. Raises ControlError for one of another shape."""
    try:
        for event in decoder.feed(chunk):
            try:
                frame = _FRAME.decode(event.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ControlError(_unreadable(event.data)) from error
            yield frame
    except sse.EventTooLarge as error:
        raise ControlError("The proxy sends a frame that is too large to be read.") from error


def _unreadable(data: bytes) -> str:
    """Return what is wrong with a frame, and what to do about it: most often the proxy is of another version."""
    try:
        status = msgspec.json.decode(data, type=_Sender).status
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        status = _Identity()
    known = differs(status.protocol, status.port) if status.port else ""
    return known or "The proxy sends what these screens can't read: stop it and quit, then start both again."


class _Identity(msgspec.Struct):
    """The part of a status that says who sends it."""

    protocol: int = 1
    port: int = 0


class _Sender(msgspec.Struct):
    """The part of a frame that says who sends it."""

    status: _Identity = msgspec.field(default_factory=_Identity)


def _read(response: httpx.Response, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError("The proxy's reply can't be read; it may be of another version.") from error


def _word(response: httpx.Response, name: str) -> str:
    return str(_read(response, dict[str, Any]).get(name) or "")


async def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    body = await response.aread()
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"The proxy answered {response.status_code}."
    raise ControlError(message)
