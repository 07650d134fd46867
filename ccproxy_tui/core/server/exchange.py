"""The life of one exchange: read, route, ask, relay, account for it, and end it truthfully."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.errors import (
    BodyTooLarge,
    Draining,
    InvalidRequest,
    ProxyError,
    RouteNotFound,
    Stopped,
    UpstreamCut,
    UpstreamStalled,
    WrongMediaType,
)
from ccproxy_tui.core.events import Accepted, BodyRead, Ended, EndReason, Marked, UpstreamAnswered
from ccproxy_tui.core.formats.canonical import Usage
from ccproxy_tui.core.formats.errors import error_body, error_event, ping
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.ids import new_id
from ccproxy_tui.core.provider import Answer, Call, Provider
from ccproxy_tui.core.redact import redact_headers
from ccproxy_tui.core.routing import Target, guess_dialect
from ccproxy_tui.core.server import headers as head
from ccproxy_tui.core.server.body import ClientGone, read_body
from ccproxy_tui.core.server.hub import Hub, Interruption
from ccproxy_tui.core.server.peek import Peek, peek, session_of
from ccproxy_tui.core.server.sink import Receive, Send, Sink
from ccproxy_tui.core.server.tap import Tap

log = logging.getLogger(__name__)


class Exchange:
    """One client request and its upstream call. `run` returns when the client has its last byte."""

    def __init__(self, hub: Hub, target: Target, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.id = new_id(hub.clock)
        self._hub = hub
        self._target = target
        self._scope = scope
        self._receive = receive
        self._headers = head.decode(scope["headers"])
        self._named = dict(self._headers)
        self._dialect: Format = target.dialect or guess_dialect(scope["path"], frozenset(self._named))
        self._sink = Sink(send)
        self._tap: Tap | None = None
        self._answer: Answer | None = None
        self._task: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._interruption: Interruption | None = None
        self._streaming = False
        self._stalled = False
        self._last_ping = 0.0

    # --- the life ---

    async def run(self) -> None:
        self._accept()
        self._task = asyncio.current_task()
        reason: EndReason = "done"
        error = ""
        try:
            reason, error = await self._serve()
        except ClientGone:
            reason = "client_gone"
        except ProxyError as problem:
            reason, error = await self._fail(problem)
        except asyncio.CancelledError:
            reason, error = await self._interrupted()
        except Exception as problem:  # one broken exchange must not look like a broken proxy
            log.exception("exchange failed", extra={"exchange": self.id})
            reason, error = await self._fail(ProxyError(f"Internal error: {type(problem).__name__}."))
        finally:
            await self._leave(reason, error)

    def _accept(self) -> None:
        scope = self._scope
        peer = scope.get("client")
        self._hub.enter(self)
        self._hub.bus.publish(
            Accepted(
                exchange=self.id,
                at=self._hub.clock.now(),
                method=scope["method"],
                path=scope["path"],
                query=scope["query_string"].decode("latin-1"),
                peer=f"{peer[0]}:{peer[1]}" if peer else "",
                client=client_name(self._named),
                user_agent=self._named.get("user-agent", ""),
                dialect=self._target.dialect or "",
                headers=tuple(redact_headers(self._headers)),
            )
        )

    async def _serve(self) -> tuple[EndReason, str]:
        if self._hub.draining:
            raise Draining("The proxy is shutting down.", hint="Try again when it runs.")
        body = await self._read()
        found = self._look(body)
        provider = self._provider(found)
        self._watcher = self._hub.tasks.start(self._watch(), name=f"watch {self.id}")
        call = self._call(body, found, provider)
        self._answer = await provider.send(call, self._hub.bus.publish)
        return await self._relay(self._answer, call)

    async def _read(self) -> bytes:
        settings = self._hub.settings.server
        return await read_body(
            self._receive,
            limit=settings.max_body_mb * 1024 * 1024,
            declared=self._named.get("content-length", ""),
            encoding=self._named.get("content-encoding", ""),
        )

    def _look(self, body: bytes) -> Peek:
        """Read what routing needs from the body, and put it on the record."""
        found = Peek()
        try:
            if self._target.dialect is not None:
                if self._scope["method"] != "POST":
                    raise _wrong_method(self._scope["method"], self._scope["path"])
                self._require_json()
                found = peek(body)
        finally:
            session = session_of(found, self._target.session, self._named)
            self._hub.bus.publish(BodyRead(self.id, body, found.model_name, found.wants_stream, session))
        self._streaming = found.wants_stream
        return found

    def _require_json(self) -> None:
        media = self._named.get("content-type", "").split(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise WrongMediaType(
                f"The content type is {media[:60] or 'missing'!r}; JSON is expected.",
                hint="Send the header content-type: application/json.",
            )

    def _provider(self, found: Peek) -> Provider:
        name = self._target.provider
        provider = self._hub.providers.get(name)
        if provider is None:
            raise RouteNotFound(f"No provider serves {self._scope['path']!r}.")
        return provider

    def _call(self, body: bytes, found: Peek, provider: Provider) -> Call:
        dialect = self._target.dialect
        if dialect is not None and dialect not in provider.formats:
            raise InvalidRequest(f"{provider.name} does not speak {dialect}.")
        return Call(
            exchange=self.id,
            operation=self._target.operation,
            method=self._scope["method"],
            path=self._target.rest,
            query=self._scope["query_string"].decode("latin-1"),
            headers=head.for_upstream(self._headers),
            body=body,
            format=dialect,
            model=found.model_name,
            stream=found.wants_stream,
            session=session_of(found, self._target.session, self._named),
        )

    # --- the answer ---

    async def _relay(self, answer: Answer, call: Call) -> tuple[EndReason, str]:
        """Hand the upstream's bytes on as they are."""
        self._hub.bus.publish(UpstreamAnswered(self.id, answer.status, tuple(redact_headers(answer.headers))))
        record = self._hub.store.get(self.id)
        assert record is not None  # live records are never forgotten
        stream = answer.header("content-type").startswith("text/event-stream")
        watched = call.format if answer.status == 200 else None
        tap = self._tap = Tap(record, self._hub.store, self._hub.clock, watched, answer.header("content-encoding"))
        sink = self._sink
        await sink.settle()
        if sink.started and not (stream and answer.status == 200):
            return await self._late_error(answer)
        if not sink.started:
            await sink.start(answer.status, self._client_headers(answer, stream=stream))
        self._streaming = stream
        async for chunk in answer.body:
            tap.feed(chunk)
            await sink.write(chunk)
        if stream and not tap.has_end_mark:
            raise UpstreamCut("The upstream ended its stream without an end mark.")
        await sink.finish()
        if answer.status >= 400:
            return "upstream_error", f"upstream answered {answer.status}"
        error = tap.stream_error() if stream else ""
        return ("upstream_error", error) if error else ("done", "")

    def _client_headers(self, answer: Answer, *, stream: bool) -> list[tuple[bytes, bytes]]:
        headers = head.for_client(answer.headers, stream=stream)
        if not any(name == b"x-request-id" for name, _ in headers):
            headers.append((b"x-request-id", self._request_id.encode("latin-1")))
        return headers

    @property
    def _request_id(self) -> str:
        """The client's own id when it is usable, else ours."""
        given = self._named.get("x-request-id", "")
        return given if given and len(given) <= 128 and given.isascii() and given.isprintable() else self.id

    async def _late_error(self, answer: Answer) -> tuple[EndReason, str]:
        """The stream had to be opened (for a ping) before the upstream said no."""
        text = b"".join([chunk async for chunk in answer.body])[:2000].decode("utf-8", "replace")
        raise ProxyError(f"The upstream answered {answer.status}: {text}")

    # --- the end ---

    async def _fail(self, problem: ProxyError) -> tuple[EndReason, str]:
        """Tell the client, in its dialect, as well as the state of the response still allows."""
        problem.exchange_id = self.id
        reason = _end_reason(problem)
        try:
            await self._tell(problem)
        except asyncio.CancelledError:
            if self._interruption is None:
                raise
        return reason, problem.text

    async def _tell(self, problem: ProxyError) -> None:
        sink = self._sink
        await sink.settle()
        if sink.finished:
            return
        if not sink.started:
            body = error_body(
                self._dialect, problem.kind, problem.text, field=problem.field, request_id=self._request_id
            )
            extra = [
                (b"content-type", b"application/json"),
                (b"x-request-id", self._request_id.encode("latin-1")),
            ]
            if isinstance(problem, BodyTooLarge | ClientGone):
                extra.append((b"connection", b"close"))  # the rest of its body is not read
            await sink.answer(problem.status, body, extra)
        elif self._streaming and sink.at_boundary:
            await sink.finish(error_event(self._dialect, problem.kind, problem.text))
        # Otherwise the response breaks off in the middle, which is the truth: returning now drops the connection.

    async def _interrupted(self) -> tuple[EndReason, str]:
        task = self._task
        if self._interruption is None or task is None:
            await self._leave("failed", "cancelled")
            raise asyncio.CancelledError
        task.uncancel()
        if self._interruption == "client_gone":
            return "client_gone", ""
        if self._interruption == "stopped":
            return await self._fail(Stopped("The exchange was stopped by the person at the proxy."))
        return await self._fail(Draining("The proxy is shutting down."))

    async def _leave(self, reason: EndReason, error: str) -> None:
        """Close both legs and say how it ended. Safe to call twice."""
        if self.id not in self._hub.running:
            return
        self._hub.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._answer is not None:
            closing = self._answer.close()
            if inspect.isawaitable(closing):
                await closing
        tap = self._tap
        self._hub.bus.publish(
            Ended(
                exchange=self.id,
                reason=reason,
                status=self._status(reason),
                error=error,
                usage=Usage() if tap is None else tap.usage(),
                model="" if tap is None else tap.model(),
                stop_reason="" if tap is None else tap.stop_reason(),
            )
        )

    def _status(self, reason: EndReason) -> int:
        return 499 if reason == "client_gone" else self._sink.status

    # --- while it lives ---

    async def _watch(self) -> None:
        """The client's connection ends: so does the upstream call, at once."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._sink.finished:
            self.interrupt("client_gone")

    def interrupt(self, reason: Interruption) -> bool:
        if self._task is None or self._interruption is not None or self._sink.finished:
            return False
        self._interruption = reason
        self._task.cancel()
        return True

    def tick(self, now: float) -> None:
        record = self._hub.store.get(self.id)
        if record is None:
            return
        settings = self._hub.settings.server
        silent = now - record.last_byte
        if silent >= settings.stall_seconds and not self._stalled:
            self._stalled = True
            self._hub.bus.publish(Marked(self.id, "stalled", f"nothing from upstream for {silent:.0f} s"))
        elif silent < settings.stall_seconds and self._stalled:
            self._stalled = False
            self._hub.bus.publish(Marked(self.id, "resumed"))
        if (
            self._streaming
            and settings.keepalive_seconds > 0
            and now - max(record.last_byte, self._last_ping) >= settings.keepalive_seconds
        ):
            self._last_ping = now
            self._hub.tasks.start(self._ping(), name=f"ping {self.id}")

    async def _ping(self) -> None:
        record = self._hub.store.get(self.id)
        if await self._sink.ping(ping(self._dialect)) and record is not None:
            record.pings += 1
            self._hub.bus.publish(Marked(self.id, "pinged client"))


def _wrong_method(method: str, path: str) -> ProxyError:
    from ccproxy_tui.core.errors import MethodNotAllowed

    return MethodNotAllowed(f"{method} is not allowed on {path}.", hint="Use POST.")


def _end_reason(problem: ProxyError) -> EndReason:
    match problem:
        case UpstreamStalled():
            return "stalled"
        case UpstreamCut():
            return "cut"
        case Stopped() | Draining():
            return "stopped"
        case _ if problem.status >= 500:
            return "upstream_error" if problem.status in (502, 504) else "failed"
        case _:
            return "refused"
