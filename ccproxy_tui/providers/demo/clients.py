"""Scripted clients for the demo: real requests over a real socket, with the manners of the real tools."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from ccproxy_tui.core.server.hub import Hub

log = logging.getLogger(__name__)

LONGEST_PAUSE = 4.0
_LONGEST_WAIT = 900.0  # seconds that a permission may be waited for


@dataclass(frozen=True, slots=True)
class Persona:
    """One tool: how it names itself, what it asks for, whether it streams."""

    agent: str
    model: str
    prompts: tuple[str, ...]
    stream: bool = True
    tools: bool = False
    asks: bool = False
    responses: bool = False  # speaks OpenAI's Responses, not Anthropic's Messages


# What the coding agent asks to do, in turn, as Claude Code's hook says it. Nothing of it is ever run.
_CWD = "/home/demo/streams"
_ASKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Bash", {"command": "pytest -q tests/test_decoder.py 2>&1 | tail -20", "description": "Demo: nothing is run"}),
    (
        "Write",
        {
            "file_path": f"{_CWD}/src/decoder.py",
            "content": "class Decoder:\n    def feed(self, data: bytes) -> list[bytes]:\n"
            "        *whole, self._rest = (self._rest + data).split(b'\\n\\n')  # an empty line ends each\n"
            "        return whole\n",
        },
    ),
    (
        "Bash",
        {
            "command": "rm -rf build/ && pip install -r requirements.txt | tee ../pip.log",
            "description": "Demo: nothing is run",
        },
    ),
    (
        "WebFetch",
        {"url": "https://html.spec.whatwg.org/multipage/server-sent-events.html", "prompt": "Why?"},
    ),
)
_ALWAYS = {"type": "addRules", "behavior": "allow", "destination": "localSettings"}

PERSONAS = (
    Persona(
        "claude-cli/2.1.197 (external, cli)",
        "claude-sonnet-4-5-20250929",
        (
            "Why does the stream test fail?\ndemo: think, tool=Bash",
            "Go on.\ndemo: think, tokens=700",
            "Explain the fix.",
        ),
        tools=True,
        asks=True,
    ),
    Persona("aider/0.86.2", "claude-opus-4-1-20250805", ("Refactor the decoder.\ndemo: tokens=900", "And the tests?")),
    Persona(
        "opencode/1.18.33",
        "claude-haiku-4-5-20251001",
        ("Write the change log.", "demo: error=429\nAgain.", "Shorter.\ndemo: tokens=80"),
    ),
    Persona("Anthropic/Python 2.12.0", "claude-sonnet-4-5-20250929", ("Summarise this.\ndemo: stall=25, tokens=300",)),
    Persona("codex_exec/0.169.0", "gpt-5.4", ("Plan it.\ndemo: think, tokens=1200", "demo: overload"), responses=True),
    Persona("curl/8.5.0", "claude-haiku-4-5-20251001", ("One line, please.\ndemo: tokens=12",), stream=False),
)
_TOOLS = [
    {
        "name": "Bash",
        "description": "Run a command.",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    }
]
_FILLER = "The repository holds a proxy that relays event streams. " * 160


def start_clients(hub: Hub) -> None:
    """Let every persona work against the proxy until it stops."""
    rng = random.Random(hub.settings.providers.demo.seed)
    for persona in PERSONAS:
        hub.tasks.start(_work(persona, hub, random.Random(rng.random())), name=f"demo client {persona.agent}")


async def _work(persona: Persona, hub: Hub, rng: random.Random) -> None:
    token = hub.settings.security.token or hub.client_token
    headers = {"user-agent": persona.agent, "anthropic-version": "2023-06-01", "x-api-key": token}
    base = f"http://127.0.0.1:{hub.port}"
    session, asks = str(uuid.UUID(int=rng.getrandbits(128))), itertools.cycle(_ASKS)
    headers["x-claude-code-session-id"] = session
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_LONGEST_WAIT, trust_env=False) as client:
        while not hub.draining:
            await asyncio.sleep(rng.uniform(0.1, LONGEST_PAUSE))
            for prompt in persona.prompts:
                await _prompt(client, persona, prompt)
                if persona.asks and hub.settings.providers.demo.asks:
                    await _ask(client, session, *next(asks))
                await asyncio.sleep(rng.uniform(0.3, LONGEST_PAUSE))


async def _ask(client: httpx.AsyncClient, session: str, tool: str, given: dict[str, Any]) -> None:
    """Wait for a permission as Claude Code's hook does, and go on whatever the answer is."""
    body = {
        "hook_event_name": "PermissionRequest",
        "session_id": session,
        "cwd": _CWD,
        "tool_name": tool,
        "tool_input": given,
        "permission_suggestions": [{**_ALWAYS, "rules": [{"toolName": tool}]}] if tool == "Write" else [],
    }
    try:
        await client.post("/hooks/claude-code", json=body)
    except httpx.HTTPError as error:
        log.debug("demo client: %s", error)


async def _prompt(client: httpx.AsyncClient, persona: Persona, prompt: str) -> None:
    body: dict[str, Any] = {"model": persona.model, "stream": persona.stream}
    if persona.responses:
        path = "/demo/v1/responses"
        body |= {"instructions": _FILLER, "store": False, "reasoning": {"effort": "medium"}}
        body["input"] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}]
    else:
        path = "/demo/v1/messages"
        body |= {"max_tokens": 2000, "system": _FILLER, "messages": [{"role": "user", "content": prompt}]}
    if persona.tools:
        body["tools"] = _TOOLS
    try:
        async with client.stream("POST", path, json=body) as response:
            async for _ in response.aiter_raw():
                pass
    except httpx.HTTPError as error:
        log.debug("demo client: %s", error)
