"""One Claude Code process and its conversation: started, told what was said before, asked, interrupted, ended.

Alone imports the SDK, and is imported only when an agent is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    PermissionResultAllow,
    PermissionResultDeny,
    PermissionUpdate,
    ToolPermissionContext,
    Transport,
)

from ccproxy_tui.core.formats.misfit import Object
from ccproxy_tui.core.permissions import Entry, PermissionRequest
from ccproxy_tui.core.permissions.sources import denial_of
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.patience import patience
from ccproxy_tui.providers.claude_sdk.ask import Said
from ccproxy_tui.providers.claude_sdk.options import Options
from ccproxy_tui.providers.claude_sdk.process import ClaudeProcess

log = logging.getLogger(__name__)

State = Literal["starting", "idle", "busy", "interrupting", "dead"]
AskPerson = Callable[[PermissionRequest], Awaitable[Entry]]

START_SECONDS = 30.0
_TELL_SECONDS = 20.0
_PING_SECONDS = 5.0
_numbers = itertools.count(1)


class AgentFailed(Exception):
    """The process can't be started, has ended, or does not answer. The message says why, for the client."""


@dataclass(frozen=True, slots=True)
class Job:
    """Who wants the turn that runs."""

    exchange: str = ""
    client: str = ""
    session: str = ""
    model: str = ""


