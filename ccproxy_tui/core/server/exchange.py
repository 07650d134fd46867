"""The life of one exchange: read, route, ask, relay, account for it, and end it truthfully."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.errors import (
    Draining,
    ProxyError,
    RouteNotFound,
    Stopped,
    UpstreamCut,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamStalled,
    WrongMediaType,
)
from ccproxy_tui.core.exchange.delivery import (
    ConvertedStream,
    Delivery,
    Leg,
    Mended,
    Outcome,
    Relayed,
    Renamed,
    changes,
    delivery_of,
    is_stream,
)
from ccproxy_tui.core.exchange.history import Listening
from ccproxy_tui.core.exchange.peek import Peek, peek, session_of
from ccproxy_tui.core.exchange.preparing import Plan
from ccproxy_tui.core.exchange.sending import CandidateLadder
from ccproxy_tui.core.exchange.sink import RawHeaders, Receive, Send, Sink
from ccproxy_tui.core.exchange.tap import AnswerUnpacker, Tap
from ccproxy_tui.core.formats.errors import error_body, error_event, ping
from ccproxy_tui.core.formats.names import Format
from ccproxy_tui.core.formats.report import Report
from ccproxy_tui.core.model_map import Candidate
from ccproxy_tui.core.provider import Answer, Call, Headers, close_answer
from ccproxy_tui.core.records.events import (
    Accepted,
    BodyRead,
    Converted,
    EndReason,
    Finished,
    Marked,
    Pinged,
    Routed,
    UpstreamAnswered,
)
from ccproxy_tui.core.routing import Target, allows, guess_dialect
from ccproxy_tui.core.server import headers as head
from ccproxy_tui.core.server.body import ARRIVED, UNREAD, ClientGone, read_body
from ccproxy_tui.core.server.hub import Hub, Interruption
from ccproxy_tui.core.server.local import Local, estimate, list_models
from ccproxy_tui.core.server.shares import CLAIM
from ccproxy_tui.core.system.ids import new_id
from ccproxy_tui.core.text.redact import redact_headers
from ccproxy_tui.core.text.sse import EventTooLarge
from ccproxy_tui.core.text.unpack import UnpackError

log = logging.getLogger(__name__)

_HEADER_LIMIT = 6 * 1024
_BY_MODEL = frozenset({"messages", "count_tokens", "chat", "responses", "compact"})


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
        self._listening: Listening | None = None
        self._sink = Sink(send)
        self._tap: Tap | None = None
        self._answer: Answer | None = None
        self._task: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._interruption: Interruption | None = None
        self._session = ""
        self._streaming = False
        self._stalled = False
        self._last_ping = 0.0
        self._sending: CandidateLadder | None = None
        self._delivery: Delivery | None = None
        self._outcome = Outcome()

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
        except Exception as problem:  # of ours or of a plugin: one broken exchange is no broken proxy
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
                started=self._hub.clock.now(),
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
        self._check_operation()
        candidates = self._route(found)
        if (local := await self._local(body, candidates[0])) is not None:
            return await self._tell_locally(local)
        self._watcher = self._hub.tasks.start(self._watch(), name=f"watch {self.id}")
        sending = self._sending = self._hub.sender.begin(
            self._call(body, found), candidates, self._hub.bus.publish, self._scope["path"]
        )
        self._answer, plan = await sending.run()
        self._sink.listener = self._listening = Listening() if plan.keeps_history else None
        outcome = self._outcome = await self._deliver(self._answer, plan)
        if self._listening is not None and (response := self._listening.response) is not None:
            self._hub.history.remember(body, response)
        if outcome.learned:
            await asyncio.to_thread(self._hub.memory.remember, outcome.learned)
        return outcome.reason, outcome.error

    async def _read(self) -> bytes:
        settings = self._hub.settings.server
        return await read_body(
            self._receive,
            limit=settings.max_body_mb * 1024 * 1024,
            declared=self._named.get("content-length", ""),
            encoding=self._named.get("content-encoding", ""),
            claim=self._scope.get(CLAIM),
            arrived=ARRIVED in self._scope,
            seconds=settings.body_seconds,
            hint="Raise server.max_body_mb to allow it.",
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
            self._session = session_of(found, self._target.session, self._named)
            self._hub.bus.publish(BodyRead(self.id, body, found.model_name, found.wants_stream, self._session))
        self._streaming = found.wants_stream
        return found

    def _require_json(self) -> None:
        media = self._named.get("content-type", "").split(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise WrongMediaType(
                f"The content type is {media[:60] or 'missing'!r}; JSON is expected.",
                hint="Send the header content-type: application/json.",
            )

    def _check_operation(self) -> None:
        """An account is more than its models: what is not on its provider's list is not there. Raises RouteNotFound."""
        target, method = self._target, self._scope["method"]
        provider = self._hub.providers.get(target.provider)
        if target.dialect is not None or target.operation == "stored_response" or provider is None:
            return  # a path of our own, which goes upstream as it is or converted; or nowhere
        if not allows(provider.paths, method, target.rest):
            raise RouteNotFound(
                f"{method} {target.rest[:200]} is not among the operations that {provider.name} serves.",
                hint="The setting extra_paths of the provider adds to them.",
            )

    def _route(self, found: Peek) -> list[Candidate]:
        """Who serves this request, best first. The model table decides; a path that names a provider narrows it."""
        target = self._target
        if target.operation not in _BY_MODEL:
            return [Candidate(target.provider, found.model_name)]
        by_model = target.prefix == "" and not self._hub.settings.server.bypass_mode
        candidates = self._hub.candidates(found.model_name, "" if by_model else target.provider, target.provider)
        first = candidates[0]
        if first.model != found.model_name or by_model:
            detail = f"{found.model_name} -> {first.model}" if first.model != found.model_name else first.model
            self._hub.bus.publish(Marked(self.id, "model mapped", f"{detail} ({first.rule or 'no rule'})"))
        return candidates

    async def _local(self, body: bytes, candidate: Candidate) -> Local | None:
        """What needs no upstream's answer of its own: lists in the client's dialect, and estimates."""
        hub, target = self._hub, self._target
        if target.operation == "stored_response":
            raise RouteNotFound("This proxy keeps no responses.", hint="Send the whole conversation (store is false).")
        if target.operation == "count_tokens":
            return estimate(body, hub.providers.get(candidate.provider), candidate.model)
        if target.operation in ("models", "model"):
            return await list_models(hub, target, self._dialect, self._named.get("user-agent", ""))
        return None

    async def _tell_locally(self, local: Local) -> tuple[EndReason, str]:
        self._hub.bus.publish(Routed(self.id, local.provider, "", "", billing="free"))
        self._hub.bus.publish(Marked(self.id, "answered here", local.note))
        headers = [(b"content-type", b"application/json"), (b"x-ccproxy-note", local.note.encode("ascii", "replace"))]
        await self._sink.answer(200, local.body, [*headers, (b"x-request-id", self._request_id.encode("latin-1"))])
        return "done", ""

    def _call(self, body: bytes, found: Peek) -> Call:
        return Call(
            exchange=self.id,
            operation=self._target.operation,
            method=self._scope["method"],
            path=self._target.rest,
            query=self._scope["query_string"].decode("latin-1"),
            headers=head.for_upstream(self._headers),
            body=body,
            format=self._target.dialect,
            model=found.model_name,
            stream=found.wants_stream,
            session=self._session,
            wishes=head.wishes(self._headers),
        )

    @property
    def _report(self) -> Report | None:
        """What was changed in the request, as far as it was prepared."""
        plan = self._sending.plan if self._sending is not None else None
        return None if plan is None else plan.report

    def _publish_report(self) -> None:
        if (report := self._report) is not None and len(report):
            self._hub.bus.publish(Converted(self.id, tuple(report)))

    # --- the answer ---

    async def _deliver(self, answer: Answer, plan: Plan) -> Outcome:
        self._hub.bus.publish(UpstreamAnswered(self.id, answer.status, tuple(redact_headers(answer.headers))))
        record = self._hub.store.get(self.id)
        assert record is not None  # live records are never forgotten
        watched = plan.call.format if answer.status == 200 else None
        changed = changes(plan, answer.status)
        encoding = answer.header("content-encoding")  # none was asked for, but some send it
        if changed and encoding:
            answer.body, encoding = _unpacked(answer.body, encoding), ""
        tap = self._tap = Tap(
            record, self._hub.store, self._hub.bus, self._hub.clock, watched, encoding, converted=changed
        )
        leg = Leg(self._sink, tap, self._client_headers, self._scope.get(CLAIM))
        delivery = self._delivery = delivery_of(plan, answer, leg, int(self._hub.clock.now()))
        await self._sink.settle()
        if isinstance(delivery, Relayed | Renamed | Mended) and not self._sink.started:
            self._streaming = is_stream(answer)
        try:
            return await delivery.run(answer)
        except EventTooLarge as error:
            raise UpstreamGarbled(str(error)) from error

    def _client_headers(self, headers: Headers, *, stream: bool) -> RawHeaders:
        result = head.for_client(headers, stream=stream)
        if not any(name == b"x-request-id" for name, _ in result):
            result.append((b"x-request-id", self._request_id.encode("latin-1")))
        if "x-ccproxy-report" in self._named and (report := self._report) is not None:
            result.append((b"x-ccproxy-conversion", report_header(report)))
        return result

    @property
    def _request_id(self) -> str:
        """The client's own id when it is usable, else ours."""
        given = self._named.get("x-request-id", "")
        return given if given and len(given) <= 128 and given.isascii() and given.isprintable() else self.id

    # --- the end ---

    async def _fail(self, problem: ProxyError) -> tuple[EndReason, str]:
        """Tell the client, in its dialect, as well as the state of the response still allows."""
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
                self._dialect,
                problem.kind,
                problem.text,
                field=problem.field,
                code=problem.code,
                request_id=self._request_id,
            )
            given = problem.headers if isinstance(problem, UpstreamRefused) else ()
            extra = [(b"content-type", b"application/json"), *self._client_headers(list(given), stream=False)]
            if isinstance(problem, UNREAD):
                extra.append((b"connection", b"close"))  # the rest of its body is not read
            status = problem.status
            if isinstance(problem, UpstreamRefused):
                status = client_status(self._dialect, status)
            await sink.answer(status, body, extra)
        elif self._streaming and sink.at_boundary:
            await sink.finish(self._error_event(problem))
        # Otherwise the response breaks off in the middle, which is the truth: returning now drops the connection.

    def _error_event(self, problem: ProxyError) -> bytes:
        if isinstance(self._delivery, ConvertedStream):
            return self._delivery.fail(problem)
        return error_event(self._dialect, problem.kind, problem.text)

    async def _interrupted(self) -> tuple[EndReason, str]:
        task = self._task
        if self._interruption is None or task is None:
            await self._leave("failed", "cancelled")
            raise asyncio.CancelledError
        task.uncancel()
        if self._interruption == "client_gone":
            return self._why_it_left()
        if self._interruption == "stopped":
            return await self._fail(Stopped("The exchange was stopped by the user at the proxy."))
        return await self._fail(Draining("The proxy is shutting down."))

    def _why_it_left(self) -> tuple[EndReason, str]:
        """Clients leave because of an error inside the stream, or once they have its last event: then that counts."""
        tap = self._tap
        if tap is None or not (self._streaming and self._sink.started):
            return "client_gone", ""
        if error := tap.stream_error():
            return "upstream_error", error
        return ("done" if tap.knows_dialect and tap.has_end_mark else "client_gone"), ""

    async def _leave(self, reason: EndReason, error: str) -> None:
        """Close both legs and say how it ended. Safe to call twice."""
        if self.id not in self._hub.running:
            return
        self._hub.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
        try:
            if self._answer is not None:
                await close_answer(self._answer)
        except Exception:  # a provider's own way to close: the exchange has ended all the same
            log.exception("an upstream's answer could not be closed", extra={"exchange": self.id})
        finally:
            self._finish(reason, error)

    def _finish(self, reason: EndReason, error: str) -> None:
        self._publish_report()
        self._log_early_end(reason, error)
        record = self._hub.store.get(self.id)
        assert record is not None  # live records are never forgotten
        said = self._said()
        summary = record.summary(
            reason,
            self._status(reason),
            self._hub.clock.monotonic(),
            error=error,
            usage=said.usage,
            served_model=said.model,
            stop_reason=said.stop_reason,
        )
        self._hub.bus.publish(Finished(self.id, summary))

    def _log_early_end(self, reason: EndReason, error: str) -> None:
        """The one line of an answer that its client did not get whole."""
        sink = self._sink
        if sink.started and sink.status < 400 and reason not in ("done", "client_gone"):
            level = logging.INFO if reason in ("stopped", "drained") else logging.WARNING
            log.log(
                level,
                "the answer ended early (%s) after %d bytes: %s",
                *(reason.replace("_", " "), sink.written, error or "no reason is known"),
                extra={"exchange": self.id},
            )

    def _said(self) -> Outcome:
        """What the answer said of itself, read from the bytes where nobody parsed them."""
        tap, outcome = self._tap, self._outcome
        if outcome.usage is not None or tap is None:
            return outcome
        return Outcome(usage=tap.usage(), model=tap.model(), stop_reason=tap.stop_reason())

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
        if silent >= settings.stall_seconds and not self._stalled and not record.questions:
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
        if await self._sink.ping(ping(self._dialect)):
            self._hub.bus.publish(Pinged(self.id))


