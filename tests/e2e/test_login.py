"""Logins from the command line against scripted OAuth servers: by browser, by paste, by device code."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.conftest import FAR_FUTURE, write_claude_login
from tests.fakes.upstream import Reply, ScriptedUpstream, Seen, json_reply

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("login_ports")]

PROGRAM = Path(sys.executable).with_name("ccproxy-tui")


class Login:
    """A running `auth login`; `address` is the one that it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = ""

    @classmethod
    async def start(cls, upstream: ScriptedUpstream, *arguments: str, **variables: str) -> Login:
        url = upstream.url
        environ = variables | {
            "HOME": str(Path.home()),
            "PATH": os.environ["PATH"],
            "PROVIDERS__CLAUDE_API__OAUTH__TOKEN_URL": f"{url}/token",
            "PROVIDERS__CODEX__OAUTH__TOKEN_URL": f"{url}/token",
            "PROVIDERS__COPILOT__OAUTH__DEVICE_URL": f"{url}/device",
            "PROVIDERS__COPILOT__OAUTH__TOKEN_URL": f"{url}/token",
            "PROVIDERS__COPILOT__OAUTH__COPILOT_TOKEN_URL": f"{url}/copilot-token",
        }
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "auth", *arguments, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT
        )
        return cls(process)

    async def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.out:
            line = await asyncio.wait_for(self.process.stdout.readline(), 20)
            assert line, self.out
            self.out += line.decode()

    async def address(self) -> dict[str, str]:
        """The parameters of the printed address."""
        await self.read_until("paste the code")
        [address] = [line.strip() for line in self.out.splitlines() if line.strip().startswith("https://")]
        return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}

    async def paste(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def end(self) -> tuple[int, str]:
        out, _ = await asyncio.wait_for(self.process.communicate(), 20)
        self.out += out.decode()
        assert self.process.returncode is not None
        return self.process.returncode, self.out


def tokens(upstream: ScriptedUpstream, challenge: dict[str, str], **answer: Any) -> None:
    """A token endpoint that accepts one code with the verifier that belongs to the challenge."""

    def reply(seen: Seen) -> Reply:
        form = seen.header("content-type").startswith("application/x-www-form")
        asked = {k: v[0] for k, v in parse_qs(seen.body.decode()).items()} if form else seen.json
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        good = base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge["code_challenge"]
        if asked["code"] != "the-code" or not good or asked["redirect_uri"] != challenge["redirect_uri"]:
            return json_reply({"error": "invalid_grant"}, 400)
        return json_reply({"access_token": "fresh", "refresh_token": "refresh", "expires_in": 3600, **answer})

    upstream.default = reply


@pytest.mark.parametrize(
    "form", ["{code}#{state}", "{code}", "http://localhost:54545/callback?code={code}&state={state}"]
)
async def test_claude_by_paste_in_every_form(upstream: ScriptedUpstream, form: str) -> None:
    path = write_claude_login(accessToken="old", subscriptionType="max")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "other": "kept"}))
    login = await Login.start(upstream, "login", "--no-browser")
    asked = await login.address()
    tokens(upstream, asked)
    await login.paste(form.format(code="the-code", state=asked["state"]))
    status, out = await login.end()
    assert status == 0, out
    written = json.loads(path.read_text())
    assert written["other"] == "kept"
    assert written["claudeAiOauth"]["accessToken"] == "fresh"
    assert written["claudeAiOauth"]["subscriptionType"] == "max"
    assert "fresh" not in out
    assert path.stat().st_mode & 0o700 == 0o600


async def test_codex_by_the_browsers_redirect(upstream: ScriptedUpstream) -> None:
    claims = {"https://api.openai.com/auth": {"chatgpt_account_id": "acct-9"}, "exp": FAR_FUTURE // 1000}
    packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    login = await Login.start(upstream, "login", "codex", "--no-browser")
    asked = await login.address()
    tokens(upstream, asked, access_token=f"e30.{packed}.s", id_token=f"e30.{packed}.s")
    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.get("http://127.0.0.1:1455/elsewhere?<script>")).status_code == 404
        page = await browser.get(f"http://127.0.0.1:1455/auth/callback?code=the-code&state={asked['state']}")
    assert "go back to the terminal" in page.text
    status, out = await login.end()
    assert status == 0, out
    path = Path.home() / ".codex" / "auth.json"
    assert json.loads(path.read_text())["tokens"]["account_id"] == "acct-9"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_an_answer_of_another_login_is_refused_and_nothing_changes(upstream: ScriptedUpstream) -> None:
    path = write_claude_login()
    before = path.read_bytes()
    login = await Login.start(upstream, "login", "--no-browser")
    tokens(upstream, await login.address())
    await login.paste("the-code#some-other-state")
    status, out = await login.end()
    assert (status, "another login" in out) == (1, True)
    assert path.read_bytes() == before


async def test_a_code_that_is_not_accepted_says_so(upstream: ScriptedUpstream) -> None:
    login = await Login.start(upstream, "login", "--no-browser")
    tokens(upstream, await login.address())
    await login.paste("wrong-code")
    status, out = await login.end()
    assert (status, "not accepted (400 invalid_grant)" in out) == (1, True)
    assert not (Path.home() / ".claude").exists()