class Agent:
    """One turn at a time. `options` are those that it was started with."""

    def __init__(
        self,
        process: ClaudeProcess,
        options: Options,
        ask: AskPerson,
        clock: Clock,
        name: str,
        *,
        session: str = "",
    ) -> None:
        self.number = next(_numbers)
        self.name = name  # Claude Code's own id of the conversation
        self.process = process
        self.options = options
        self.session = session  # the client's name of the conversation; empty for one turn alone
        self.state: State = "starting"
        self.problem = ""
        self.half_told = False  # whether only a part of what was said before has reached it
        self.stopped = ""  # why the person has ended the turn that runs
        self.job = Job()
        self.turns = 0
        self._ask = ask
        self._clock = clock
        self.born = self.used = clock.monotonic()
        self._client = ClaudeSDKClient(
            ClaudeAgentOptions(can_use_tool=self._may_run, verbatim_prompts=True), transport=cast("Transport", process)
        )

    async def start(self) -> None:
        """Raises AgentFailed."""
        try:
            async with patience(START_SECONDS):
                await self._client.connect()
        except TimeoutError:
            raise await self._fail(f"it did not start within {START_SECONDS:.0f} s") from None
        except (OSError, ClaudeSDKError) as error:
            raise await self._fail(str(error)) from error
        except asyncio.CancelledError:
            await asyncio.shield(self.close())
            raise
        except Exception as error:  # the SDK raises Exception itself for what the process refuses
            raise await self._fail(str(error)) from error
        self.state = "idle"

    async def _fail(self, reason: str) -> AgentFailed:
        reason, words = self.process.problem or reason, self.process.last_words
        await self.close()
        self.problem = f"{reason}: {words}" if words and words not in reason else reason
        return AgentFailed(f"Claude Code: {self.problem}")

    async def tell(self, history: Sequence[Said]) -> None:
        """Turns that were before, as messages of their own: no turn of its own comes of them. Raises AgentFailed."""
        self.half_told = bool(history)
        for said in history:
            if said.role == "assistant":
                await self._write(_answer(said, self.options.model))
                continue
            await self._write(_question(said.content, asks=False))
            try:
                async with patience(_TELL_SECONDS):
                    await self._until_result()
            except TimeoutError:
                raise await self._fail("it does not take the earlier turns") from None
        self.half_told = False

    async def _until_result(self) -> None:
        while (message := await self.process.messages.get()) is not None:
            if message.get("type") == "result":
                return
        raise await self._fail("it has ended")

    async def turn(self, question: Sequence[Object], job: Job) -> AsyncIterator[Object]:
        """What it says, to its result. Raises AgentFailed when it ends before."""
        self.job, self.state, self.stopped = job, "busy", ""
        self.turns += 1
        self._drop_old()
        await self._write(_question(list(question), asks=True))
        while (message := await self.process.messages.get()) is not None:
            self.used = self._clock.monotonic()
            if message.get("type") == "result":
                self.state, self.job = "idle", Job()
                yield message
                return
            yield message
        raise await self._fail("it ended in the middle of its turn")

    def _drop_old(self) -> None:
        """What it said while nobody listened."""
        while not self.process.messages.empty():
            if self.process.messages.get_nowait() is None:
                self.process.messages.put_nowait(None)
                return

    async def interrupt(self, seconds: float) -> None:
        """End the turn that runs; the conversation can go on. When it does not end in time, the process is ended."""
        if self.state != "busy":
            return
        self.state = "interrupting"
        try:
            async with asyncio.timeout(seconds):
                await self._client.interrupt()
                await self._until_result()
        except (TimeoutError, OSError, ClaudeSDKError, AgentFailed) as error:
            log.warning("an agent did not take the interrupt (%s): it is ended", str(error) or "in time")
            await self.close()
            return
        except asyncio.CancelledError:
            await asyncio.shield(self.close())
            raise
        self.state, self.job = "idle", Job()

    async def ask_to_stop(self) -> None:
        """Have the turn that runs end soon; whoever reads it sees its end."""
        self.stopped = "The turn was interrupted by the user at the proxy."
        with contextlib.suppress(OSError, ClaudeSDKError):
            await self._client.interrupt()

    async def is_well(self) -> bool:
        """Whether an idle one still answers."""
        if not self.process.alive:
            return False
        try:
            async with patience(_PING_SECONDS):
                await self._client.get_mcp_status()
        except (TimeoutError, OSError, ClaudeSDKError):
            return False
        return True

    async def close(self) -> None:
        """Bounded in time, whatever it does. Its session, if it has one, can be taken up again."""
        self.state = "dead"
        with contextlib.suppress(Exception):  # whatever is wrong with it, it is over
            await self._client.disconnect()
        await self.process.close()

    async def _write(self, message: Object) -> None:
        async def once() -> AsyncIterator[Object]:
            yield message

        try:
            await self._client.query(once())
        except (OSError, ClaudeSDKError) as error:
            raise await self._fail(str(error)) from error

    async def _may_run(
        self, tool: str, given: dict[str, Any], context: ToolPermissionContext
    ) -> PermissionResultAllow | PermissionResultDeny:
        job = self.job
        entry = await self._ask(
            PermissionRequest(
                tool,
                given,
                "sdk",
                client=job.client,
                session=job.session,
                cwd=self.options.cwd,
                model=job.model,
                reason=context.decision_reason or context.description or "",
                tool_use=context.tool_use_id or "",
                suggestions=[update.to_dict() for update in context.suggestions],
                exchange=job.exchange,
                agent=context.agent_id or "",
                asker=self.process.identity,
            )
        )
        decision = entry.decision
        if decision is None or not decision.allowed:
            interrupt = decision is not None and decision.interrupt
            if interrupt:
                self.stopped = f"The user at the proxy has denied {tool} and ended the turn."
            return PermissionResultDeny(message=denial_of(entry), interrupt=interrupt)
        edited = decision.input if isinstance(decision.input, dict) else given
        updates = [PermissionUpdate.from_dict(update) for update in decision.updates]
        return PermissionResultAllow(updated_input=edited, updated_permissions=updates or None)


def _question(content: str | list[Any], *, asks: bool) -> Object:
    message = {"role": "user", "content": content}
    return {"type": "user", "message": message, "parent_tool_use_id": None, **({} if asks else {"shouldQuery": False})}


def _answer(said: Said, model: str) -> Object:
    """Each has an id of its own: messages with the same one are taken for one message."""
    content = said.content if isinstance(said.content, list) else [{"type": "text", "text": said.content}]
    name = uuid.uuid4().hex
    usage = {"input_tokens": 0, "output_tokens": 0}
    message: Object = {"id": f"msg_{name}", "type": "message", "role": "assistant", "model": model or "claude"}
    message |= {"content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, "uuid": str(uuid.uuid4())}
