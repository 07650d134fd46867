"""Claude Code as an upstream: a request becomes a turn of an agent, its turn becomes an answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ccproxy_tui.core.auth.account import Account, AnyAccount
from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.control.frames import SdkView
from ccproxy_tui.core.detection import Detector
from ccproxy_tui.core.errors import (
    InvalidRequest,
    RouteNotFound,
    Stopped,
    UpstreamCut,
    UpstreamRefused,
    UpstreamStalled,
)
from ccproxy_tui.core.formats import Format, Misfit, Profile, Report
from ccproxy_tui.core.formats.anthropic_messages.models import thinking_mode
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.formats.count import estimate_tokens
from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.formats.models import ModelCard
from ccproxy_tui.core.formats.upstream_error import kind_of
from ccproxy_tui.core.provider import Answer, Call, Host, Recorder
from ccproxy_tui.core.settings.agents import Claude
from ccproxy_tui.core.system.patience import patience
from ccproxy_tui.core.system.threads import work_on
from ccproxy_tui.core.text import sse
from ccproxy_tui.providers.claude_sdk.agents import Agents, Lease
from ccproxy_tui.providers.claude_sdk.ask import Ask, read_ask, since_last_answer
from ccproxy_tui.providers.claude_sdk.cli import ADD_SDK, has_sdk
from ccproxy_tui.providers.claude_sdk.folder import OWN, setting_sources
from ccproxy_tui.providers.claude_sdk.options import Options, joined, least_thinking, narrowed, options_of
from ccproxy_tui.providers.claude_sdk.quota import headers_of
from ccproxy_tui.providers.claude_sdk.turn import Form, Turn, assembled
from ccproxy_tui.providers.registry import Context

log = logging.getLogger(__name__)

_MODELS = ("opus", "sonnet", "haiku")  # names that Claude Code itself takes for its newest
_WISHES = (
    *("cwd", "permission-mode", "allowed-tools", "disallowed-tools", "max-turns", "max-thinking-tokens"),
    "append-system-prompt",
)
_LOGIN_HINT = "(Agents use the login of the Claude CLI: `claude`, or `ccproxy-tui auth login`.)"
SDK_HEADER = ("x-claude-sdk-response", "true")


class ClaudeSdk:
    """Serves Messages; the other dialects are converted into it."""

    name = "claude_sdk"
    prefixes: tuple[str, ...] = ("/sdk", "/claude/sdk")
    lists: Format | None = None
    detector: Detector | None = None

    def __init__(self, context: Context) -> None:
        self._context = context
        self._home = Path.cwd() if os.access(".", os.R_OK) else context.paths.home
        self._trusted_folder = ""
        self.agents = Agents(lambda: self._settings, context.environ, context.clock, context.paths.runtime)

    @property
    def _settings(self) -> Claude:
        return self._context.settings().claude

    def move_in(self, host: Host) -> None:
        self.agents.host = host

    def warm_up(self) -> bool:
        return has_sdk() and self.agents.warm(self._with_sources(self._options))

    @property
    def _options(self) -> Options:
        return options_of(self._settings, self._home, self.agents.url)

    @property
    def paths(self) -> list[str]:
        return ["GET models", "GET models/**"]

    def profile(self, model: str, dialect: Format) -> Profile:
        return Profile(
            "anthropic_messages", "anthropic", "Claude Code", thinking=thinking_mode(model), cache_marks=False
        )

    async def run(self, call: Call, record: Recorder) -> Answer:
        if call.operation == "count_tokens":
            record.routed("", "free")
            record.mark("answered here", "an estimate: an agent can't count")
            return _whole({"input_tokens": estimate_tokens(read_object(call.body))})
        if call.operation != "messages":
            raise RouteNotFound("Claude Code's agent serves messages, chat and responses.")
        ask, options = await self._read(call, record)
        record.routed("Claude Code", "Agent SDK")
        lease = await self.agents.lease(options, call.session, record.mark)
        return await _Turning(self, lease, ask, call, record).answer()

    async def _read(self, call: Call, record: Recorder) -> tuple[Ask, Options]:
        """Raises InvalidRequest."""
        notes = Report()
        try:
            ask = await work_on(len(call.body), partial(read_ask, call.body, notes))
            wishes = ask.wishes | {name.replace("-", "_"): call.wishes[name] for name in _WISHES if name in call.wishes}
            options = await asyncio.to_thread(self._narrowed, wishes)
        except Misfit as misfit:
            where = misfit.dotted()
            raise InvalidRequest(f"{where}: {misfit.message}" if where else misfit.message, field=where) from misfit
        thinking = least_thinking(options.thinking, ask.thinking)
        if ask.thinking and thinking != ask.thinking:
            notes.changed("thinking", f"the settings allow {thinking} tokens (claude.code_options)", str(ask.thinking))
        record.changed(notes)
        return ask, replace(
            options,
            model=call.model or options.model,
            system=joined(options.system, ask.system),
            replaces_system=options.replaces_system and bool(ask.system),
            thinking=thinking,
            effort=ask.effort,
        )

    def _narrowed(self, wishes: Object) -> Options:
        """Raises Misfit. Reads files."""
        options = narrowed(self._options, wishes, any_folder=self._settings.request_cwd)
        return self._with_sources(options)

    def _with_sources(self, options: Options) -> Options:
        sources = setting_sources(Path(options.cwd), self._context.paths, self._context.environ)
        self._trusted_folder = options.cwd if sources != OWN else ""
        return replace(options, sources=sources)

    @property
    def project_words(self) -> str:
        return f"agents use the settings of {self._trusted_folder}/.claude" if self._trusted_folder else ""

    def form(self, call: Call, ask: Ask) -> Form:
        settings = self._settings
        return Form(
            settings.sdk_message_mode,
            pretty=settings.pretty_format,
            foreign=call.converted,
            thinking=ask.thinking not in ("", "disabled"),
        )

    @property
    def first_word_seconds(self) -> float:
        return self._settings.sdk_session_pool.stream_first_chunk_timeout

    @property
    def silence_seconds(self) -> float:
        return self._settings.sdk_session_pool.stream_ongoing_timeout

    def note_quota(self, message: Object) -> None:
        """What Claude Code says of its plan belongs to the account of the Claude CLI."""
        host = self.agents.host
        account = next((one for one in host.accounts() if one.provider == "claude"), None) if host is not None else None
        if isinstance(account, Account) and (headers := headers_of(message)):
            account.note_answer(headers)

    # --- what is asked about it ---

    async def models(self) -> list[ModelCard]:
        return [ModelCard(name, owner="anthropic") for name in _MODELS]

    def accounts(self) -> list[AnyAccount]:
        return []

    async def sdk(self) -> SdkView:
        view = await self.agents.measured()
        problem = "" if has_sdk() else f"SDK mode is not installed: {ADD_SDK}"
        return msgspec.structs.replace(view, problem=problem)

    def runs_agent(self, name: str) -> bool:
        return self.agents.runs(name)

    def sdk_counts(self) -> tuple[int, int, int]:
        return self.agents.counts()

    async def interrupt_agent(self, number: int) -> bool:
        return await self.agents.interrupt(number)

    async def end_agent(self, number: int, *, again: bool) -> bool:
        return await self.agents.end(number, again=again)

    async def close(self) -> None:
        await self.agents.close()


class _Turning:
    """One turn of a leased agent, from the question to the last byte. The lease is given back in any case."""

    def __init__(self, sdk: ClaudeSdk, lease: Lease, ask: Ask, call: Call, record: Recorder) -> None:
        self._sdk = sdk
        self._lease = lease
        self._ask = ask
        self._call = call
        self._record = record
        self._turn = Turn(sdk.form(call, ask), call.model)
        self._messages: AsyncIterator[Object] | None = None
        self._given_back = False

    async def answer(self) -> Answer:
        """Raises a ProxyError as long as nothing has been said; then the body raises it."""
        try:
            await self._begin()
            first = await self._first_events()
            if not self._call.stream:
                return await self._whole(first)
        except BaseException:  # cancelled, too: nobody else would give the agent back
            self._give_back(whole=False)
            raise
        headers = [("content-type", "text/event-stream; charset=utf-8"), SDK_HEADER]
        return Answer(200, headers, self._stream(first), self._leave)

    async def _begin(self) -> None:
        from ccproxy_tui.providers.claude_sdk.agent import AgentFailed, Job

        agent, call = self._lease.agent, self._call
        history = since_last_answer(self._ask) if self._lease.remembers else self._ask.history
        if len(self._ask.history) > len(history):
            self._record.mark("history", f"{len(self._ask.history) - len(history)} turns are in the session")
        asked = msgspec.json.encode(
            {"history": [[said.role, said.content] for said in history], "ask": self._ask.question}
        )
        url = f"claude-code:///{agent.process.pid}"
        self._record.asked("POST", url, (), asked)
        try:
            await agent.tell(history)
        except AgentFailed as failure:
            raise UpstreamCut(str(failure)) from failure
        client = client_name(dict(call.headers))
        self._messages = agent.turn(self._ask.question, Job(call.exchange, client, call.session, call.model))

    async def _next(self) -> list[Object]:
        """The events of the next message. Raises a ProxyError."""
        from ccproxy_tui.providers.claude_sdk.agent import AgentFailed

        assert self._messages is not None
        try:
            async with patience(self._patience):
                message = await anext(self._messages)
        except TimeoutError:
            raise UpstreamStalled(f"Claude Code has said nothing for {self._patience:.0f} s.") from None
        except (AgentFailed, StopAsyncIteration) as failure:
            raise UpstreamCut(str(failure) or "Claude Code's turn has no end.") from failure
        if message.get("type") == "rate_limit_event":
            self._sdk.note_quota(message)
        if message.get("subtype") == "init":
            self._note_payer(message)
        events = self._turn.feed(message)
        if self._turn.done and self._turn.summary:
            self._record.mark("turn ended", self._turn.summary)
        if self._turn.done and (failed := self._turn.failure) is not None:
            if stopped := self._lease.agent.stopped:
                raise Stopped(stopped)
            words = f"{failed.message} {_LOGIN_HINT}" if failed.status == 401 else failed.message
            raise UpstreamRefused(failed.status, kind_of(failed.status), words)
        return events

    @property
    def _patience(self) -> float | None:
        """Seconds that the next message may take. A tool, or the person who is asked for it, takes its time."""
        if self._turn.running_tools:
            return None
        return self._sdk.silence_seconds if self._turn.started else self._sdk.first_word_seconds

    def _note_payer(self, message: Object) -> None:
        """Claude Code tells where its key is from; with a login it tells none."""
        source = message.get("apiKeySource")
        if isinstance(source, str) and source not in ("", "none"):
            self._record.billed("API key")

    async def _first_events(self) -> list[Object]:
        events: list[Object] = []
        while not self._turn.started and not self._turn.done:
            events += await self._next()
        return events

    async def _whole(self, events: list[Object]) -> Answer:
        while not self._turn.done:
            events += await self._next()
        self._give_back(whole=True)
        return _whole(assembled(events))

    async def _stream(self, first: list[Object]) -> AsyncIterator[bytes]:
        events = first
        while True:
            for event in events:
                yield sse.encode(msgspec.json.encode(event), str(event["type"]))
            if self._turn.done:
                self._give_back(whole=True)
                return
            events = await self._next()

    def _leave(self) -> None:
        self._give_back(whole=self._turn.done)

    def _give_back(self, *, whole: bool) -> None:
        if not self._given_back:
            self._given_back = True
            self._sdk.agents.give_back(self._lease, whole=whole)


def _whole(value: Any) -> Answer:
    body = msgspec.json.encode(value)

    async def once() -> AsyncIterator[bytes]:
        yield body

    return Answer(200, [("content-type", "application/json"), ("content-length", str(len(body))), SDK_HEADER], once())