async def test_copilot_by_device_code(upstream: ScriptedUpstream) -> None:
    polls = 0

    def reply(seen: Seen) -> Reply:
        nonlocal polls
        match seen.target:
            case "/device":
                body = {"device_code": "d", "user_code": "AB-12", "verification_uri": "https://g", "interval": 0.05}
                return json_reply(body)
            case "/copilot-token":
                assert seen.header("authorization") == "token gho_1"
                return json_reply({"token": "tid", "expires_at": FAR_FUTURE // 1000})
            case _:
                polls += 1
                pending = {"error": "authorization_pending"}
                return json_reply(pending if polls < 3 else {"access_token": "gho_1", "token_type": "bearer"})

    upstream.default = reply
    login = await Login.start(upstream, "login", "copilot", "--no-browser")
    status, out = await login.end()
    assert status == 0, out
    assert "AB-12" in out
    assert "gho_1" not in out
    path = Path.home() / ".config" / "copilot" / "credentials.json"
    written = json.loads(path.read_text())
    assert (written["oauth_token"]["access_token"], written["copilot_token"]["token"]) == ("gho_1", "tid")


async def test_status_refresh_and_logout(upstream: ScriptedUpstream) -> None:
    nothing = await Login.start(upstream, "status", "--json")
    status, out = await nothing.end()
    assert (status, [one["view"]["state"] for one in json.loads(out)]) == (1, ["missing", "missing", "missing"])
    path = write_claude_login()
    upstream.default = lambda seen: json_reply({"access_token": "tok-9", "expires_in": 3600})
    assert (await (await Login.start(upstream, "refresh")).end())[0] == 0
    assert json.loads(path.read_text())["claudeAiOauth"]["accessToken"] == "tok-9"
    status, out = await (await Login.start(upstream, "status")).end()
    assert (status, "ok 59m" in out) == (0, True)
    assert "tok-9" not in out
    assert (await (await Login.start(upstream, "logout", "claude", "--yes")).end())[0] == 0
    assert json.loads(path.read_text()) == {}


async def test_what_a_file_or_a_server_says_can_not_steer_the_terminal(upstream: ScriptedUpstream) -> None:
    write_claude_login(subscriptionType="\x1b]0;gotcha\x07")
    status, out = await (await Login.start(upstream, "status")).end()
    assert (status, "\x1b" in out, "\\x1b]0;gotcha\\x07" in out) == (0, False, True)

    device = {"device_code": "d", "user_code": "\x1b[2J", "verification_uri": "file:///etc/passwd", "interval": 0.01}
    refused = {"error": "\x1b[31mno"}
    upstream.default = lambda seen: json_reply(device if seen.target == "/device" else refused)
    status, out = await (await Login.start(upstream, "login", "copilot", "--no-browser")).end()
    assert (status, "\x1b" in out) == (1, False)
    assert "Open https://github.com/login/device in a browser anywhere and type the code \\x1b[2J" in out
    assert "\\x1b[31mno" in out


async def test_an_account_of_a_pool_is_logged_in_and_out_by_its_name(upstream: ScriptedUpstream) -> None:
    path = Path.home() / "work.json"
    path.write_text('{"claudeAiOauth": {"broken')
    pool = {"PROVIDERS__CLAUDE_API__ACCOUNTS__WORK": str(path)}
    login = await Login.start(upstream, "login", "claude:work", "--no-browser", **pool)
    asked = await login.address()
    tokens(upstream, asked, expires_in=1e308)
    await login.paste(f"the-code#{asked['state']}")
    assert (await login.end())[0] == 0, login.out
    assert json.loads(path.read_text())["claudeAiOauth"]["accessToken"] == "fresh"
    kept = path.with_name("work.json.broken")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ('{"claudeAiOauth": {"broken', 0o600)
    assert (await (await Login.start(upstream, "logout", "claude:work", "--yes", **pool)).end())[0] == 0
    assert json.loads(path.read_text()) == {}

    status, out = await (await Login.start(upstream, "login", "claude:home", **pool)).end()
    assert (status, "claude:work" in out) == (2, True)


async def test_a_login_is_imported_and_validated(upstream: ScriptedUpstream) -> None:
    def reply(seen: Seen) -> Reply:
        good = seen.header("authorization") == "Bearer imported"
        return json_reply({"five_hour": {"utilization": 41.0, "resets_at": None}} if good else {}, 200 if good else 401)

    upstream.default = reply
    path = write_claude_login(refreshToken="")
    path.write_text(json.dumps({**json.loads(path.read_text()), "other": "kept"}))
    urls = {"PROVIDERS__CLAUDE_API__BASE_URL": upstream.url}
    status, out = await (await Login.start(upstream, "validate", "claude", **urls)).end()
    assert (status, "refused" in out) == (1, True)

    other = Path.home() / "exported.json"
    other.write_text(json.dumps({"claudeAiOauth": {"accessToken": "imported", "expiresAt": FAR_FUTURE}, "mcp": 1}))
    status, out = await (await Login.start(upstream, "import", "claude", str(other))).end()
    assert (status, str(path) in out) == (0, True)
    written = json.loads(path.read_text())
    assert (written["claudeAiOauth"]["accessToken"], written["other"], "mcp" in written) == ("imported", "kept", False)
    status, out = await (await Login.start(upstream, "validate", "--json", **urls)).end()
    assert status == 0
    assert json.loads(out) == [{"account": "claude", "ok": True, "said": "the login works; used: 5h 41%"}]

    for content, word in (("{", "not valid JSON"), ("", "is empty"), ('{"tokens": 1}', "claudeAiOauth")):
        other.write_text(content)
        status, out = await (await Login.start(upstream, "import", "claude", str(other))).end()
        assert (status, word in out) == (1, True), out
    status, out = await (await Login.start(upstream, "import", "claude", "nowhere.json")).end()
    assert (status, "nowhere.json" in out) == (1, True)
    assert json.loads(path.read_text()) == written


async def test_a_qr_code_is_printed_when_it_is_asked_for(upstream: ScriptedUpstream) -> None:
    login = await Login.start(upstream, "login", "--no-browser", "--qr")
    await login.read_until("██████")
    await login.address()
    await login.paste("wrong#state")
    assert (await login.end())[0] == 1
