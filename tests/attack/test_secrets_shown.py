"""Secrets stay off every surface: streamed text, settings, records, logs, and the environment of agents."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import BodyPart, Watch
from ccproxy_tui.core.text import sse
from tests.attack.box import Served, run
from tests.attack.conftest import StartServe
from tests.conftest import write_claude_login
from tests.core.text.test_redact import SHAPED
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, Wait, anthropic_stream, json_reply, sse_reply

pytestmark = pytest.mark.attack
KEY = "sk-ant-api03-" + "SECRET0123456789abcdefSECRET"
OPAQUE = "opaque/own+token=0123456789"
PARTS: tuple[BodyPart, ...] = ("request", "upstream_request", "upstream_response", "response")
CANARY = "CANARY0123456789abcdef"
MESSAGE = {"model": "claude-x", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def delta(text: str) -> bytes:
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return sse.encode(msgspec.json.encode(event), "content_block_delta")


async def everything_of(control: ControlClient, exchange: str) -> list[str]:
    """The details and bodies of an exchange, as the inspector gets them."""
    bodies = [await control.body(exchange, part) for part in PARTS]
    return [repr(await control.detail(exchange)), *(body.decode("utf-8", "replace") for body in bodies)]


async def watch(served: Served, until: str) -> tuple[list[str], str]:
    """What a front end is sent of the only exchange: each piece of its text, and everything else."""
    control = ControlClient(socket=str(served.socket))
    pieces: list[str] = []
    rest: list[str] = []
    try:
        async with asyncio.timeout(30):
            texts: list[str] = []
            while True:
                async for frame in control.frames(Watch(rows=True, logs=True, texts=texts, hz=30)):
                    rest.append(repr([frame.rows, frame.logs]))
                    pieces += [segment.text for text in frame.texts for segment in text.segments]
                    if not texts and frame.rows:
                        texts = [frame.rows[0].id]
                        break
                    for row in frame.rows:
                        rest += await everything_of(control, row.id)
                    if until in "".join(pieces):
                        return pieces, "\n".join(rest)
    finally:
        await control.close()


async def ask(served: Served, path: str = "/api/v1/messages", body: Any = MESSAGE, **headers: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    data = json.dumps(body).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\nconnection: close\r\n"
        "content-type: application/json\r\n"
        f"{lines}content-length: {len(data)}\r\n\r\n".encode()
        + data
    )
    await reader.read()
    writer.close()


@pytest.fixture
def served(serve: StartServe, upstream: ScriptedUpstream) -> Served:
    write_claude_login()
    return serve(
        PROVIDERS__CLAUDE_API__BASE_URL=upstream.url,
        PROVIDERS__COMPATIBLE__OWN__BASE_URL=f"{upstream.url}/own",
        PROVIDERS__COMPATIBLE__OWN__API_KEY=OPAQUE,
        PROVIDERS__COMPATIBLE__OWN__FORMAT="anthropic_messages",
        SERVER__NETWORK_CALLS="false",
    )


@pytest.mark.parametrize(("secret", "path"), [(KEY, "/api/v1/messages"), (OPAQUE, "/own/v1/messages")])
async def test_read_a_key_that_is_streamed_in_pieces(
    served: Served, upstream: ScriptedUpstream, secret: str, path: str
) -> None:
    whole = anthropic_stream("x")
    text = f"Your key is {secret} indeed. The end."
    steps: list[Any] = [*whole[:2]]
    for at in range(0, len(text), 4):
        steps += [delta(text[at : at + 4]), Wait(0.05)]
    upstream.default = lambda _: sse_reply(*steps, *whole[4:])
    asking = asyncio.create_task(ask(served, path))
    pieces, rest = await watch(served, "The end.")
    await asking
    assert "".join(pieces).replace("[redacted]", "<masked>") == "Your key is <masked> indeed. The end."
    assert secret[13:] not in rest
    told = [line.split('"text":"')[1].split('"')[0] for line in rest.splitlines() if '"text":"' in line]
    assert not [piece for piece in told if len(piece) == 4 and piece in secret[8:]]


async def test_read_secrets_of_a_query_and_of_bodies(served: Served, upstream: ScriptedUpstream) -> None:
    def answer(seen: Seen) -> Reply:
        return json_reply({"echo": seen.target, "keys": SHAPED, "url": f"https://me:{CANARY}@h.example/"})

    upstream.default = answer
    query = f"key={CANARY}1&access_token={CANARY}2&beta=true&code={CANARY}3&X-Amz-Signature={CANARY}4"
    await ask(
        served, f"/api/v1/messages?{query}", {**MESSAGE, "stream": False, "system": f"postgres://u:{CANARY}@h/db"}
    )
    await ask(served, f"/api/v1/nothing?{query}", {}, user_agent=f"x/{SHAPED[0]}")
    control = ControlClient(socket=str(served.socket))
    shown: list[str] = []
    async for frame in control.frames(Watch(rows=True, logs=True)):
        shown.append(repr(frame))
        for row in frame.rows:
            shown += await everything_of(control, row.id)
        break
    await control.close()
    text = "\n".join([*shown, served.printed])
    assert "beta=true" in text
    assert CANARY not in text
    assert not [secret for secret in SHAPED if secret in text]


def test_read_secrets_of_the_settings(serve: StartServe, folder: Path) -> None:
    config = Path.home() / ".config" / "ccproxy" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"""
[http]
proxy = "http://user:{CANARY}@127.0.0.1:9"
[claude.code_options.env]
ANYTHING = "{CANARY}"
[claude.code_options.mcp_servers.tool]
command = "npx"
args = ["--api-key", "{CANARY}"]
env = {{ X = "{CANARY}" }}
[claude.code_options.mcp_servers.far]
url = "https://u:{CANARY}@mcp.example/?token={CANARY}"
headers = {{ Authorization = "Bearer {CANARY}" }}
[providers.claude_api]
base_url = "http://u:{CANARY}@127.0.0.1:9"
[providers.compatible.x]
base_url = "http://127.0.0.1:9"
api_key = "{CANARY}"
""")
    config.chmod(0o600)
    shown = [run("config", "show", *more, cwd=folder) for more in ((), ("--all",), ("--json",), ("--all", "--json"))]
    served = serve(LOGGING__LEVEL="TRACE")

    async def settings() -> str:
        control = ControlClient(socket=str(served.socket))
        found = await control.settings()
        await control.close()
        return repr(found)

    texts = [text for _, text in shown] + [asyncio.run(settings()), served.printed]
    assert [code for code, _ in shown] == [0, 0, 0, 0]
    assert "mcp.example" in texts[0]
    assert not [text for text in texts if CANARY in text]


def test_have_an_agent_inherit_a_key(tmp_path: Path) -> None:
    """What SDK mode would start an agent with, from an environment as it comes."""
    code = (
        "import os, json; from ccproxy_tui.providers.claude_sdk.cli import agent_environ;"
        "print(json.dumps(agent_environ(os.environ, {}, 'http://127.0.0.1:8000')))"
    )
    names = ["security__auth_token", "providers__claude_api__api_key", "Providers__Compatible__X__Api_Key"]
    names += [
        "plugins__codex__api_key",
        "CCPROXY_TOKEN",
        "ccproxy_token",
        "OPENAI_API_KEY",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
    ]
    environ = {**dict.fromkeys(names, CANARY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert CANARY not in made.values()
    assert made["HOME"] == str(tmp_path)
