"""One busy run of the real program; then everything that it printed, kept, answered and left on disk is searched."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import BodyPart, Watch
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.text.curl import curl_command
from tests.conftest import write_claude_login
from tests.fakes.streams import response_events, said
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Seen, anthropic_stream, json_reply, sse_reply

pytestmark = pytest.mark.timeout(60)
PROGRAM = Path(sys.executable).with_name("ccproxy-tui")

SECRETS = {
    "the Claude token": "sk-ant-oat01-canary-claude-0123456789",
    "its refresh token": "sk-ant-ort01-canary-refresh-0123456789",
    "a renewed token": "sk-ant-oat01-canary-renewed-0123456789",
    "a token of a pool": "sk-ant-oat01-canary-second-0123456789",
    "the Codex token": "canarycodexaccesstoken0123456789",
    "an API key": "canary-plain-api-key-0123456789",
    "what a client sent": "sk-ant-api03-canary-client-0123456789",
    "the proxy's own token": "canary-proxy-token-0123456789",
}
PARTS: tuple[BodyPart, ...] = ("upstream_request", "upstream_response")
BODY: dict[str, Any] = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def upstream_answer(seen: Seen) -> Reply:
    """A bit of everything: refusals that quote the token, renewals, streams, cuts."""
    token = seen.header("authorization").removeprefix("Bearer ")
    match seen.target:
        case "/token":
            return json_reply({"access_token": SECRETS["a renewed token"], "expires_in": 3600})
        case "/v1/messages" if token == SECRETS["the Claude token"]:
            return json_reply({"type": "error", "error": {"type": "x", "message": f"bad token {token}"}}, 401)
        case "/v1/messages" if b"cut" in seen.body:
            return sse_reply(*anthropic_stream("x")[:4], Cut)
        case "/v1/messages" if b"refuse" in seen.body:
            return json_reply({"type": "error", "error": {"type": "x", "message": f"no, {token}"}}, 400)
        case "/v1/messages":
            return sse_reply(*anthropic_stream(f"your token is {token}"))
        case "/codex/responses":
            return sse_reply(*response_events(said("x")))
        case "/keyed/chat/completions":
            key = SECRETS["an API key"]
            return json_reply({"error": {"message": f"Incorrect API key provided: {key}"}}, 401)
        case _:
            return json_reply({"error": f"unexpected {token}"}, 500)


async def test_no_secret_gets_out(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    write_claude_login(accessToken=SECRETS["the Claude token"], refreshToken=SECRETS["its refresh token"])
    second = Path.home() / ".credentials.json.second"
    second.write_text(json.dumps({"claudeAiOauth": {"accessToken": SECRETS["a token of a pool"]}}))
    codex = Path.home() / ".codex" / "auth.json"
    codex.parent.mkdir()
    codex.write_text(json.dumps({"tokens": {"access_token": SECRETS["the Codex token"], "refresh_token": "r"}}))
    upstream.default = upstream_answer
    environ = {
        **os.environ,
        "SERVER__PORT": "0",
        "SECURITY__AUTH_TOKEN": SECRETS["the proxy's own token"],
        "LOGGING__LEVEL": "TRACE",
        "LOGGING__FORMAT": "json",
        "LOGGING__FILE": str(tmp_path / "proxy.log"),
        "PROVIDERS__CLAUDE_API__BASE_URL": upstream.url,
        "PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": f"{upstream.url}/token",
        "PROVIDERS__CLAUDE_API__ACCOUNTS__SECOND": str(second),
        "PROVIDERS__CODEX__BASE_URL": f"{upstream.url}/codex",
        "PROVIDERS__COMPATIBLE__KEYED__BASE_URL": f"{upstream.url}/keyed",
        "PROVIDERS__COMPATIBLE__KEYED__API_KEY": SECRETS["an API key"],
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PROGRAM, "serve", env=environ, stdout=pipe, stderr=pipe)
    try:
        socket = await socket_of(process)
        given = await use(socket)
        control = ControlClient(socket=str(socket))
        given += await look(control)
        await control.shutdown(drain=False)
        await control.close()
        printed, said_ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    places = {"stdout": printed, "stderr": said_, "what the proxy gave out": given.encode()}
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.name.startswith((".credentials.json", "auth.json")):
            places[str(path)] = path.read_bytes()
    assert any(name.endswith("proxy.log") for name in places)
    found = [
        (what, where) for what, secret in SECRETS.items() for where, text in places.items() if secret.encode() in text
    ]
    assert found == []


async def socket_of(process: asyncio.subprocess.Process) -> Path:
    runtime = Paths.of_user().runtime
    while not (sockets := list(runtime.glob("*.sock"))):
        assert process.returncode is None
        await asyncio.sleep(0.02)
    return sockets[0]


async def use(socket: Path) -> str:
    """Requests that succeed, fail, break and are refused. Everything but the answers' own words."""
    port = socket.stem
    headers = {"content-type": "application/json", "x-api-key": SECRETS["the proxy's own token"]}
    texts: list[str] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
        await client.post("/api/v1/messages", json={**BODY, "stream": True})
        for body, path in [
            ({**BODY, "stream": True, "metadata": {"user_id": "cut"}}, "/api/v1/messages"),
            ({**BODY, "system": f"my key is {SECRETS['what a client sent']}"}, "/codex/v1/messages"),
            ({"model": "m", "messages": BODY["messages"]}, "/keyed/v1/chat/completions"),
            (BODY, "/copilot/v1/messages"),
            ({"model": "m"}, "/api/v1/chat/completions"),
        ]:
            try:
                answer = await client.post(path, json=body)
            except httpx.RemoteProtocolError:
                continue  # that one was cut
            if path != "/keyed/v1/chat/completions":  # an upstream's own words reach its client as they are
                texts.append(answer.text)
        paths = ("/health", "/api/status", "/codex/status", "/api/usage", "/copilot/usage")
        texts += [(await client.get(path)).text for path in paths]
        wrong = {"authorization": f"Bearer {SECRETS['what a client sent']}", "x-api-key": "no"}
        texts += [(await client.post("/api/v1/messages", json=BODY, headers=wrong)).text]
    return "\n".join(texts)


async def look(control: ControlClient) -> str:
    """What a person would see and copy: rows, texts, details, bodies, commands, accounts, settings, log lines."""
    texts: list[str] = []
    async for frame in control.frames(Watch(rows=True, logs=True)):
        texts.append(repr(frame))
        for row in frame.rows:
            detail = await control.detail(row.id)
            body = await control.body(row.id, "request")
            texts += [repr(detail), body.decode("utf-8", "replace")]
            for part in PARTS:
                texts.append((await control.body(row.id, part)).decode("utf-8", "replace"))
            shown = body.decode("utf-8", "replace")
            texts.append(curl_command("http://x", detail.request_headers, shown, needs_token=True, stream=False))
        break
    texts.append(repr(await control.accounts()))
    texts.append(repr(await control.settings()))
    return "\n".join(texts)
