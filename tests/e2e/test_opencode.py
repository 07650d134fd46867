"""The real opencode, connected: its questions are answered from here, beside its own dialog."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Proxy, StartProxy, until
from tests.e2e.clients import find
from tests.e2e.test_connect import run
from tests.fakes.streams import message_events
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, json_reply, sse_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    return await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait")


def wanting(command: str) -> Any:
    """A model that wants to run a command once, and then says that it is done."""

    def answer(seen: Seen) -> Reply:
        if seen.method == "GET":
            return json_reply({}, 404)
        if not seen.json.get("tools"):
            return sse_reply(*message_events({"type": "text", "text": "A title"}))
        if "tool_result" in seen.body.decode():
            return sse_reply(*message_events({"type": "text", "text": "Done."}))
        call = {"type": "tool_use", "id": "toolu_1", "name": "bash"}
        given = {"command": command, "description": "Touch it"}
        return sse_reply(*message_events({**call, "input": given}, stop="tool_use"))

    return answer


@pytest.fixture
async def opencode(proxy: Proxy, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Its server, as its own terminal uses it; connected by our command."""
    upstream.default = wanting("touch asked.txt")
    assert (await run("connect", "opencode", SERVER__PORT=str(proxy.hub.port)))[0] == 0
    path = Path.home() / ".config" / "opencode" / "opencode.json"
    settings = json.loads(path.read_text())
    settings |= {"model": "anthropic/claude-sonnet-4-5", "permission": {"bash": "ask"}, "autoupdate": False}
    path.write_text(json.dumps(settings))
    (Path.home() / ".npmrc").write_text(f"registry={upstream.url}/\n")  # it looks for its plugin package there
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        "HOME": str(Path.home()),
        "PATH": os.environ["PATH"],
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    process = await asyncio.create_subprocess_exec(
        find("opencode"),
        "serve",
        "--port",
        str(port),
        cwd=tmp_path,
        env=environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            async with asyncio.timeout(60):
                while not await answers(client):  # requests while it starts are lost
                    await asyncio.sleep(0.2)
            yield client
    finally:
        process.kill()
        await process.wait()


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/config", timeout=3)).is_success
    except httpx.TransportError:
        return False


async def start(client: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    session = (await client.post("/session", json={})).json()["id"]
    parts = {"parts": [{"type": "text", "text": "Touch it."}]}
    return asyncio.create_task(client.post(f"/session/{session}/message", json=parts))


@pytest.mark.parametrize("allowed", [True, False])
async def test_opencode_is_answered_from_here(
    proxy: Proxy, upstream: ScriptedUpstream, opencode: httpx.AsyncClient, tmp_path: Path, allowed: bool
) -> None:
    asking = await start(opencode)
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=60)
    [entry] = proxy.hub.broker.pending
    asked = entry.request
    assert (asked.source, asked.tool, asked.input["command"]) == ("opencode", "bash", "touch asked.txt")
    assert (asked.cwd, asked.session[:4]) == (str(tmp_path), "ses_")
    control = proxy.control()
    await control.answer_permission(entry.id, allowed=allowed, message="" if allowed else "Use the other tool.")
    await control.close()
    assert (await asking).status_code == 200
    assert (tmp_path / "asked.txt").exists() == allowed
    if not allowed:
        told = [seen for seen in upstream.seen if b"tool_result" in seen.body]
        assert not told or b"Use the other tool." in told[-1].body


async def test_an_answer_in_opencode_clears_the_card(proxy: Proxy, opencode: httpx.AsyncClient, tmp_path: Path) -> None:
    asking = await start(opencode)
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=60)
    [waiting] = (await opencode.get("/permission")).json()
    assert (await opencode.post(f"/permission/{waiting['id']}/reply", json={"reply": "once"})).json() is True
    await until(lambda: [one.status for one in proxy.hub.broker.ended] == ["cancelled"], seconds=20)
    assert (await asking).status_code == 200
    assert (tmp_path / "asked.txt").exists()
