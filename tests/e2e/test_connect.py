"""`connect`, `ask` and `hook` as programs; and Claude Code in a terminal of its own, answered from here."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Proxy, StartProxy, until
from tests.e2e.clients import find
from tests.e2e.test_approvals import result_of, wanting
from tests.fakes.upstream import ScriptedUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROGRAM = Path(sys.executable).with_name("ccproxy-tui")


@pytest.fixture
async def proxy(start_proxy: StartProxy) -> Proxy:
    return await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait")


async def run(*arguments: str, given: str = "", **environ: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments,
        env={**os.environ, **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(given.encode()), 30)
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize(
    ("tool", "name", "own"),
    [
        ("claude-code", ".claude/settings.json", '{"model":   "opus"}'),
        ("codex", ".codex/config.toml", '# mine\nmodel = "x"\n'),
        ("opencode", ".config/opencode/opencode.json", '{"theme": 1 }\n'),
    ],
)
async def test_undoing_gives_back_the_very_bytes(tool: str, name: str, own: str) -> None:
    path = Path.home() / name
    path.parent.mkdir(parents=True)
    path.write_text(own)
    status, out = await run("connect", tool, "--dry-run")
    assert (status, "+" in out, path.read_text()) == (0, True, own)
    assert (await run("connect", tool))[0] == 0
    assert "http://127.0.0.1:8000/" in path.read_text()
    assert (await run("connect", tool))[1] == "Nothing to change.\n"
    assert (await run("connect", tool, SERVER__PORT="8001"))[0] == 0
    assert (await run("connect", tool, "--undo"))[0] == 0
    assert path.read_text() == own
    path.unlink()
    await run("connect", tool)
    await run("connect", tool, "--undo")
    assert not path.exists()
    path.write_text("{" if name.endswith("json") else "= 1")
    status, out = await run("connect", tool)
    assert (status, "was not changed" in out) == (1, True)
    path.write_bytes(b"\xff\xfe")
    status, out = await run("connect", tool)
    assert (status, "can't be read as text" in out, "Traceback" in out) == (1, True, False)


async def test_the_address_is_that_of_the_proxy_that_runs(start_proxy: StartProxy) -> None:
    path = Path.home() / ".claude" / "settings.json"
    proxy = await start_proxy()
    status, out = await run("connect", "claude-code")
    assert (status, f"Your proxy runs on port {proxy.hub.port}" in out) == (0, True)
    assert json.loads(path.read_text())["env"]["ANTHROPIC_BASE_URL"] == f"{proxy.url}/api"
    await run("connect", "claude-code", SERVER__PORT="8001")
    assert "127.0.0.1:8001/api" in path.read_text(), "the user has named one"
    await start_proxy()
    status, out = await run("connect", "claude-code")
    assert (status, "Several proxies run" in out) == (1, True)
    assert (await run("connect", "claude-code", "--undo"))[0] == 0


async def test_the_difference_shows_no_secret() -> None:
    path = Path.home() / ".claude" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"env": {"MY_API_KEY": "swordfish"}}')
    _, out = await run("connect", "claude-code", "--dry-run")
    assert "MY_API_KEY" in out
    assert "swordfish" not in out


async def test_what_was_changed_since_stays() -> None:
    path = Path.home() / ".claude" / "settings.json"
    await run("connect", "claude-code")
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "model": "sonnet"}))
    await run("connect", "claude-code", "--undo")
    assert json.loads(path.read_text()) == {"model": "sonnet"}


async def test_a_script_asks_and_goes_by_the_answer(proxy: Proxy) -> None:
    control = proxy.control()
    for allowed, status in ((True, 0), (False, 1)):
        asking = asyncio.create_task(run("ask", "deploy to production?", "--input", '{"version": "1.2"}'))
        await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
        [entry] = proxy.hub.broker.pending
        assert (entry.request.tool, entry.request.input) == ("deploy to production?", {"version": "1.2"})
        assert entry.request.client == "ccproxy-tui"
        await control.answer_permission(entry.id, allowed=allowed, message="" if allowed else "not on a Friday")
        code, out = await asking
        assert (code, "not on a Friday" in out) == (status, not allowed)
    asking = asyncio.create_task(run("ask", "deploy to production?", "--input", '{"version": "1.2"}'))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    await control.answer_permission(proxy.hub.broker.pending[0].id, allowed=True, edited={"version": "1.3"})
    code, out = await asking
    assert (code, json.loads(out)) == (5, {"version": "1.3"})  # 0 would let the script go on with what it has
    await control.close()
    assert (await run("ask", "x", "--input", "{"))[0] == 2


async def test_a_script_asks_the_proxy_that_it_names(proxy: Proxy, start_proxy: StartProxy) -> None:
    other = await start_proxy(PERMISSIONS__WITHOUT_FRONT_END="wait")
    for asked in (proxy, other):
        asking = asyncio.create_task(run("ask", "deploy?", "--port", str(asked.hub.port)))
        await until(lambda asked=asked: len(asked.hub.broker.pending) == 1, seconds=20)
        control = asked.control()
        await control.answer_permission(asked.hub.broker.pending[0].id, allowed=True)
        await control.close()
        assert (await asking)[0] == 0
    unused = next(port for port in range(1, 9) if port not in (proxy.hub.port, other.hub.port))
    status, out = await run("ask", "deploy?", "--port", str(unused))
    assert (status, str(unused) in out) == (4, True)


async def test_without_a_proxy_a_question_is_a_no_and_a_hook_has_no_opinion() -> None:
    assert (await run("ask", "x"))[0] == 4
    assert await run("hook", "codex", given="{}") == (0, "")


async def test_a_command_hook_hands_the_question_over(proxy: Proxy) -> None:
    body = {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "ls"}}
    asking = asyncio.create_task(run("hook", "codex", given=json.dumps(body)))
    await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=20)
    control = proxy.control()
    await control.answer_permission(proxy.hub.broker.pending[0].id, allowed=False, message="no")
    await control.close()
    code, out = await asking
    decision = {"behavior": "deny", "message": "no"}
    assert (code, json.loads(out)["hookSpecificOutput"]["decision"]) == (0, decision)


class Terminal:
    """Claude Code, interactive, in a pseudo-terminal."""

    def __init__(self, proxy: Proxy) -> None:
        home = Path.home()
        state = {
            "hasCompletedOnboarding": True,
            "bypassPermissionsModeAccepted": True,
            "theme": "dark",
            "customApiKeyResponses": {"approved": ["any-word-that-is-long-enough"[-20:]]},
            "projects": {str(home): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}},
        }
        (home / ".claude.json").write_text(json.dumps(state))
        environ = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],  # its hook finds the proxy's socket there
            "TERM": "xterm-256color",
            "ANTHROPIC_API_KEY": "any-word-that-is-long-enough",
            "ANTHROPIC_BASE_URL": f"{proxy.url}/api",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        }
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [find("claude"), "--permission-mode", "default", "Touch it."],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=home,
            start_new_session=True,
        )
        os.close(slave)
        self.out = b""
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            self.out += os.read(self._master, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


@pytest.mark.parametrize(
    ("answer", "ran", "said"),
    [
        ({"allowed": True}, "asked.txt", ""),
        ({"allowed": True, "edited": {"command": "touch edited.txt"}}, "edited.txt", ""),
        ({"allowed": False, "message": "Use the other tool."}, "", "Use the other tool."),
    ],
)
async def test_claude_code_in_another_terminal_is_answered_from_here(
    proxy: Proxy, upstream: ScriptedUpstream, answer: dict[str, Any], ran: str, said: str
) -> None:
    upstream.default = wanting("touch asked.txt", upstream)
    await run("connect", "claude-code", SERVER__PORT=str(proxy.hub.port))
    terminal = Terminal(proxy)
    try:
        await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=60)
        [entry] = proxy.hub.broker.pending
        assert (entry.request.client, entry.request.input["command"]) == ("claude-code", "touch asked.txt")
        assert entry.request.cwd == str(Path.home())
        control = proxy.control()
        await control.answer_permission(entry.id, **answer)
        await control.close()
        await until(lambda: any(b"tool_result" in seen.body for seen in upstream.seen), seconds=30)
        assert {path.name for path in Path.home().glob("*.txt")} == ({ran} if ran else set())
        assert said in str(result_of(upstream)["content"])
    finally:
        await terminal.end()


async def test_claude_code_keeps_the_rule_that_it_has_offered(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = wanting("npm install left-pad --dry-run --offline", upstream)
    await run("connect", "claude-code", SERVER__PORT=str(proxy.hub.port))
    terminal = Terminal(proxy)
    try:
        await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=60)
        [entry] = proxy.hub.broker.pending
        control = proxy.control()
        assert "allow Bash(npm install *) in this project" in (await control.propose_rules(entry.id)).offer
        await control.add_rules(entry.id, [], action="allow", scope="asker", hours=None)
        await control.close()
        kept = Path.home() / ".claude" / "settings.local.json"
        await until(lambda: kept.exists() and "Bash(npm install *)" in kept.read_text(), seconds=30)
    finally:
        await terminal.end()


async def test_an_answer_in_the_other_terminal_clears_the_card(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.default = wanting("touch asked.txt", upstream)
    await run("connect", "claude-code", SERVER__PORT=str(proxy.hub.port))
    terminal = Terminal(proxy)
    try:
        await until(lambda: len(proxy.hub.broker.pending) == 1, seconds=60)
        [entry] = proxy.hub.broker.pending
        await until(lambda: b"Yes" in terminal.out, seconds=30)
        async with asyncio.timeout(30):
            while entry.status == "pending":  # its dialog takes no key in its first moment
                terminal.type("\r")
                await asyncio.sleep(0.1)
        assert entry.status == "cancelled"
        assert proxy.hub.broker.pending == []
    finally:
        await terminal.end()