async def _unpacked(body: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """The body without its compression. Raise UpstreamGarbled when it can't be undone within the limits."""
    try:
        unpacker = AnswerUnpacker(encoding)
        async for chunk in body:
            async for piece in unpacker.feed(chunk):
                yield piece
    except UnpackError as error:
        raise UpstreamGarbled(f"The upstream's answer {error}.") from error


def report_header(report: Report) -> bytes:
    """The conversion report as a header's value: JSON in ASCII, as many notes as fit."""
    notes = [[note.action, note.field, note.reason] for note in report]
    while notes and len(value := json.dumps(notes, separators=(",", ":"))) > _HEADER_LIMIT:
        notes = notes[: len(notes) // 2]
    return (value if notes else "[]").encode()


def client_status(dialect: Format, status: int) -> int:
    """An overloaded upstream has a status of its own in Anthropic's dialect."""
    if dialect == "anthropic_messages" and status == 503:
        return 529
    return 503 if dialect != "anthropic_messages" and status == 529 else status


def _wrong_method(method: str, path: str) -> ProxyError:
    from ccproxy_tui.core.errors import MethodNotAllowed

    return MethodNotAllowed(f"{method} is not allowed on {path}.", hint="Use POST.")


def _end_reason(problem: ProxyError) -> EndReason:
    match problem:
        case UpstreamRefused():
            return "upstream_error"
        case UpstreamStalled():
            return "stalled"
        case UpstreamCut():
            return "cut"
        case Stopped():
            return "stopped"
        case Draining():
            return "drained"
        case _ if problem.status >= 500:
            return "upstream_error" if problem.status in (502, 504) else "failed"
        case _:
            return "refused"
