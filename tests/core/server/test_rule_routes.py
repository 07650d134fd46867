"""Rules over real sockets: made of questions, tried before anybody is asked, listed, taken out, brought back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from ccproxy_tui.core.control.client import ControlClient
from ccproxy_tui.core.control.frames import Frame, Watch
from ccproxy_tui.core.control.protocol import ControlError
from tests.conftest import Proxy, StartProxy, until
from tests.core.server.test_permissions import CHECK, HOOK, asked, bash, control, proxy

__all__ = ["control", "proxy"]


async def test_rules_of_the_settings_answer_before_anybody_is_asked(start_proxy: StartProxy) -> None:
    rules = [
        {"rule": "Bash(ls:*)"},
        {"rule": "Bash(git push:*)", "action": "deny"},
        {"rule": "Bash(make:*)", "project": "/repo"},
    ]
    proxy = await start_proxy(PERMISSIONS__RULES=json.dumps(rules))
    answers = {
        command: (await proxy.client.post("/mcp/permission/check", json=bash(command))).json()
        for command in ("ls -la", "git push", "make test", "ls; rm x", "ls $(id)")
    }
    assert [answer["behavior"] for answer in answers.values()] == ["allow", "deny", "allow", "deny", "deny"]
    assert answers["git push"]["message"] == "Denied by the rule Bash(git push:*)"
    assert answers["ls; rm x"]["message"] == "No front end is connected to allow it"
    assert [entry.decision.by for entry in proxy.hub.broker.ended[-1:] if entry.decision] == ["rule Bash(ls:*)"]
    assert proxy.hub.rules.hits["Bash(ls:*)"].times == 1
    elsewhere = await proxy.client.post("/mcp/permission/check", json=bash("make test", cwd="/other"))
    assert elsewhere.json()["behavior"] == "deny"
    hook = {**HOOK, "tool_input": {"command": "ls"}}
    answer = (await proxy.client.post("/hooks/claude-code", json=hook)).json()
    assert answer["hookSpecificOutput"]["decision"] == {"behavior": "allow"}


async def test_a_rule_is_made_of_a_question(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff --stat")))
    name = await asked(proxy)
    proposal = await control.propose_rules(name)
    assert proposal.rules == ["Bash(git diff:*)"]
    with pytest.raises(ControlError, match="never allowed"):
        await control.add_rules(name, ["Bash(rm:*)"], action="allow", scope="user", hours=None)
    await control.add_rules(name, proposal.rules, action="allow", scope="session", hours=None)
    assert (await asking).json()["behavior"] == "allow"
    again = await proxy.client.post("/mcp/permission/check", json=bash("git diff README.md"))
    assert again.json()["behavior"] == "allow"
    other = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s2")))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).fits == 2
    await control.add_rules(name, ["Bash(git diff:*)"], action="allow", scope="project", hours=None)
    assert (await other).json()["behavior"] == "allow"
    saved = proxy.hub.loaded.write_to.read_text()
    assert ("Bash(git diff:*)" in saved, "/repo" in saved) == (True, True)
    third = await proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s3"))
    assert third.json()["behavior"] == "allow"


async def test_a_rule_does_not_answer_the_high_risk_request_that_it_is_made_from(
    proxy: Proxy, control: ControlClient
) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git reset --hard")))
    name = await asked(proxy)
    proposal = await control.propose_rules(name)
    assert (proposal.rules, proposal.high, proposal.fits) == (["Bash(git reset --hard)"], True, 0)
    await control.add_rules(name, proposal.rules, action="allow", scope="session", hours=None)
    assert [entry.id for entry in proxy.hub.broker.pending] == [name]
    await control.add_rules(name, ["Bash(git reset:*)"], action="deny", scope="session", hours=None)
    assert (await asking).json()["behavior"] == "deny"


SUGGESTIONS = [
    {
        "type": "addRules",
        "rules": [{"toolName": "Bash", "ruleContent": "npm install *"}, {"toolName": "WebSearch"}],
        "behavior": "allow",
        "destination": "localSettings",
    },
    {"type": "addDirectories", "directories": ["/srv"], "destination": "session"},
    {"type": "setMode", "mode": "acceptEdits", "destination": "session"},
]


async def test_what_the_tool_itself_offers_is_taken(proxy: Proxy, control: ControlClient) -> None:
    hook = {**HOOK, "permission_suggestions": SUGGESTIONS}
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=hook))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).offer == (
        "allow Bash(npm install *), WebSearch in this project (your settings of it); "
        "work in /srv too in this session; permission mode acceptEdits in this session"
    )
    await control.add_rules(name, [], action="allow", scope="asker", hours=None)
    decision = (await asking).json()["hookSpecificOutput"]["decision"]
    assert decision == {"behavior": "allow", "updatedPermissions": SUGGESTIONS}
    assert proxy.hub.rules.temporary() == []


@pytest.mark.parametrize(
    "suggestions",
    [
        [],
        "all",
        [*SUGGESTIONS, {"type": "what", "destination": "session"}],
        [{"type": "setMode", "mode": "acceptEdits"}],
        [{"type": "setMode", "mode": "acceptEdits", "destination": "elsewhere"}],
        [{"type": "addRules", "rules": [1], "behavior": "allow", "destination": "session"}],
        [{"type": "addRules", "rules": [{"toolName": 1}], "behavior": "allow", "destination": "session"}],
        [None],
        [{"type": "setMode", "mode": "bypassPermissions", "destination": "session"}],
        [{**SUGGESTIONS[0], "rules": [{"toolName": "Bash"}]}],
        [{**SUGGESTIONS[1], "directories": ["/srv", [["/"]]]}],
        [{**SUGGESTIONS[0], "rules": [{"toolName": "Bash", "ruleContent": "rm -rf build/"}]}],
        [{**SUGGESTIONS[0], "rules": [{"toolName": "WebFetch", "ruleContent": f"domain:a{'a' * 5000} rm"}]}],
        SUGGESTIONS * 50,
    ],
)
async def test_an_offer_that_can_not_be_told_in_words_is_none(
    proxy: Proxy, control: ControlClient, suggestions: Any
) -> None:
    hook = {**HOOK, "permission_suggestions": suggestions}
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=hook))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).offer == ""
    with pytest.raises(ControlError, match="suggests no rules"):
        await control.add_rules(name, [], action="allow", scope="asker", hours=None)
    await control.answer_permission(name, allowed=True)
    assert (await asking).json()["hookSpecificOutput"]["decision"] == {"behavior": "allow"}


async def test_nothing_is_offered_for_a_high_risk_request(proxy: Proxy, control: ControlClient) -> None:
    risky = {**HOOK, "tool_input": {"command": "sudo npm install"}, "permission_suggestions": SUGGESTIONS}
    asking = asyncio.create_task(proxy.client.post("/hooks/claude-code", json=risky))
    name = await asked(proxy)
    assert (await control.propose_rules(name)).offer == ""
    with pytest.raises(ControlError, match="suggests no rules"):
        await control.add_rules(name, [], action="allow", scope="asker", hours=None)
    answer = {"allowed": True, "updates": SUGGESTIONS}
    refused = await proxy.client.post(f"/permissions/{name}/respond", json=answer, auth=proxy.signed)
    assert (refused.status_code, proxy.hub.broker.get(name).status) == (400, "pending")
    await control.answer_permission(name, allowed=True)
    assert (await asking).json()["hookSpecificOutput"]["decision"] == {"behavior": "allow"}


@pytest.mark.parametrize("scope", ["session", "project"])
async def test_a_rule_for_a_place_that_the_question_does_not_name_is_refused(
    proxy: Proxy, control: ControlClient, scope: str
) -> None:
    """It would hold everywhere."""
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=CHECK))
    name = await asked(proxy)
    with pytest.raises(ControlError, match=f"names no {scope}"):
        await control.add_rules(name, ["Bash(ls:*)"], action="allow", scope=scope, hours=None)
    assert proxy.hub.rules.temporary() == []
    asking.cancel()


@pytest.mark.parametrize("body", [b"\xff", b'{"rule": "\xff"}', b"[" * 100_000, b"5"])
async def test_what_is_no_verb_on_rules_is_refused(proxy: Proxy, body: bytes) -> None:
    answer = await proxy.client.post("/permissions/rules/remove", content=body, auth=proxy.signed)
    assert answer.status_code == 400


async def test_rules_are_listed_taken_out_and_brought_back(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s1")))
    name = await asked(proxy)
    with pytest.raises(ControlError, match="No rule was made"):
        await control.undo_rules()
    await control.add_rules(name, ["Bash(git diff:*)"], action="allow", scope="session", hours=None)
    await asking
    await proxy.client.post("/mcp/permission/check", json=bash("git diff README", session_id="s1"))
    other = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("ls")))
    await control.add_rules(await asked(proxy), ["Bash(ls:*)"], action="allow", scope="user", hours=None)
    await other
    lent, kept = await control.rules()
    assert (lent.rule, lent.session, lent.hits, lent.lent) == ("Bash(git diff:*)", "s1", 1, True)
    assert (kept.rule, kept.hits, kept.lent, kept.session, kept.project) == ("Bash(ls:*)", 0, False, "", "")
    await control.remove_rule(kept)
    assert [one.rule for one in await control.rules()] == ["Bash(git diff:*)"]
    assert "ls" not in proxy.hub.loaded.write_to.read_text()
    assert await control.undo_rules() == "Bash(ls:*) is back"
    assert "Bash(ls:*)" in proxy.hub.loaded.write_to.read_text()
    assert await control.undo_rules() == "Bash(ls:*) is removed"
    assert await control.undo_rules() == "Bash(git diff:*) is removed"
    assert await control.rules() == []
    with pytest.raises(ControlError, match="This rule does not exist"):
        await control.remove_rule(kept)


@pytest.mark.parametrize(("mode", "allowed"), [("rules", True), ("deny", False)])
async def test_with_nobody_there_rules_may_answer(start_proxy: StartProxy, mode: str, allowed: bool) -> None:
    rules = '[{"rule": "Bash(git diff:*)"}]'
    proxy = await start_proxy(PERMISSIONS__WITHOUT_FRONT_END=mode, PERMISSIONS__RULES=rules)
    answer = await proxy.client.post("/mcp/permission/check", json=bash("git diff"))
    assert (answer.json()["behavior"] == "allow") == allowed
    assert (await proxy.client.post("/mcp/permission/check", json=bash("ls"))).json()["behavior"] == "deny"
    hook = {"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "git diff"}}
    told = (await proxy.client.post("/hooks/claude-code", json=hook)).json()
    assert bool(told) == allowed, "else the tool asks in its own terminal"


async def test_a_rule_lent_for_a_while_ends(proxy: Proxy, control: ControlClient) -> None:
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("ls")))
    name = await asked(proxy)
    await control.add_rules(name, ["Bash(ls:*)"], action="allow", scope="user", hours=1e-6)
    assert (await asking).json()["behavior"] == "allow"
    await until(lambda: proxy.hub.rules.temporary() == [])


async def test_a_rule_for_the_session_ends_when_the_last_front_end_leaves(proxy: Proxy) -> None:
    first, second = proxy.control(), proxy.control()
    watching = [await watch(one) for one in (first, second)]
    await until(lambda: proxy.hub.viewers == 2)
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff", session_id="s1")))
    await first.add_rules(await asked(proxy), ["Bash(git diff:*)"], action="allow", scope="session", hours=None)
    await asking
    [lent] = await first.rules()
    assert lent.until is not None
    assert lent.idle is not None
    assert 0 < lent.idle - proxy.hub.clock.now() <= 1800 < lent.until - proxy.hub.clock.now() <= 8 * 3600
    await watching[0].aclose()
    await until(lambda: proxy.hub.viewers == 1)
    assert len(await second.rules()) == 1, "the user is still there"
    await watching[1].aclose()
    await until(lambda: proxy.hub.viewers == 0)
    assert await second.rules() == []
    await first.close()
    await second.close()


async def watch(control: ControlClient) -> AsyncGenerator[Frame]:
    frames = cast("AsyncGenerator[Frame]", control.frames(Watch()))
    await anext(frames)
    return frames


async def test_rules_of_a_trusted_project_file_stay_in_it(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved goes to the user's own file, without the project's rules, and says that those prevail."""
    monkeypatch.setenv("CCPROXY_TRUST_FOLDER", "1")
    project = Path(".ccproxy.toml")
    project.write_text('permissions.rules = [{ rule = "Bash(make:*)" }]\npermissions.without_front_end = "wait"\n')
    proxy = await start_proxy()
    control = proxy.control()
    asking = asyncio.create_task(proxy.client.post("/mcp/permission/check", json=bash("git diff --stat")))
    note = await control.add_rules(await asked(proxy), ["Bash(git diff:*)"], action="allow", scope="user", hours=None)
    await asking
    assert "project file, trusted" in note
    assert "make" not in proxy.hub.loaded.write_to.read_text()
    assert "git diff" not in project.read_text()
    kept = next(one for one in await control.rules() if one.rule == "Bash(make:*)")
    with pytest.raises(ControlError, match="not in this file"):
        await control.remove_rule(kept)
    await control.close()
